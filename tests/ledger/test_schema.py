"""Versions of the tables, and what is forgotten when."""

from __future__ import annotations

import asyncio
from decimal import Decimal
from typing import Any

import pytest
from sqlalchemy import Connection, inspect, select, text

from gateway.errors import ConfigError
from gateway.ledger.migrate import VERSION
from gateway.ledger.retention import keep_forgetting
from gateway.ledger.schema import META, TABLES
from gateway.ledger.sql import SqlLedger
from tests.ledger.kit import NOON, Place, ids, recorded, row, until

DAY = 86_400.0


async def on(place: Place, work: Any) -> Any:
    """Run work on a connection to the ledger's tables."""
    ledger = place.make()
    assert isinstance(ledger, SqlLedger)
    try:
        return await ledger._store.run(work, writes=True)
    finally:
        await ledger._store.close()


async def test_tables_are_as_queries_take_them_to_be(place: Place) -> None:
    async with place.opened():
        pass

    def columns(conn: Connection) -> dict[str, set[str]]:
        seen = inspect(conn)
        return {name: {column["name"] for column in seen.get_columns(name)} for name in seen.get_table_names()}

    expected = {name: {column.name for column in table.columns} for name, table in TABLES.tables.items()}
    expected["ledger_rows"].add("cost_usd")  # for people; no query of the gateway's reads it
    assert await on(place, columns) == expected
    version = select(META.c.value).where(META.c.name == "schema")
    assert await on(place, lambda conn: conn.execute(version).scalar()) == VERSION


async def test_people_read_the_cost_in_dollars_and_an_unknown_one_as_null(place: Place) -> None:
    async with place.opened() as ledger:
        await recorded(ledger, row("a", cost_usd=Decimal("0.012500001")), row("b", cost_usd=None))
    question = "SELECT exchange_id, cost_usd FROM ledger_rows ORDER BY 1"
    found = await on(place, lambda conn: [(name, cost) for name, cost in conn.exec_driver_sql(question)])
    assert [(name, None if cost is None else str(cost)) for name, cost in found] == [("a", "0.012500001"), ("b", None)]


async def test_tables_of_the_first_version_are_brought_forward_with_their_rows(place: Place) -> None:
    async with place.opened() as ledger:
        await recorded(ledger, row("a", cost_usd=Decimal("0.25")))

    def as_before(conn: Connection) -> None:
        conn.exec_driver_sql("ALTER TABLE ledger_rows DROP COLUMN cost_usd")
        conn.exec_driver_sql("UPDATE ledger_meta SET value = 1 WHERE name = 'schema'")

    await on(place, as_before)
    async with place.opened() as ledger:
        assert ids(await ledger.rows()) == ["a"]
    cost = await on(place, lambda conn: conn.exec_driver_sql("SELECT cost_usd FROM ledger_rows").scalar())
    assert float(cost) == 0.25


async def test_tables_of_a_later_version_are_refused(place: Place) -> None:
    async with place.opened() as ledger:
        await recorded(ledger, row("a"))
    await on(place, lambda conn: conn.execute(text("UPDATE ledger_meta SET value = 99 WHERE name = 'schema'")))
    with pytest.raises(ConfigError, match="are of version 99") as caught:
        await place.make().start()
    assert caught.value.cure
    assert await on(place, lambda conn: conn.execute(text("SELECT count(*) FROM ledger_rows")).scalar()) == 1


async def test_every_filter_of_the_dashboard_is_answered_by_an_index(place: Place) -> None:
    if place.url.startswith("postgres"):
        return  # its planner prefers to read a small table whole; the benchmark shows what a large one costs
    questions = {
        "principal = 'a'": "ledger_rows_principal",
        "model_requested = 'a'": "ledger_rows_model_requested",
        "route = 'a'": "ledger_rows_route",
        "target = 'a'": "ledger_rows_target",
        "session = 'a'": "ledger_rows_session",
        "error_code = 'a'": "ledger_rows_error_code",
        "parent_id = 'a'": "ledger_rows_parent_id",
        "status = 404 AND status != 200": "ledger_rows_status",
        "outcome = 'failed' AND outcome != 'completed'": "ledger_rows_outcome",
        "request_id = 'a' AND request_id != exchange_id": "ledger_rows_request_id",
        "1 = 1": "ledger_rows_ts",
    }
    async with place.opened():
        pass
    for condition, index in questions.items():
        sql = (
            f"EXPLAIN QUERY PLAN SELECT * FROM ledger_rows WHERE {condition} ORDER BY ts DESC, exchange_id DESC LIMIT 9"
        )
        plan = await on(place, lambda conn, sql=sql: str(conn.exec_driver_sql(sql).fetchall()))
        assert f"USING INDEX {index} " in plan or f"USING INDEX {index}'" in plan, (condition, plan)


async def test_rows_are_forgotten_when_their_time_is_over_and_their_sums_stay(place: Place) -> None:
    async with place.opened(keep_s=10 * DAY, now=lambda: NOON) as ledger:
        assert isinstance(ledger, SqlLedger)
        old = [row(f"old{n}", ts=NOON - 10 * DAY - 1 - n) for n in range(1_203)]
        await recorded(ledger, *old, row("edge", ts=NOON - 10 * DAY), row("new", ts=NOON))
        assert await ledger.forget() == 1_203
        assert ids(await ledger.rows()) == ["new", "edge"]
        [total] = await ledger.totals(by=[], since=0)
        assert (total["requests"], total["cost_usd"]) == (1_205, Decimal("1.205"))
        assert await ledger.forget() == 0


async def test_forgetting_goes_on_in_the_background(place: Place) -> None:
    async with place.opened() as ledger:
        assert isinstance(ledger, SqlLedger)
        await recorded(ledger, row("old", ts=NOON - 2 * DAY), row("new"))
        forgetting = asyncio.ensure_future(
            keep_forgetting(ledger._store, DAY, lambda: NOON, place.log, first_s=0)  # type: ignore[arg-type]
        )
        await until(lambda: "ledger_rows_forgotten" in place.log.events())
        forgetting.cancel()
        assert ids(await ledger.rows()) == ["new"]


async def test_sums_are_forgotten_after_two_years(place: Place) -> None:
    async with place.opened(keep_s=DAY, now=lambda: NOON) as ledger:
        assert isinstance(ledger, SqlLedger)
        await recorded(ledger, row("a", ts=NOON - 731 * DAY, tags={"t": "v"}), row("b", ts=NOON - 729 * DAY))
        await ledger.forget()
        assert [each["requests"] for each in await ledger.totals(by=[], since=0)] == [1]
        assert await ledger.spent(since=0, tag=("t", "v")) == 0


async def test_without_keep_nothing_is_forgotten(place: Place) -> None:
    async with place.opened(now=lambda: NOON) as ledger:
        assert isinstance(ledger, SqlLedger)
        await recorded(ledger, row("ancient", ts=1.0))
        assert await ledger.forget() == 0
        assert ids(await ledger.rows()) == ["ancient"]
