"""Keys that the ledger keeps: read again and again in the background, so that saving and revoking hold at once."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from gateway.plugin import Clock, Ledger, Log, Principal, SavedKey, StateLost, credentials

EVERY_S = 0.5
"""So that what another process saved or revoked holds within a second."""
WHOLE_EVERY_S = 30.0
"""How often the list is read although the ledger says that no key has changed: a file put back says the same."""
READ_S = 5.0
"""How long one reading may take: a start waits for the first."""
STALE_S = 30.0
"""How long the last list serves while the ledger cannot be read. After it a revoked key might still be let in, so no
saved key is."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A key that may be used: its digest, and who it is."""

    digest: bytes
    principal: Principal


class SavedKeys:
    """The ledger's keys as they were half a second ago. Shared by all snapshots; runs while one holds it."""

    def __init__(self, ledger: Ledger, clock: Clock, log: Log) -> None:
        self._ledger, self._clock, self._log = ledger, clock, log
        self._entries: dict[bytes, Entry] = {}
        self._listed: list[SavedKey] = []
        self._read_at_s: float | None = None
        self._whole_at_s = 0.0
        self._version = -1
        self._is_failing = False
        self._holders = 0
        self._task: asyncio.Task[None] | None = None

    async def hold(self) -> None:
        """Begin to read, unless somebody has; return with a first list, or without one when the ledger is lost."""
        self._holders += 1
        if self._task is None:
            await self.read()
            self._task = asyncio.create_task(self._keep_reading())

    async def let_go(self) -> None:
        """Stop reading when nobody holds it any more."""
        self._holders -= 1
        if self._holders == 0 and self._task is not None:
            task, self._task = self._task, None
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    def find(self, digest: bytes) -> Entry | None:
        """Return the key of that digest, None when no key has it. Raises: StateLost when that cannot be told."""
        if self._read_at_s is None or self._clock.monotonic() - self._read_at_s > STALE_S:
            raise StateLost("the saved keys cannot be read at the moment", retry_after_s=1.0)
        return self._entries.get(digest)

    def were_ever(self) -> bool:
        """Return whether the ledger has held a key, revoked ones included. Raises: StateLost when that was never
        known."""
        if self._read_at_s is None:
            raise StateLost("the saved keys cannot be read at the moment", retry_after_s=1.0)
        return bool(self._listed)

    async def _keep_reading(self) -> None:
        while True:
            await asyncio.sleep(EVERY_S)
            await self.read()

    async def read(self) -> None:
        """Read the list once, if it has changed; a ledger that cannot be read leaves the last one."""
        began_s = self._clock.monotonic()
        try:
            async with asyncio.timeout(READ_S):
                version = await self._ledger.keys_version()  # first: what changes after it is found the next time
                if version == self._version and began_s < self._whole_at_s + WHOLE_EVERY_S:
                    self._read_at_s, self._is_failing = began_s, False
                    return
                listed = await self._ledger.keys()
        except Exception as error:  # whatever a store's driver raises: the list of before serves, and grows old
            if not self._is_failing:
                self._log.warning("saved_keys_unreadable", error=f"{type(error).__name__}: {error}")
            self._is_failing = True
            return
        self._is_failing = False
        self._read_at_s = self._whole_at_s = began_s
        self._version = version
        if listed != self._listed:
            self._entries = self._usable(listed)
            self._listed = listed

    def _usable(self, listed: list[SavedKey]) -> dict[bytes, Entry]:
        entries: dict[bytes, Entry] = {}
        for key in listed:
            if key.revoked_at is not None:
                continue
            try:
                digest = credentials.read_hash(key.hash)
                facts = credentials.read_facts(key.facts)
            except ValueError as error:
                self._log.warning("saved_key_unusable", key=key.name, error=str(error))
                continue
            entries[digest] = Entry(digest, Principal(key.name, expires=key.expires_at, **facts))
        return entries
