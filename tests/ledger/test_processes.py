"""Several processes on one ledger, and processes that die in the middle."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from gateway.ledger.ledger import SavedKey
from tests.ledger.kit import Place, ids

ROOT = Path(__file__).resolve().parents[2]


@asynccontextmanager
async def writing(place: Place, name: str) -> AsyncIterator[asyncio.subprocess.Process]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.ledger.crash", place.url, str(place.home), name,
        cwd=ROOT, stdout=asyncio.subprocess.PIPE, env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert process.stdout is not None
    try:
        assert await process.stdout.readline() == b"start\n"
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def said(process: asyncio.subprocess.Process, at_least: int) -> set[str]:
    """Read what the process calls safe, kill it after that many lines, and return all it said."""
    assert process.stdout is not None
    safe: set[str] = set()
    while len(safe) < at_least:
        line = await process.stdout.readline()
        assert line, "the writer died by itself"
        safe.add(line.split()[-1].decode())
    process.send_signal(signal.SIGKILL)
    rest = await process.stdout.read()
    # The last line may have been cut by the kill.
    safe |= {line.split()[-1].decode() for line in rest.rpartition(b"\n")[0].splitlines()}
    await process.wait()
    return safe


@pytest.mark.timeout(180)
@pytest.mark.parametrize("place", ["sqlite"], indirect=True)
async def test_twenty_kills_lose_no_row_that_was_safe(place: Place) -> None:
    chance = random.Random(20)
    safe: set[str] = set()
    for number in range(20):
        async with writing(place, f"kill{number}") as process:
            safe |= await said(process, chance.randint(20, 300))
    await check(place, safe)


@pytest.mark.parametrize("place", ["postgres"], indirect=True)
async def test_a_kill_loses_no_row_that_postgres_has(place: Place) -> None:
    async with writing(place, "killed") as process:
        safe = await said(process, 300)
    await check(place, safe)


async def test_two_processes_write_to_one_ledger_and_sums_stay_exact(place: Place) -> None:
    async with writing(place, "one") as one, writing(place, "two") as two:
        safe = set().union(*await asyncio.gather(said(one, 2_000), said(two, 2_000)))
    assert {each.partition("-")[0] for each in safe} == {"one", "two"}
    await check(place, safe)


async def check(place: Place, safe: set[str]) -> None:
    async with place.opened() as ledger:
        found: list[str] = []
        before: tuple[float, str] | None = None
        while page := await ledger.rows(at_most=10_000, before=before):
            found += ids(page)
            before = (page[-1].ts, page[-1].exchange_id)
        assert len(found) == len(set(found))
        assert safe - set(found) == set()
        [total] = await ledger.totals(by=[], since=0)
        assert total["requests"] == len(found)


async def test_ten_that_start_at_once_make_the_tables_once(place: Place) -> None:
    ledgers = [place.make() for _ in range(10)]
    await asyncio.gather(*(each.start() for each in ledgers))
    assert [await each.keys_version() for each in ledgers] == [0] * 10
    await asyncio.gather(*(each.close() for each in ledgers))
    assert place.log.events("error") == []


async def test_a_key_that_one_process_saves_the_other_sees(place: Place) -> None:
    key = SavedKey(name="team-a", hash="sha256:aa", created_at=5.0, expires_at=9.5, facts={"models": ["gpt-*"]})
    second = SavedKey(name="team-a", hash="sha256:bb", created_at=6.0)
    async with place.opened() as one, place.opened() as other:
        assert (await other.keys(), await other.keys_version()) == ([], 0)
        await one.save_key(second)
        await one.save_key(key)
        assert await other.keys() == [key, second]
        version = await other.keys_version()
        assert version == 2
        assert await one.revoke_key("team-b", at=7.0) == 0
        assert await other.keys_version() == version
        assert await one.revoke_key("team-a", at=7.0) == 2
        assert await other.keys_version() == version + 1
        assert [each.revoked_at for each in await other.keys()] == [7.0, 7.0]
        assert await one.revoke_key("team-a", at=8.0) == 0
        await other.save_key(key)
        assert [each.revoked_at for each in await one.keys()] == [None, 7.0]
        assert await one.revoke_key("team-a", at=8.0, but="sha256:aa") == 0


async def test_old_keys_end_beside_the_new_one_and_what_was_revoked_stays_so(place: Place) -> None:
    ends = {"old": None, "older": 9.5, "gone": None, "over": 6.5, "new": 30.0}
    async with place.opened() as one, place.opened() as other:
        for number, (hash, expires_at) in enumerate(ends.items()):
            revoked_at = 3.0 if hash == "gone" else None
            await one.save_key(
                SavedKey(name="a", hash=hash, created_at=number, expires_at=expires_at, revoked_at=revoked_at)
            )
        await one.save_key(SavedKey(name="b", hash="bystander", created_at=9.0))
        version = await other.keys_version()
        assert await one.end_keys("a", 8.0, but="new") == 2
        assert await other.keys_version() == version + 1
        kept = {each.hash: (each.expires_at, each.revoked_at) for each in await other.keys()}
        assert kept == {
            "old": (8.0, None), "older": (8.0, None), "gone": (None, 3.0), "over": (6.5, None), "new": (30.0, None),
            "bystander": (None, None),
        }  # fmt: skip
        assert await one.end_keys("a", 9.0, but="new") == 0 and await other.keys_version() == version + 1
        assert await one.revoke_key("a", 7.0, but="new") == 3
        assert [each.hash for each in await other.keys() if each.revoked_at is None] == ["new", "bystander"]
