"""Several workers on one port: shared, replaced when they die, reloaded together, stopped together."""

from __future__ import annotations

import asyncio
import os
import re
import signal
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import aiohttp
import pytest

from tests.server.process import Process, process

HOME = """\
version: 1
state: "sqlite:var/state.db"
server: {workers: 2, drain: {lame_duck: 0s, grace: 5s}}
plugins: [request_id, name_pid]
providers: {echo: {}}
routes: [{name: echo, match: {model: echo}, targets: [echo/echo]}]
"""
NAME_PID = """\
import os
from gateway.plugin import Plugin

class NamePid(Plugin):
    options_schema = {"type": "object", "properties": {"word": {"type": "string"}, "refuse": {"type": "string"}}}

    async def start(self):
        from gateway.plugin import ConfigError
        if self.options.get("refuse"):
            raise ConfigError(self.options["refuse"])

    async def handle(self, exchange, call_next):
        exchange.headers["x-pid"] = str(os.getpid())
        exchange.headers["x-word"] = self.options.get("word", "none")
        return await call_next(exchange)
"""
ASKED = {"model": "echo", "messages": [{"role": "user", "content": "one two three"}]}


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / "plugins").mkdir()
    (tmp_path / "plugins" / "name_pid.py").write_text(NAME_PID)
    (tmp_path / "gateway.yaml").write_text(HOME)
    return tmp_path


@pytest.fixture
async def group(home: Path) -> AsyncIterator[Process]:
    async with process(home) as running:
        yield running
        if running.process.returncode is None:
            assert await running.stop() == 0
            await gone(running.process.pid)


def children(pid: int) -> dict[int, float]:
    """Return the children of a process with the time each was started."""
    found = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue  # it ended meanwhile
        if int(fields[1]) == pid and fields[0] != "Z":
            found[int(stat.parent.name)] = float(fields[19])
    return found


async def gone(pid: int) -> None:
    await until(lambda: not children(pid))


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not holds():
            await asyncio.sleep(0.01)


async def header(group: Process, name: str) -> str:
    """Ask on a connection of its own, so that any worker may take it."""
    async with group.session.post(
        group.url + "/v1/chat/completions", json=ASKED, headers={"connection": "close"}
    ) as answer:
        assert answer.status == 200
        return answer.headers[name]


async def workers(group: Process, count: int = 2) -> set[int]:
    """Return the pids that answer, once `count` different ones do."""
    seen: set[int] = set()
    async with asyncio.timeout(20):
        while len(seen) < count:
            seen |= {int(pid) for pid in await asyncio.gather(*(header(group, "x-pid") for _ in range(16)))}
    return seen


async def test_two_workers_share_the_port_and_one_ready_line_tells(group: Process) -> None:
    pids = await workers(group)
    assert pids < children(group.process.pid).keys()
    assert sum(line.startswith("ready:") for line in group.lines) == 1


async def test_a_worker_that_dies_is_replaced_and_the_others_serve_on(group: Process) -> None:
    before = await workers(group)
    victim = min(before)
    os.kill(victim, signal.SIGKILL)
    await group.log_line("worker_died")
    for _ in range(50):
        await header(group, "x-pid")
    after = await workers(group)
    assert victim not in after
    assert len(after - before) == 1
    assert '"how":"SIGKILL"' in await group.log_line("worker_died")


async def test_the_hub_is_replaced_and_finds_the_workers_again(group: Process) -> None:
    pids = await workers(group)
    (hub,) = children(group.process.pid).keys() - pids
    os.kill(hub, signal.SIGKILL)
    await group.log_line("worker_died")

    async def status() -> int:
        try:
            return (await group.get("/api/status", group.admin))[0]
        except OSError:
            return 0

    async with asyncio.timeout(20):
        while await status() != 200:
            await asyncio.sleep(0.01)
    assert await workers(group) == pids
    assert sum(line.startswith("ready:") for line in group.lines) == 1


async def test_the_admin_listener_tells_of_all_workers_together(group: Process) -> None:
    pids = await workers(group)
    asked = sum([bool(await header(group, "x-pid")) for _ in range(10)])
    status, told = await group.get("/api/status", group.admin)
    assert status == 200
    assert {each["pid"] for each in told["workers"]} == pids
    (echo,) = told["targets"]
    assert echo["attempts"] >= asked + len(pids)
    assert (told["phase"], told["in_flight"]) == ("serving", 0)


