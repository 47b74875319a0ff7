"""The SQLite store: what several processes, a crash, a restart and a clock that jumps do to it."""

from __future__ import annotations

import asyncio
import sqlite3
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, closing
from pathlib import Path

import pytest

from gateway.errors import ConfigError, StateLost
from gateway.scripted import ManualClock
from gateway.state import tables
from gateway.state.boot import BootClock, boot_id, since_boot
from gateway.state.sqlite import SqliteStore
from gateway.state.store import Bucket, Claim, Lease, Quota
from tests.imports import ROOT
from tests.state.test_outage import Told, works

LONG = 1000.0


@asynccontextmanager
async def opened(
    path: Path, told: Told | None = None, now: Callable[[], float] | None = None
) -> AsyncIterator[SqliteStore]:
    store = SqliteStore(path, told or Told(), now)
    await store.start()
    try:
        yield store
    finally:
        await store.close()


async def soon(check: Callable[[], Awaitable[bool]]) -> None:
    end = time.monotonic() + 20.0
    while not await check():
        assert time.monotonic() < end
        await asyncio.sleep(0.01)


async def test_everything_is_there_again_after_a_restart(tmp_path: Path) -> None:
    path = tmp_path / "var" / "deep" / "state.db"
    async with opened(path) as store:
        await store.put("v", b"1", LONG)
        await store.push("l", [b"a", b"b"], LONG)
        await store.take([Bucket("b", 3, 10, 1e-6), Quota("q", 3, 10, LONG), Lease("s", "h", 1, LONG)])
    async with opened(path) as store:
        assert (await store.get("v"), await store.items("l")) == (b"1", [b"a", b"b"])
        assert (await store.take([Bucket("b", 0, 10, 1e-6), Quota("q", 0, 10, LONG)])).left == (7, 7)
        assert not (await store.take([Lease("s", "other", 1, LONG)])).allowed


async def test_what_was_acknowledged_survives_kill_9(tmp_path: Path) -> None:
    writer = (
        "import asyncio, os, pathlib, signal\n"
        "from gateway.state.sqlite import SqliteStore\n"
        "async def main():\n"
        f"    store = SqliteStore(pathlib.Path({str(tmp_path / 'state.db')!r}), print)\n"
        "    for number in range(300):\n"
        "        await store.push('l', [str(number).encode()], 1000.0)\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
        "asyncio.run(main())\n"
    )
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", writer, cwd=ROOT)
    assert await process.wait() == -9
    async with opened(tmp_path / "state.db") as store:
        assert await store.items("l") == [str(number).encode() for number in range(300)]


