"""Several workers: whichever answers, a scrape is the sum of all, and no counter falls when one dies."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from gateway.runtime.group import added
from gateway.supervisor.totals import LOOK_S
from tests.metrics.kit import ASKED, CHAT, Numbers
from tests.server.process import Process, process

HOME = """\
version: 1
state: "sqlite:var/state.db"
ledger: "sqlite:var/ledger.db"
server: {workers: 2, drain: {lame_duck: 0s, grace: 5s}}
plugins: [name_pid, metrics%s]
providers: {echo: {}}
routes: [{name: echo, match: {model: echo}, targets: [echo/echo]}]
"""
NAME_PID = """\
import os
from gateway.plugin import Plugin

class NamePid(Plugin):
    async def handle(self, exchange, call_next):
        exchange.headers["x-pid"] = str(os.getpid())
        return await call_next(exchange)
"""
CLOSE = {"connection": "close"}


@pytest.fixture
async def group(tmp_path: Path) -> AsyncIterator[Process]:
    (tmp_path / "plugins").mkdir()
    (tmp_path / "plugins" / "name_pid.py").write_text(NAME_PID)
    (tmp_path / "gateway.yaml").write_text(HOME % "")
    async with process(tmp_path) as running:
        yield running


async def ask(group: Process) -> int:
    """Ask on a connection of its own; return the pid of the worker that answered."""
    async with group.session.post(group.url + CHAT, json=ASKED, headers=CLOSE) as answer:
        assert answer.status == 200
        await answer.read()
        return int(answer.headers["x-pid"])


async def scrape(group: Process) -> tuple[int, Numbers]:
    """Return who answered and what; while the hub is being replaced nobody does."""
    async with asyncio.timeout(20):
        while True:
            async with group.session.get(group.url + "/metrics", headers=CLOSE) as answer:
                text = await answer.text()
                if answer.status == 200:
                    return int(answer.headers["x-pid"]), Numbers(text)
                assert answer.status == 503, text
            await asyncio.sleep(0.02)


async def until_both_answer(group: Process) -> tuple[set[int], int]:
    """Return the workers' pids, and how many requests it took to see both."""
    seen: set[int] = set()
    sent = 0
    async with asyncio.timeout(20):
        while len(seen) < 2:
            seen |= {*await asyncio.gather(*(ask(group) for _ in range(8)))}
            sent += 8
    return seen, sent


async def counted(group: Process, sent: int) -> Numbers:
    """Return a scrape that holds `sent` requests: a worker may be finishing one that has been answered."""
    async with asyncio.timeout(20):
        while (told := (await scrape(group))[1]).of("requests_total", route="echo") < sent:
            pass
    assert told.of("requests_total", route="echo", status="200") == sent
    return told


async def test_every_worker_tells_the_sum_of_all(group: Process) -> None:
    pids, sent = await until_both_answer(group)
    await counted(group, sent)
    answered: dict[int, float] = {}
    async with asyncio.timeout(20):
        while answered.keys() != pids:
            pid, told = await scrape(group)
            answered[pid] = told.of("requests_total", route="echo")
            assert told.of("request_duration_seconds_count", route="echo") == sent
            assert told.of("attempts_total", target="echo/echo", outcome="completed") == sent
            assert told.of("in_flight") == 0
            assert set(told.by("config_info", "digest").values()) == {1}
    assert set(answered.values()) == {sent}


async def test_what_a_killed_worker_counted_stays(group: Process) -> None:
    pids, sent = await until_both_answer(group)
    before = await counted(group, sent)  # the hub has asked both: nothing is younger
    victim, alive, fell = min(pids), {*pids} - {min(pids)}, False
    os.kill(victim, signal.SIGKILL)
    await group.log_line("worker_died")
    async with asyncio.timeout(20):
        while len(alive) < 2:  # until the one that replaces it serves too
            fell = fell or (await scrape(group))[1].of("requests_total", route="echo") < before.of(
                "requests_total", route="echo"
            )
            alive |= {*await asyncio.gather(*(ask(group) for _ in range(8)))}
            sent += 8
    after = await counted(group, sent)
    assert not fell
    for name in ("tokens_total", "request_duration_seconds_sum", "attempts_total"):
        assert after.of(name) > before.of(name)


async def test_a_worker_that_ends_by_itself_takes_nothing_with_it(group: Process) -> None:
    pids, sent = await until_both_answer(group)
    os.kill(min(pids), signal.SIGINT)  # at once: within the second in which the hub asks
    await group.log_line("worker_died")
    await counted(group, sent)


async def test_sums_outlive_the_hub_and_a_worker_that_died_before_it(group: Process) -> None:
    pids, sent = await until_both_answer(group)
    await counted(group, sent)
    os.kill(min(pids), signal.SIGKILL)
    await group.log_line("worker_died")
    async with asyncio.timeout(20):
        while len(await workers_joined(group)) < 2:
            await asyncio.sleep(0.02)
    await counted(group, sent)  # and with that every worker has been told what is gone
    os.kill(await hub_of(group, await workers_joined(group)), signal.SIGKILL)
    await group.log_line("worker_died", 2)
    await counted(group, sent)


async def test_a_reload_of_all_workers_is_one(group: Process, tmp_path: Path) -> None:
    (tmp_path / "gateway.yaml").write_text(HOME % ", request_id")
    assert (await group.post("/api/reload", {}, group.admin))[0] == 200
    (tmp_path / "gateway.yaml").write_text(HOME % ", nonsense")
    assert (await group.post("/api/reload", {}, group.admin))[0] == 400
    told = (await scrape(group))[1]
    assert told.by("config_reloads_total", "result") == {"ok": 1, "failed": 1}
    pids, _ = await until_both_answer(group)
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
    await group.log_line("worker_died", 2)
    told = (await scrape(group))[1]
    assert told.by("config_reloads_total", "result") == {"ok": 1, "failed": 1}


async def workers_joined(group: Process) -> set[int]:
    status, told = await group.get("/api/status", group.admin)
    assert status == 200, told
    return {each["pid"] for each in told["workers"]}


async def hub_of(group: Process, pids: set[int]) -> int:
    found = Path(f"/proc/{group.process.pid}/task/{group.process.pid}/children").read_text().split()
    (hub,) = {int(pid) for pid in found} - pids
    return hub


def test_sums_are_made_member_by_member() -> None:
    one = {"a": {"x": 1, "y": [1, 2, 0.5]}, "b": 1}
    other = {"a": {"x": 2, "y": [0, 1, 0.25], "z": 4}}
    assert added(one, other) == {"a": {"x": 3, "y": [1, 3, 0.75], "z": 4}, "b": 1}
    assert added({}, one) == one
    assert json.dumps(one) == '{"a": {"x": 1, "y": [1, 2, 0.5]}, "b": 1}'  # neither is changed


def test_a_killed_worker_loses_a_second_at_most() -> None:
    assert LOOK_S <= 1.0
