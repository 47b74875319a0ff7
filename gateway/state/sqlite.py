"""State in a SQLite file: shared by the processes of one machine, and there again after a restart."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Sequence
from pathlib import Path

from gateway.errors import ConfigError, StateLost
from gateway.state import tables
from gateway.state.breaker import Breaker, Warn
from gateway.state.claims import NOTHING, given_back, refuse_twice
from gateway.state.store import Claim, Lease, StateStore, Taken
from gateway.state.writer import Writer, is_busy


class _Shelf:
    """What the prefixed views of one store share."""

    def __init__(self, path: Path, warn: Warn, now: Callable[[], float] | None) -> None:
        self.path = path
        self.breaker = Breaker(f"sqlite:{path.name}", warn, self.probe)
        self.writer = Writer(path, self.breaker, now)
        self.tasks: set[asyncio.Task[None]] = set()

    async def probe(self) -> None:
        await self.writer.try_to(_nothing)


def _nothing(db: sqlite3.Connection, now: float) -> None:
    """A transaction of its own."""


class SqliteStore(StateStore):
    """Counts exactly over all processes that use the file. `now` is for tests: every process must read the same."""

    def __init__(
        self,
        path: Path,
        warn: Warn,
        now: Callable[[], float] | None = None,
        *,
        _shelf: _Shelf | None = None,
        _prefix: str = "",
    ) -> None:
        self._shelf = _shelf or _Shelf(path, warn, now)
        self._do = self._shelf.writer.do
        self._warn = warn
        self._prefix = _prefix

    @property
    def is_lost(self) -> bool:
        return self._shelf.breaker.is_open

    @property
    def errors(self) -> int:
        return self._shelf.breaker.errors

    def under(self, prefix: str) -> StateStore:
        return SqliteStore(self._shelf.path, self._warn, _shelf=self._shelf, _prefix=self._prefix + prefix)

    async def start(self) -> None:
        try:
            await self._shelf.writer.start()
        except sqlite3.Error as error:
            if is_busy(error):
                self._shelf.breaker.failed(str(error))
                return
            problem = f'the file "{self._shelf.path}" cannot be used: {error}'
            raise ConfigError(problem, path="state", cure="name a new file in a folder this user may write") from error

    async def get(self, key: str) -> bytes | None:
        value: bytes | None = await self._do(tables.get, self._prefix + key)
        return value

    async def put(self, key: str, value: bytes, lifetime_s: float, *, if_absent: bool = False) -> bool:
        done: bool = await self._do(tables.put, self._prefix + key, value, lifetime_s, if_absent)
        return done

    async def delete(self, *keys: str) -> int:
        there: int = await self._do(tables.delete, *(self._prefix + key for key in keys))
        return there

    async def add(self, key: str, amount: int, lifetime_s: float) -> int:
        total: int = await self._do(tables.add, self._prefix + key, amount, lifetime_s)
        return total

    async def push(
        self, key: str, values: Sequence[bytes], lifetime_s: float, *, at_most: int = 0, only_with: str | None = None
    ) -> int:
        beside = None if only_with is None else self._prefix + only_with
        length: int = await self._do(tables.push, self._prefix + key, tuple(values), lifetime_s, at_most, beside)
        return length

    async def items(self, key: str) -> list[bytes]:
        found: list[bytes] = await self._do(tables.items, self._prefix + key)
        return found

    async def touch(self, key: str, lifetime_s: float) -> bool:
        there: bool = await self._do(tables.touch, self._prefix + key, lifetime_s)
        return there

    async def names(self, prefix: str, at_most: int) -> list[str]:
        found: list[str] = await self._do(tables.names, self._prefix + prefix, at_most)
        return [key[len(self._prefix) :] for key in found]

    async def take(self, claims: Sequence[Claim]) -> Taken:
        refuse_twice(claims)
        if not claims:
            return NOTHING

        def orphan(taken: Taken) -> None:
            if taken.allowed:
                task = asyncio.get_running_loop().create_task(self._give_back(claims))
                self._shelf.tasks.add(task)
                task.add_done_callback(self._shelf.tasks.discard)

        taken: Taken = await self._do(tables.take, self._prefix, tuple(claims), orphan=orphan)
        return taken

    async def settle(self, claims: Sequence[Claim]) -> None:
        if claims:
            await self._do(tables.settle, self._prefix, tuple(claims))

    async def renew(self, leases: Sequence[Lease]) -> None:
        if leases:
            await self._do(tables.renew, self._prefix, tuple(leases))

    async def ping(self) -> None:
        await self._do(_nothing)

    async def close(self) -> None:
        if not self._prefix:
            await asyncio.gather(*self._shelf.tasks)
            await self._shelf.breaker.close()
            await self._shelf.writer.close()

    async def _give_back(self, claims: Sequence[Claim]) -> None:
        try:
            await self.settle(given_back(claims))
        except StateLost:
            pass  # counted and logged; what was taken comes back with time
