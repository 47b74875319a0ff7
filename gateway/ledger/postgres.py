"""The ledger's tables in PostgreSQL, for a fleet. Needs the extra `postgres`."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, TypeVar

import asyncpg
from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError, IntegrityError, SQLAlchemyError
from sqlalchemy.ext.asyncio import create_async_engine

from gateway.errors import ConfigError
from gateway.ledger.store import NOTHING, Plain

T = TypeVar("T")
ANSWER_S: Final = 5.0
"""How long PostgreSQL may take to connect, and for a statement."""
_REJECTED: Final = (
    asyncpg.InvalidAuthorizationSpecificationError,  # a wrong password is one of these
    asyncpg.InvalidCatalogNameError,
    asyncpg.ClientConfigurationError,
)


class PostgresStore:
    """A database that a fleet shares. `url` is libpq's, with whatever parameters asyncpg knows of it."""

    at_once = 100
    is_remote = True
    failures: tuple[type[Exception], ...] = (SQLAlchemyError, OSError)
    collision: type[Exception] = IntegrityError

    def __init__(self, url: str, answer_s: float = ANSWER_S) -> None:
        connect = functools.partial(asyncpg.connect, url, timeout=answer_s, command_timeout=answer_s)
        self._engine = create_async_engine("postgresql+asyncpg://", async_creator=connect, pool_size=3, max_overflow=0)

    async def prepare(self) -> None:
        return

    async def plain(self, work: Callable[[Plain], T], *, writes: bool = False) -> T:
        return await self.run(lambda conn: work(_PlainPostgres(conn)), writes=writes)

    async def run(self, work: Callable[[Connection], T], *, writes: bool = False) -> T:
        try:
            async with self._engine.connect() as conn:
                if not writes:
                    await conn.execution_options(isolation_level="REPEATABLE READ")
                async with conn.begin():
                    return await conn.run_sync(work)
        except DBAPIError as error:
            _tell(error.orig.__cause__ if error.orig is not None else None)
            raise
        except _REJECTED as error:
            _tell(error)
            raise

    async def close(self) -> None:
        await self._engine.dispose()


class _PlainPostgres:
    """See `Plain`."""

    dialect = "postgresql"

    def __init__(self, conn: Connection) -> None:
        self._conn = conn

    def rows(self, sql: str, facts: Mapping[str, Any] = NOTHING) -> Sequence[Sequence[Any]]:
        return self._conn.execute(text(sql), facts).all()

    def change(self, sql: str, facts: Mapping[str, Any] = NOTHING) -> int:
        return self._conn.execute(text(sql), facts).rowcount

    def insert(self, head: str, rows: Sequence[tuple[Any, ...]], tail: str = "") -> None:
        # Straight to the driver: SQLAlchemy's own handling of parameters costs three times the encoding of a row.
        places = ", ".join(f"${number + 1}" for number in range(len(rows[0])))
        self._conn.exec_driver_sql(f"{head} VALUES ({places}){tail}", list(rows))


def _tell(cause: BaseException | None) -> None:
    """Raises: ConfigError when `cause` is a mistake in the URL."""
    if isinstance(cause, _REJECTED):
        # SECURITY: asyncpg's text names user and database at most; the address is not shown.
        raise ConfigError(
            f"PostgreSQL refuses the ledger: {cause}", path="ledger", cure="correct the URL's user, password or name"
        ) from None
