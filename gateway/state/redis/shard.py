"""One server that holds keys, wherever it is at the moment: connects when asked, and knows when it is lost."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from redis.exceptions import AskError, MovedError, NoScriptError, ReadOnlyError, ResponseError

from gateway.errors import StateLost
from gateway.state.breaker import FAILURES, TIMEOUT_S, Breaker, Warn
from gateway.state.redis.link import CONNECT_S, Link, LinkLost, Orphan

LATE = f"no answer within {TIMEOUT_S * 1000:.0f} ms"


def is_told(answer: ResponseError) -> bool:
    """Return whether the answer is the caller's to follow, and no failure."""
    return isinstance(answer, NoScriptError | MovedError | AskError) or str(answer).startswith("WRONGTYPE")


class Shard:
    """A server behind a breaker. `dial` connects to where it is now; `probe_args` is a write, to see whether it is
    well: a replica, or a server out of memory, answers a PING too."""

    def __init__(self, where: str, dial: Callable[[], Awaitable[Link]], probe: tuple[Any, ...], warn: Warn) -> None:
        self._dial, self.probe_args = dial, probe
        self._link: Link | None = None
        self._dialing: asyncio.Task[Link] | None = None
        self.breaker = Breaker(where, warn, self.probe)

    async def call(self, args: tuple[Any, ...], orphan: Orphan | None = None, *, asking: bool = False) -> Any:
        """Return the answer, or an error that `is_told`. Raises: StateLost, at the latest after TIMEOUT_S."""
        self.breaker.check()
        return await self.try_to(args, orphan, asking=asking)

    async def try_to(self, args: tuple[Any, ...], orphan: Orphan | None = None, *, asking: bool = False) -> Any:
        """As `call`, also while the breaker is open. Raises: StateLost."""
        link = self._link
        try:
            if link is not None and not link.is_closed and not asking:
                answer = await link.send(args, orphan)
            else:
                async with asyncio.timeout(TIMEOUT_S):
                    link = await self._connected()
                    if asking:
                        link.send(("ASKING",)).add_done_callback(_ignore)
                    answer = await link.send(args, orphan)
        except LinkLost as error:
            raise self.breaker.failed(str(error)) from error
        except TimeoutError:
            raise self.breaker.failed(LATE) from None
        if isinstance(answer, ResponseError) and not is_told(answer):
            if isinstance(answer, ReadOnlyError):
                link.close()  # the master is elsewhere now: look again
            raise self.breaker.failed(f"{type(answer).__name__}: {answer}")
        self.breaker.succeeded()
        return answer

    async def probe(self) -> None:
        """Return when the server takes a write. Raises: StateLost."""
        await self.try_to(self.probe_args)

    async def ping(self) -> None:
        """As `probe`, at once when the breaker is open. Raises: StateLost."""
        self.breaker.check()
        await self.probe()

    async def start(self) -> None:
        """Connect if the server is there; else it is lost from the beginning. A process that has just begun is slow,
        so it tries more than once."""
        for _ in range(FAILURES):
            try:
                await self.probe()
            except StateLost:
                continue
            return
        self.breaker.open()

    async def close(self) -> None:
        """Let go of the connection."""
        await self.breaker.close()
        if self._dialing is not None:
            self._dialing.cancel()
            await asyncio.gather(self._dialing, return_exceptions=True)
        if self._link is not None:
            self._link.close()

    async def _connected(self) -> Link:
        """Return the connection, made anew by the first who finds it gone; the others wait for the same, and who gives
        up waiting does not end it."""
        if self._link is not None and not self._link.is_closed:
            return self._link
        if self._dialing is None:
            self._dialing = asyncio.get_running_loop().create_task(self._connect())
            self._dialing.add_done_callback(self._dialed)
        return await asyncio.shield(self._dialing)

    async def _connect(self) -> Link:
        try:
            async with asyncio.timeout(CONNECT_S):
                self._link = await self._dial()
        except TimeoutError:
            raise LinkLost(f"no connection within {CONNECT_S:.0f} s") from None
        return self._link

    def _dialed(self, task: asyncio.Task[Link]) -> None:
        self._dialing = None
        _ignore(task)


def _ignore(future: asyncio.Future[Any]) -> None:
    """Take an error that nobody waits for, so that the loop does not report it."""
    if not future.cancelled():
        future.exception()
