"""The ledger's tables in PostgreSQL, for a fleet. Needs the extra `postgres`."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Final, TypeVar

import asyncpg
from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import create_async_engine

from gateway.errors import ConfigError

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

    def __init__(self, url: str, answer_s: float = ANSWER_S) -> None:
        connect = functools.partial(asyncpg.connect, url, timeout=answer_s, command_timeout=answer_s)
        self._engine = create_async_engine("postgresql+asyncpg://", async_creator=connect, pool_size=3, max_overflow=0)

    async def prepare(self) -> None:
        return

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


def _tell(cause: BaseException | None) -> None:
    """Raises: ConfigError when `cause` is a mistake in the URL."""
    if isinstance(cause, _REJECTED):
        # SECURITY: asyncpg's text names user and database at most; the address is not shown.
        raise ConfigError(
            f"PostgreSQL refuses the ledger: {cause}", path="ledger", cure="correct the URL's user, password or name"
        ) from None
