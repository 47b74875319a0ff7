"""How long the dashboard's questions take over a ledger of many rows, and what a row costs to write.

python -m benchmarks.ledger [--rows 1_000_000] [--days 90] [--at FILE]

Rows are made inside SQLite, spread evenly over the days: 200 principals, each with three of twelve models, a route and
a target for each model and one in twenty rows at its fallback, 4 providers, 3 % failed. FILE is kept when it is given,
and used again when it is there.
"""

from __future__ import annotations

import argparse
import sqlite3
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import uvloop

from gateway.ledger.ledger import Ledger, Row
from gateway.ledger.opened import ledger_at
from gateway.ledger.schema import GROUPS, ROWS, SUMMED, SUMS, TAGS
from gateway.telemetry import Logger, new_request_id

CHUNK = 500_000
ROUNDS = 5
# Each row's facts are digits of one random number r: cheap, and independent enough.
_ROW = """
INSERT INTO ledger_rows SELECT
    lower(hex(randomblob(16))), :start + (n + 0.5) * :step, CASE WHEN r % 5 THEN lower(hex(randomblob(16))) ELSE 'mine-' || n END,
    CASE WHEN r % 97 = 0 THEN lower(hex(randomblob(16))) END, 'team-' || p, '{"team":"' || char(97 + p % 7) || '"}',
    CASE WHEN r % 11 = 0 THEN 'sess_' || (r % 50000) END, 'route-' || (m / 2), 'openai_chat', '/v1/chat/completions',
    'model-' || m, 'provider' || (t / 3) || '/model-' || t, 1,
    CASE WHEN r / 11 % 100 < 97 THEN 200 WHEN r / 11 % 100 = 97 THEN 429 WHEN r % 2 THEN 502 ELSE 504 END,
    CASE WHEN r / 11 % 100 < 97 THEN 'completed' WHEN r % 5 = 0 THEN 'disconnected' ELSE 'failed' END,
    r % 2, r % 3000, 0, 0, r / 13 % 800, 0, CASE WHEN r % 50 THEN (r % 3000) * 2500 END, 0, r / 17 % 9000 + 0.125,
    r / 19 % 900 + 0.5, 0.25, CASE WHEN r / 11 % 100 < 97 THEN NULL WHEN r % 2 THEN 'timeout' ELSE 'upstream_error' END,
    '[{"target":"provider' || (t / 3) || '/model-' || t || '","status":200,"started_ms":0.3,"ended_ms":812.5}]'
FROM (SELECT n, r, p, m, (m + (r / 7 % 20 = 0)) % 12 AS t FROM
    (SELECT n, r, p, (p + r / 3 % 3) % 12 AS m FROM
        (SELECT n, r, r / 1009 % 200 AS p FROM dice)))
"""  # noqa: E501
# MATERIALIZED: else random() is asked anew wherever r stands.
_GENERATED = """
WITH RECURSIVE generated(value) AS (SELECT :first UNION ALL SELECT value + 1 FROM generated WHERE value < :last),
    dice(n, r) AS MATERIALIZED (SELECT value, abs(random()) >> 8 FROM generated)
"""
_ADDED = """
INSERT INTO {table} ({keys}, {sums}) SELECT {shown}, count(*), sum(outcome = 'failed'), sum(cost_nano_usd IS NULL),
    sum(prompt_tokens), 0, 0, sum(completion_tokens), 0, coalesce(sum(cost_nano_usd), 0),
    sum(CAST(round(duration_ms * 1000) AS INTEGER)), sum(CAST(round(ttft_ms * 1000) AS INTEGER)), count(ttft_ms)
FROM ledger_rows GROUP BY {shown}
"""