async def test_a_file_that_another_holds_is_lost_and_comes_back(tmp_path: Path) -> None:
    told = Told()
    async with opened(tmp_path / "state.db", told) as store:
        assert await works(store)
        with closing(sqlite3.connect(tmp_path / "state.db", isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            for _ in range(5):
                with pytest.raises(StateLost):
                    await store.take([Bucket("b", 1, 10, 1.0)])
            assert store.is_lost
            assert not any(await asyncio.gather(*(works(store) for _ in range(1_000))))
            other.execute("ROLLBACK")
        await soon(lambda: works(store))
        assert told.events == ["state_lost", "state_back"]


async def test_what_gave_up_waiting_was_not_taken(tmp_path: Path) -> None:
    async with opened(tmp_path / "state.db") as store:
        with closing(sqlite3.connect(tmp_path / "state.db", isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            with pytest.raises(StateLost):
                await store.take([Bucket("b", 7, 10, 1e-6)])
            other.execute("ROLLBACK")
        assert (await store.take([Bucket("b", 0, 10, 1e-6)])).left == (10,)


async def test_a_file_that_was_removed_is_made_anew(tmp_path: Path) -> None:
    async with opened(tmp_path / "state.db") as store, opened(tmp_path / "state.db") as other:
        await store.put("k", b"1", LONG)
        for path in tmp_path.iterdir():
            path.unlink()

        async def is_shared_again() -> bool:
            await store.put("k", b"2", LONG)
            return (tmp_path / "state.db").exists() and await other.get("k") == b"2"

        await soon(is_shared_again)
        assert (store.errors, other.errors) == (0, 0)


@pytest.mark.parametrize("fault", ["no database", "a folder", "a file as folder", "a later version"])
async def test_a_file_that_cannot_be_used_is_a_configuration_error(fault: str, tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    if fault == "no database":
        path.write_text("This is a letter, not a database, and long enough to be one.\n" * 30)
    elif fault == "a folder":
        path.mkdir()
    elif fault == "a file as folder":
        path.write_text("")
        path = path / "state.db"
    else:
        with closing(sqlite3.connect(path)) as db:
            db.execute("PRAGMA user_version = 99")
    store = SqliteStore(path, Told())
    with pytest.raises(ConfigError, match=r"state: the file .*state.db\" cannot be used: .*; name a new file"):
        await store.start()
    await store.close()


async def test_a_value_that_sqlite_cannot_hold_is_that_callers_fault_alone(tmp_path: Path) -> None:
    async with opened(tmp_path / "state.db") as store:
        results = await asyncio.gather(
            store.add("a", 1, LONG), store.add("b", 2**80, LONG), store.add("c", 1, LONG), return_exceptions=True
        )
        assert (results[0], results[2]) == (1, 1)
        assert isinstance(results[1], OverflowError)
        assert (await store.add("a", 0, LONG), await store.add("b", 0, LONG)) == (1, 0)
        assert store.errors == 0


def test_what_is_over_is_swept_a_little_at_a_time() -> None:
    with closing(sqlite3.connect(":memory:")) as db:
        for statement in tables.SCHEMA.split(";"):
            db.execute(statement)
        for number in range(30):
            tables.put(db, 0.0, f"v{number}", b"", 10.0, False)
            tables.push(db, 0.0, f"l{number}", [b"1", b"2"], 10.0, 0, None)
            claims: list[Claim] = [Bucket(f"b{number}", 1, 10, 1.0), Lease(f"s{number}", "h", 1, 10.0)]
            tables.take(db, 0.0, "", claims)
        tables.put(db, 0.0, "stays", b"", LONG, False)
        assert tables.sweep(db, 0.5, 20) == 0
        assert tables.sweep(db, 10.0, 20) == 20
        assert tables.sweep(db, 10.0, 20) == 10
        assert tables.sweep(db, 10.0, 20) == 0
        left = [db.execute(f"SELECT count(*) FROM {table}").fetchone()[0] for table in ("kept", "items", "levels")]
        assert left == [1, 0, 0]


async def test_rows_are_swept_while_the_store_is_in_use(tmp_path: Path) -> None:
    clock = ManualClock()
    async with opened(tmp_path / "state.db", now=clock.monotonic) as store:
        await store.put("k", b"1", 1.0)
        clock.advance(2.0)

        async def is_swept() -> bool:
            with closing(sqlite3.connect(tmp_path / "state.db")) as db:
                return bool(db.execute("SELECT count(*) FROM kept").fetchone()[0] == 0)

        await soon(is_swept)


class Machine:
    """A machine whose clocks a test sets."""

    def __init__(self) -> None:
        self.db = sqlite3.connect(":memory:")
        self.db.execute(tables.SCHEMA.split(";")[0])
        self.boot, self.up, self.wall = "one", 500.0, 1_800_000_000.0

    def clock(self) -> BootClock:
        return BootClock.of(self.db, self.boot, lambda: self.up, lambda: self.wall)

    def runs(self, seconds: float) -> None:
        self.up, self.wall = self.up + seconds, self.wall + seconds


@pytest.mark.parametrize("jump", [-172_800.0, 172_800.0])
def test_the_files_time_does_not_follow_the_wall_clock(jump: float) -> None:
    machine = Machine()
    clock = machine.clock()
    begin = clock.now()
    machine.runs(10.0)
    machine.wall += jump
    clock.note(machine.db, clock.now())
    assert clock.now() == machine.clock().now() == pytest.approx(begin + 10.0)


@pytest.mark.parametrize(("wall", "passed"), [(60.0, 60.0), (-172_800.0, 0.0)])
@pytest.mark.parametrize("boot", ["two", "one"])
def test_the_files_time_goes_on_after_a_boot(boot: str, wall: float, passed: float) -> None:
    """Also where the system has no boot id: the time since boot is then less than it was."""
    machine = Machine()
    clock = machine.clock()
    machine.runs(100.0)
    clock.note(machine.db, clock.now())
    before = clock.now()
    machine.boot, machine.up, machine.wall = boot, 5.0, machine.wall + wall
    after = machine.clock()
    assert after.now() == pytest.approx(before + passed)
    assert machine.clock().now() == after.now()  # the next process reads the same
    machine.runs(7.0)
    assert machine.clock().now() == pytest.approx(before + passed + 7.0)


def test_processes_of_a_machine_read_one_clock() -> None:
    code = "from gateway.state.boot import boot_id, since_boot; print(boot_id(), since_boot())"
    before = since_boot()
    said = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, check=True, text=True).stdout
    boot, now = said.rsplit(" ", 1)
    assert boot == boot_id()
    assert before < float(now) < since_boot()
    assert Path("/proc").exists() is bool(boot)
