"""An issuer's public keys, fetched by themselves and kept."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection
from typing import Any

from gateway.plugin import Clock, Log, StateLost, credentials

FETCH_S = 5.0
EVERY_S = 300.0
RETRY_S = 5.0
"""How long a failure is waited out while there is no set at all."""
UNKNOWN_S = 30.0
"""How often a token may make the set be asked for by naming a key that is not in it."""
STALE_S = 86_400.0
"""How long a set serves while no new one can be had."""
LARGEST_BYTES = 256 * 1024


class Issuer:
    """The JWK set at one address. Asked for in the background; a request waits only for the first set, or for one that
    may hold the key it names. Outlives reloads."""

    def __init__(self, url: str, algorithms: Collection[str], http: Callable[[], Any], clock: Clock, log: Log) -> None:
        self._url, self._algorithms, self._http = url, tuple(algorithms), http
        self._clock, self._log = clock, log
        self._keys: Any = None
        self._fetched_at_s = self._asked_at_s = self._unknown_at_s = float("-inf")
        self._task: asyncio.Task[None] | None = None
        self.changes = 0
        """How often the set has changed: what was judged by the one before is to be judged anew."""

    def begin(self) -> None:
        """Ask for the set, unless it is at hand or being asked for."""
        if self._clock.monotonic() - self._asked_at_s > (EVERY_S if self._keys is not None else RETRY_S):
            self._ask()

    async def payload(self, token: str) -> bytes:
        """Return the payload of a token that a key of the set has signed. Raises: PermissionDenied, StateLost."""
        self.begin()
        now = self._clock.monotonic()
        if self._keys is None or now - self._fetched_at_s > STALE_S:
            await self._asked()
        if self._keys is None or now - self._fetched_at_s > STALE_S:
            left_s = max(1.0, self._asked_at_s + RETRY_S - now)
            raise StateLost("the issuer's keys cannot be had at the moment", retry_after_s=left_s)
        try:
            payload: bytes = self._keys.payload(token)
        except credentials.UnknownSigner:
            if now - self._unknown_at_s > UNKNOWN_S:
                self._unknown_at_s = now
                self._ask()
            if self._task is None:
                raise
            await self._asked()
            payload = self._keys.payload(token)
        return payload

    async def close(self) -> None:
        """Stop asking."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _asked(self) -> None:
        """Wait for what is being asked for; a client that leaves does not end it for the others."""
        if self._task is not None:
            await asyncio.shield(self._task)

    def _ask(self) -> None:
        if self._task is None:
            self._asked_at_s = self._clock.monotonic()
            self._task = asyncio.create_task(self._fetch())

    async def _fetch(self) -> None:
        try:
            async with asyncio.timeout(FETCH_S):
                document = await self._document()
            keys = credentials.public_keys(document, self._algorithms)
        except Exception as error:  # the network's, or a server's that answers anything: the set before serves on
            self._log.warning("jwks_fetch_failed", url=self._url, error=f"{type(error).__name__}: {error}"[:300])
        else:
            self._keys, self._fetched_at_s = keys, self._clock.monotonic()
            self.changes += 1
        finally:
            self._task = None

    async def _document(self) -> bytes:
        # SECURITY: no redirect, so that nobody but the configured address says which keys are trusted.
        async with self._http().get(
            self._url, allow_redirects=False, headers={"accept": "application/json"}
        ) as response:
            if response.status != 200:
                raise ValueError(f"answered with {response.status}")
            document = bytearray()
            async for chunk in response.content.iter_any():
                document += chunk
                if len(document) > LARGEST_BYTES:
                    raise ValueError(f"the set is larger than {LARGEST_BYTES} bytes")
            return bytes(document)