def fill(path: Path, rows: int, days: int) -> None:
    """Make the rows, then the indexes and sums over them: much faster than keeping both up to date."""
    began = time.perf_counter()
    db = sqlite3.connect(path, isolation_level=None)
    db.execute("PRAGMA journal_mode=OFF")
    db.execute("PRAGMA synchronous=OFF")
    db.execute("PRAGMA cache_size=-262144")
    indexes = db.execute("SELECT name, sql FROM sqlite_master WHERE type = 'index' AND sql IS NOT NULL").fetchall()
    for name, _ in indexes:
        db.execute(f"DROP INDEX {name}")
    start = time.time() - days * 86_400
    insert = _GENERATED + _ROW
    for first in range(0, rows, CHUNK):
        last = min(first + CHUNK, rows) - 1
        db.execute(insert, {"start": start, "step": days * 86_400 / rows, "first": first, "last": last})
    print(f"{rows:,} rows made in {time.perf_counter() - began:.0f} s", flush=True)
    for _, statement in indexes:
        db.execute(statement)
    whole = SUMMED[3600, GROUPS].name
    columns = ["principal", "model_requested", "target", "route", "status", "outcome"]
    add(db, whole, ["start", *GROUPS], ["CAST(ts AS INTEGER) / 3600 * 3600", *columns])
    for (seconds, groups), table in SUMMED.items():
        if table.name != whole:  # from the sums that are there: there are fewer of them than rows
            names, sums = ", ".join(groups), ", ".join(f"sum({each})" for each in SUMS)
            db.execute(
                f"INSERT INTO {table.name} SELECT start / {seconds} * {seconds}, {names}, {sums} FROM {whole} "
                f"GROUP BY start / {seconds} * {seconds}, {names}"
            )
    add(
        db,
        TAGS.name,
        ["tag", "value", "start", "principal"],
        ["'team'", "tags ->> '$.team'", "CAST(ts AS INTEGER) / 3600 * 3600", "principal"],
    )
    db.execute("PRAGMA journal_mode=WAL")
    for name in (ROWS.name, *(table.name for table in SUMMED.values()), TAGS.name):
        print(f"  {name}: {db.execute(f'SELECT count(*) FROM {name}').fetchone()[0]:,} rows")
    db.close()
    print(f"ready after {time.perf_counter() - began:.0f} s, {path.stat().st_size / 2**20:,.0f} MiB", flush=True)


def add(db: sqlite3.Connection, table: str, keys: list[str], shown: list[str]) -> None:
    """Fill a table of sums from the rows."""
    db.execute(_ADDED.format(table=table, keys=", ".join(keys), sums=", ".join(SUMS), shown=", ".join(shown)))


def questions(ledger: Ledger, row: Row, now: float) -> dict[str, Callable[[], Awaitable[Any]]]:
    """Return what the dashboard and the plugins ask, by name."""
    day, hour = 86_400.0, 3_600.0
    odd = now - 30.4 * day

    def page(**filters: Any) -> Callable[[], Awaitable[Any]]:
        return lambda: ledger.rows(filters=filters, at_most=100)

    def total(*by: str, since: float, **filters: Any) -> Callable[[], Awaitable[Any]]:
        return lambda: ledger.totals(by=by, since=since, filters=filters)

    return {
        "rows: newest": page(),
        "rows: page in the middle": lambda: ledger.rows(before=(now - 45 * day, "")),
        "rows: ts span": page(ts=(now - 40 * day, now - 39 * day)),
        "rows: principal": page(principal=row.principal),
        "rows: model_requested": page(model_requested=row.model_requested),
        "rows: route": page(route=row.route),
        "rows: target": page(target=row.target),
        "rows: provider": page(provider="provider1"),
        "rows: error_code": page(error_code="timeout"),
        "rows: session": page(session="sess_12100"),
        "rows: parent_id that is not there": page(parent_id="none such"),
        "rows: request_id": page(request_id=row.request_id),
        "rows: exchange_id": page(exchange_id=row.exchange_id),
        "rows: status 504": page(status=504),
        "rows: status 200": page(status=200),
        "rows: outcome failed": page(outcome="failed"),
        "rows: outcome completed": page(outcome="completed"),
        "rows: principal that is not there": page(principal="nobody"),
        "rows: status 429, 502 and 504": page(status=[429, 502, 504]),
        "rows: principal, model and outcome": page(principal="team-3", model="model-2", outcome="failed"),
        "one": lambda: ledger.one(row.exchange_id),
        "totals: all time": total(since=0),
        "totals: 30 days, odd start": total(since=odd),
        "totals: by day and provider, 90 days": total("day", "provider", since=now - 90 * day),
        "totals: by principal, 30 days": total("principal", since=odd),
        "totals: by model of one principal, 30 days": total("model", since=odd, principal="team-3"),
        "totals: by hour and outcome, 48 hours": total("hour", "outcome", since=now - 48 * hour),
        "totals: by hour, 7 days": total("hour", since=now - 7 * day),
        "totals: by route and status, 24 hours": total("route", "status", since=now - 24 * hour),
        "spent: principal, this month": lambda: ledger.spent(since=odd, principal="team-3"),
        "spent: tag, this month": lambda: ledger.spent(since=odd, tag=("team", "c")),
        "spent: all, today": lambda: ledger.spent(since=now - now % day),
    }


