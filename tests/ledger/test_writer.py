"""The queue: what it holds, what it drops and says so, and that a store which comes back gets everything."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from gateway.errors import ConfigError, StateLost
from gateway.ledger.ledger import Ledger, SavedKey
from gateway.ledger.postgres import PostgresStore
from gateway.ledger.sql import SqlLedger
from gateway.ledger.sqlite import SqliteStore
from gateway.ledger.writer import CAPACITY
from tests.ledger.kit import KeptLog, Place, ids, locked, recorded, row, until
from tests.postgres import Postgres, private_postgres


def impatient(path: Path, log: KeptLog, capacity: int = CAPACITY) -> SqlLedger:
    """Return a ledger that waits 20 ms for a lock, not a second."""
    return SqlLedger(SqliteStore(path, busy_s=0.02), keep_s=None, time=lambda: 0.0, log=log, capacity=capacity)  # type: ignore[arg-type]


@pytest.fixture
def log() -> KeptLog:
    return KeptLog()


async def test_rows_are_written_without_anybody_asking(place: Place) -> None:
    async with place.opened() as ledger:
        ledger.record(row("a"))
        await until(lambda: ledger.rows_total == 1)
        ledger.record(row("b"))
        await until(lambda: ledger.rows_total == 2)
        for n in range(1_000):
            ledger.record(row(f"e{n}"))
        await until(lambda: ledger.rows_total == 1_002)


async def test_closing_writes_what_is_queued(place: Place) -> None:
    ledger = place.make()
    await ledger.start()
    for n in range(300):
        ledger.record(row(f"e{n}"))
    await ledger.close()
    assert (ledger.rows_total, ledger.dropped_total) == (300, 0)
    ledger.record(row("late"))
    assert ledger.dropped_total == 1
    async with place.opened() as again:
        assert len(await again.rows(at_most=1_000)) == 300


async def test_rows_recorded_before_the_start_are_written(place: Place) -> None:
    ledger = place.make()
    ledger.record(row("early"))
    await ledger.start()
    await until(lambda: ledger.rows_total == 1)
    await ledger.close()


async def test_a_full_queue_drops_the_newest_and_counts_them(tmp_path: Path, log: KeptLog) -> None:
    ledger = impatient(tmp_path / "l.db", log, capacity=100)
    await ledger.start()
    with locked(tmp_path / "l.db"):
        for n in range(130):
            ledger.record(row(f"e{n:03}"))
        assert ledger.dropped_total == 30
        await until(lambda: ledger.is_lost)
        ledger.record(row("more"))
        assert (ledger.rows_total, ledger.dropped_total) == (0, 31)
    await ledger.flush()
    assert (ledger.rows_total, ledger.dropped_total, ledger.is_lost) == (100, 31, False)
    assert sorted(ids(await ledger.rows())) == [f"e{n:03}" for n in range(100)]
    await ledger.close()


async def test_a_file_locked_for_long_loses_no_row_and_logs_two_lines(tmp_path: Path, log: KeptLog) -> None:
    ledger = impatient(tmp_path / "l.db", log)
    await ledger.start()
    await recorded(ledger, row("before"))
    with locked(tmp_path / "l.db"):
        ledger.record(row("during"))
        await until(lambda: ledger.is_lost)
        assert ids(await ledger.rows()) == ["before"]  # a lock on writing keeps nobody from reading
        with pytest.raises(StateLost):
            await ledger.save_key(SavedKey(name="k", hash="sha256:1", created_at=1.0))
        await _fails_once_more(ledger, log)
    await ledger.flush()
    assert sorted(ids(await ledger.rows())) == ["before", "during"]
    assert log.events() == ["ledger_lost", "ledger_recovered"]
    await ledger.close()


async def _fails_once_more(ledger: Ledger, log: KeptLog) -> None:
    """Wait long enough for further tries to fail: they are not logged again."""
    ledger.record(row("during"))
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.5):
            await ledger.flush()
    assert log.events() == ["ledger_lost"]


async def test_a_file_that_is_removed_is_made_again(tmp_path: Path, log: KeptLog) -> None:
    path = tmp_path / "l.db"
    ledger = impatient(path, log)
    await ledger.start()
    await recorded(ledger, row("gone"))
    for each in tmp_path.iterdir():
        each.unlink()
    await recorded(ledger, row("kept"))
    assert ids(await ledger.rows()) == ["kept"]
    assert log.events() == ["ledger_lost", "ledger_recovered"]
    await ledger.close()
    assert path.is_file()


async def test_closing_beside_a_lost_store_ends_and_counts_what_is_lost(tmp_path: Path, log: KeptLog) -> None:
    ledger = impatient(tmp_path / "l.db", log)
    await ledger.start()
    with locked(tmp_path / "l.db"):
        for n in range(70):
            ledger.record(row(f"e{n}"))
        await ledger.close()
    assert (ledger.rows_total, ledger.dropped_total) == (0, 70)
    assert "ledger_rows_lost" in log.events("error")


# --- PostgreSQL of one's own, which may be stopped ---------------------------------------------------------


@pytest.fixture
def server(postgres: Postgres) -> Iterator[Postgres]:
    own = private_postgres()
    assert own is not None
    yield own
    own.remove()


async def test_postgres_that_stops_and_starts_gets_every_row(server: Postgres, tmp_path: Path) -> None:
    place = Place(server.create("mine"), tmp_path)
    async with place.opened() as ledger:
        await recorded(ledger, row("before"))
        server.stop()
        for n in range(200):
            ledger.record(row(f"e{n}"))
        await until(lambda: ledger.is_lost)
        with pytest.raises(StateLost):
            await ledger.rows()
        server.start()
        await ledger.flush()
        assert not ledger.is_lost
        assert len(await ledger.rows(at_most=1_000)) == 201
    assert place.log.events() == ["ledger_lost", "ledger_recovered"]


async def test_postgres_that_is_away_at_the_start_is_waited_for(server: Postgres, tmp_path: Path) -> None:
    place = Place(server.create("mine"), tmp_path)
    server.stop()
    async with place.opened() as ledger:
        assert ledger.is_lost
        ledger.record(row("a"))
        server.start()
        await until(lambda: not ledger.is_lost)
        await ledger.flush()
        assert ids(await ledger.rows()) == ["a"]


async def test_postgres_that_refuses_is_a_configuration_error(postgres: Postgres, tmp_path: Path) -> None:
    ledger = Place(postgres.url("no_such_database"), tmp_path).make()
    with pytest.raises(ConfigError, match="PostgreSQL refuses the ledger"):
        await ledger.start()


async def test_a_write_whose_answer_is_lost_is_not_written_twice(postgres: Postgres, tmp_path: Path) -> None:
    store = _Forgetful(postgres.create("forgetful"))
    ledger = SqlLedger(store, keep_s=None, time=lambda: 0.0, log=KeptLog())  # type: ignore[arg-type]
    await ledger.start()
    store.forgets = True
    await recorded(ledger, *(row(f"e{n}") for n in range(50)))
    [total] = await ledger.totals(by=[], since=0)
    assert (len(await ledger.rows()), total["requests"]) == (50, 50)
    await ledger.close()


class _Forgetful(PostgresStore):
    """Commits, and then loses the answer once."""

    forgets = False

    async def run(self, work: Callable[[Any], Any], *, writes: bool = False) -> Any:
        answer = await super().run(work, writes=writes)
        if writes and self.forgets:
            self.forgets = False
            raise ConnectionResetError("the connection broke after the commit")
        return answer


async def test_a_folder_that_may_not_be_written_is_a_configuration_error(tmp_path: Path, log: KeptLog) -> None:
    (tmp_path / "var").write_text("a file where the folder should be")
    ledger = Place("sqlite:var/ledger.db", tmp_path).make()
    with pytest.raises(ConfigError, match="ledger's file cannot be used") as caught:
        await ledger.start()
    assert "folder" in caught.value.cure


async def test_a_file_that_is_no_database_is_a_configuration_error(tmp_path: Path) -> None:
    (tmp_path / "l.db").write_text("not a database at all" * 100)
    ledger = Place("sqlite:l.db", tmp_path).make()
    with pytest.raises(ConfigError, match="not a database"):
        await ledger.start()
