"""The ledger in SQL: a writer's queue before the store, and the questions that are asked of it."""

from __future__ import annotations

import asyncio
import importlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final, TypeVar

from gateway.errors import ConfigError, StateLost
from gateway.ledger import keys, retention
from gateway.ledger.batch import write
from gateway.ledger.ledger import Row, SavedKey
from gateway.ledger.migrate import migrate
from gateway.ledger.store import Plain, Store
from gateway.ledger.writer import CAPACITY, Writer

if TYPE_CHECKING:
    from gateway.ledger.questions import Questions
    from gateway.plugin import Log

T = TypeVar("T")
_TRIES: Final = 20
_BETWEEN_S: Final = 0.05


class SqlLedger:
    """See `Ledger`. `keep_s` is how long rows are kept, None for ever; `time` gives Unix time.

    A query of a store that is out of reach raises StateLost; rows wait in the queue meanwhile.
    """

    def __init__(
        self,
        store: Store,
        *,
        keep_s: float | None,
        time: Callable[[], float],
        log: Log,
        capacity: int = CAPACITY,
    ) -> None:
        self._store, self._keep_s, self._time, self._log = store, keep_s, time, log
        self._writer = Writer(
            self._open, lambda rows: write(store, rows), at_once=store.at_once, log=log, capacity=capacity
        )
        self.record = self._writer.record  # no call between: it stands on the request's path
        self._questions: Questions | None = None
        self._forgetting: asyncio.Task[None] | None = None
        self._closed = False

    @property
    def rows_total(self) -> int:
        return self._writer.rows_total

    @property
    def dropped_total(self) -> int:
        return self._writer.dropped_total

    @property
    def is_lost(self) -> bool:
        return self._writer.is_lost

    async def start(self) -> None:
        """Open the store and begin to write.

        A file that cannot be opened, and a database that refuses, are a ConfigError; a server that cannot be reached
        is waited for while the gateway serves.
        """
        try:
            await self._open()
        except ConfigError:
            await self._store.close()
            raise
        except self._store.failures as error:
            if not self._store.is_remote:
                await self._store.close()
                raise ConfigError(
                    f"the ledger's file cannot be used: {_first_line(error)}",
                    path="ledger",
                    cure="give a file in a folder that the gateway may write",
                ) from error
            self._log.error("ledger_lost", error=_first_line(error), rows_waiting=0, dropped_total=0)
            self._writer.start(is_lost=True)
        else:
            self._writer.start(is_lost=False)
        if self._keep_s is not None:
            work = retention.keep_forgetting(self._store, self._keep_s, self._time, self._log)
            self._forgetting = asyncio.get_running_loop().create_task(work, name="ledger-retention")

    async def _open(self) -> None:
        await self._store.prepare()
        for left in reversed(range(_TRIES)):
            try:
                await self._store.plain(migrate, writes=True)
                return
            except self._store.failures:
                # Another process is at it: turning a new file to WAL wants it alone, and does not wait its turn.
                if not left or self._store.is_remote:
                    raise
                await asyncio.sleep(_BETWEEN_S)

    async def flush(self) -> None:
        await self._writer.flush()

    async def rows(
        self,
        *,
        filters: Mapping[str, Any] | None = None,
        at_most: int = 100,
        before: float | tuple[float, str] | None = None,
    ) -> list[Row]:
        questions = await self._asked()
        return await self._answer(questions.rows(filters, at_most, before))

    async def one(self, id: str) -> list[Row]:
        questions = await self._asked()
        return await self._answer(questions.one(id))

    async def totals(
        self, *, by: Sequence[str], since: float, until: float | None = None, filters: Mapping[str, Any] | None = None
    ) -> list[dict[str, Any]]:
        questions = await self._asked()
        return await self._answer(questions.totals(by, since, until, filters))

    async def spent(self, *, since: float, principal: str | None = None, tag: tuple[str, str] | None = None) -> Decimal:
        questions = await self._asked()
        return await self._answer(questions.spent(since, principal, tag))

    async def save_key(self, key: SavedKey) -> None:
        await self._plain(lambda db: keys.save(db, key), writes=True)

    async def keys(self) -> list[SavedKey]:
        return await self._plain(keys.every)

    async def keys_version(self) -> int:
        return await self._plain(keys.version)

    async def revoke_key(self, name: str, at: float, *, but: str | None = None) -> int:
        return await self._plain(lambda db: keys.revoke(db, name, at, but), writes=True)

    async def end_keys(self, name: str, at: float, *, but: str) -> int:
        return await self._plain(lambda db: keys.end(db, name, at, but), writes=True)

    async def forget(self) -> int:
        """Delete what is older than `keep_s` now, and return how many rows that were."""
        return 0 if self._keep_s is None else await retention.forget(self._store, self._keep_s, self._time())

    async def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        if self._forgetting is not None:
            self._forgetting.cancel()
            await asyncio.wait({self._forgetting})
        await self._writer.close()
        await self._store.close()

    async def _asked(self) -> Questions:
        """Return who is asked. SQLAlchemy takes 0.2 s to import and 15 MB, so it is not before there is a question."""
        if self._questions is None:
            module = await asyncio.to_thread(importlib.import_module, "gateway.ledger.questions")
            self._questions = module.Questions(self._store)
        return self._questions

    async def _plain(self, work: Callable[[Plain], T], *, writes: bool = False) -> T:
        return await self._answer(self._store.plain(work, writes=writes))

    async def _answer(self, asking: Awaitable[T]) -> T:
        try:
            return await asking
        except self._store.failures as error:
            raise StateLost("the ledger cannot be reached") from error


def _first_line(error: Exception) -> str:
    """Return what went wrong without the statement and its parameters."""
    cause = getattr(error, "orig", None) or error
    return f"{type(cause).__name__}: {cause}".splitlines()[0]