async def ask(ledger: Ledger) -> None:
    """Print the median and the worst of ROUNDS for each question; the first has a cold page cache of SQLite's."""
    [row] = await ledger.rows(at_most=1)
    print(f"\n{'question':46} {'median ms':>10} {'worst ms':>10} {'rows':>6}")
    for name, question in questions(ledger, row, time.time()).items():
        taken: list[float] = []
        for _ in range(ROUNDS):
            began = time.perf_counter()
            answer = await question()
            taken.append((time.perf_counter() - began) * 1000)
        size = len(answer) if isinstance(answer, list) else 1
        print(f"{name:46} {statistics.median(taken):10.1f} {max(taken):10.1f} {size:6}", flush=True)


async def write(ledger: Ledger, count: int = 20_000) -> None:
    """Print what a recorded row costs the caller, and how fast rows are written beside those that are there."""
    now = time.time()
    rows = [
        Row(
            exchange_id=id, ts=now + n / 1000, request_id=id, principal=f"team-{n % 20}",
            tags={"team": "abcdefg"[n % 7]}, route=f"route-{n % 6}", dialect="openai_chat", model_requested="model-1",
            endpoint="/v1/chat/completions", target="provider1/model-1", attempts=1, status=200, outcome="completed",
            prompt_tokens=n, completion_tokens=7, cost_usd=Decimal("0.000123"), duration_ms=812.5, ttft_ms=91.25,
            tries=({"target": "provider1/model-1", "status": 200},),
        )
        for n, id in enumerate(new_request_id() for _ in range(count))
    ]  # fmt: skip
    began, cpu_s = time.perf_counter(), time.process_time()
    for row in rows:
        ledger.record(row)
    recorded = time.perf_counter() - began
    loop_s = time.thread_time()
    await ledger.flush()
    taken, loop_s = time.perf_counter() - began, time.thread_time() - loop_s
    print(f"\nrecord: {recorded / count * 1e6:.2f} µs a row; written {count / taken:,.0f} rows a second,", end=" ")
    cpu_s = time.process_time() - cpu_s
    print(
        f"{cpu_s / count * 1e6:.1f} µs of CPU a row in all threads, {loop_s / count * 1e6:.1f} of them the event loop's"
    )


async def main(path: Path, is_new: bool, rows: int, days: int) -> None:
    for attempt in range(2 if is_new else 1):
        ledger = ledger_at(f"sqlite:{path}", path.parent, keep_s=None, time=time.time, log=Logger("error"))
        assert ledger is not None
        await ledger.start()
        if is_new and attempt == 0:
            await ledger.close()
            fill(path, rows, days)
            continue
        await ask(ledger)
        await write(ledger)
        await ledger.close()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m benchmarks.ledger", description="How fast the ledger answers.")
    parser.add_argument("--rows", type=int, default=1_000_000, metavar="N")
    parser.add_argument("--days", type=int, default=90, metavar="N")
    parser.add_argument("--at", type=Path, metavar="FILE")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        file = (given.at or Path(folder) / "ledger.db").absolute()
        uvloop.run(main(file, not file.exists(), given.rows, given.days))
