"""What is asked of a ledger, through SQLAlchemy; imported with the first question."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

from sqlalchemy import Connection

from gateway.ledger import queries, totals
from gateway.ledger.ledger import Row
from gateway.ledger.store import Store


class Questions:
    """See `Ledger`. Raises: what the store raises when it is out of reach."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def rows(
        self, filters: Mapping[str, Any] | None, at_most: int, before: float | tuple[float, str] | None
    ) -> list[Row]:
        return await self._store.run(lambda conn: queries.pages(conn, filters, at_most, before))

    async def one(self, id: str) -> list[Row]:
        return await self._store.run(lambda conn: queries.one(conn, id))

    async def totals(
        self, by: Sequence[str], since: float, until: float | None, filters: Mapping[str, Any] | None
    ) -> list[dict[str, Any]]:
        def ask(conn: Connection) -> list[dict[str, Any]]:
            query = totals.totals(by, since, until, filters, conn.dialect.name)
            return [] if query is None else totals.summed(conn, query, by)

        return await self._store.run(ask)

    async def spent(self, since: float, principal: str | None, tag: tuple[str, str] | None) -> Decimal:
        return await self._store.run(lambda conn: totals.spent(conn, since, principal, tag))