async def test_a_reload_reaches_every_worker_before_it_is_answered(group: Process, home: Path) -> None:
    await workers(group)
    (home / "gateway.yaml").write_text(
        (home / "gateway.yaml").read_text().replace("name_pid]", "name_pid: {word: new}]")
    )
    (home / "gateway.yaml").write_text(
        (home / "gateway.yaml").read_text().replace("name_pid: {word: new}", "{name_pid: {word: new}}")
    )
    status, answer = await group.post("/api/reload", {}, group.admin)
    assert (status, answer["reloaded"]) == (200, True)
    assert {await header(group, "x-word") for _ in range(40)} == {"new"}
    assert len(await workers(group)) == 2


async def test_a_reload_that_one_worker_refuses_changes_none(group: Process, home: Path) -> None:
    text = (home / "gateway.yaml").read_text()
    (home / "gateway.yaml").write_text(text.replace("name_pid]", "{name_pid: {word: bad, refuse: not today}}]"))
    status, answer = await group.post("/api/reload", {}, group.admin)
    assert status == 400
    assert "not today" in answer["error"]["message"]
    assert {await header(group, "x-word") for _ in range(40)} == {"none"}
    status, ready = await group.get("/ready")
    assert (status, ready["status"]) == (200, "degraded")


async def test_a_worker_forked_while_the_file_is_broken_serves_what_is_in_force(group: Process, home: Path) -> None:
    text = (home / "gateway.yaml").read_text()
    (home / "gateway.yaml").write_text(text.replace("name_pid]", "{name_pid: {word: newer}}]"))
    assert (await group.post("/api/reload", {}, group.admin))[0] == 200
    before = await workers(group)
    (home / "gateway.yaml").write_text("version: nonsense\n")
    os.kill(min(before), signal.SIGKILL)
    await group.log_line("worker_died")
    assert await workers(group) != before
    assert {await header(group, "x-word") for _ in range(40)} == {"newer"}


async def test_sigterm_lets_what_runs_finish_and_leaves_no_process(home: Path) -> None:
    text = (home / "gateway.yaml").read_text()
    (home / "gateway.yaml").write_text(text.replace("echo: {}", "echo: {delay: 50ms}"))
    async with process(home) as group:
        await workers(group)
        mine = children(group.process.pid)

        async def stream() -> bytes:
            async with group.session.post(group.url + "/v1/chat/completions", json={**ASKED, "stream": True}) as answer:
                assert answer.status == 200
                begun.set()
                return await answer.read()

        begun = asyncio.Event()
        running = [asyncio.create_task(stream()) for _ in range(10)]
        await begun.wait()
        assert await group.stop(signal.SIGTERM) == 0
        bodies = await asyncio.gather(*running)
        assert all(body.endswith(b"data: [DONE]\n\n") for body in bodies)
        assert not any(Path(f"/proc/{pid}").exists() for pid in mine)


async def test_a_second_signal_stops_every_worker_at_once(home: Path) -> None:
    text = (home / "gateway.yaml").read_text()
    (home / "gateway.yaml").write_text(text.replace("echo: {}", "echo: {delay: 10s}"))
    async with process(home) as group:
        asking = asyncio.create_task(group.post("/v1/chat/completions", ASKED))
        async with asyncio.timeout(20):
            while not re.search(r'"in_flight": ?[1-9]', await status_text(group)):
                await asyncio.sleep(0.01)
        group.process.send_signal(signal.SIGINT)
        await group.log_line("draining", 2)
        group.process.send_signal(signal.SIGINT)
        assert await group.ended() == 1
        with pytest.raises(aiohttp.ClientError):
            await asking


async def status_text(group: Process) -> str:
    async with group.session.get(group.admin + "/api/status") as answer:
        return await answer.text()


async def test_a_supervisor_that_is_killed_takes_its_workers_with_it(home: Path) -> None:
    async with process(home) as group:
        await workers(group)
        mine = children(group.process.pid)
        group.process.kill()
        await until(lambda: not any(Path(f"/proc/{pid}/cwd").exists() for pid in mine))


async def test_what_a_plugin_refuses_at_the_start_is_told_once(home: Path) -> None:
    text = (home / "gateway.yaml").read_text()
    (home / "gateway.yaml").write_text(text.replace("name_pid]", "{name_pid: {refuse: never}}]"))
    async with process(home, ready=False) as group:
        assert await group.ended() == 2
        assert sum("never" in line for line in group.lines) == 1
