"""Targets that an operator rests, drains and resets: in every process, whatever comes after."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from gateway.testing import Gate, Reset, ScriptedUpstream, reply_json
from gateway.upstream.holds import Holds
from tests.admin.desks import Dashboard, dashboard
from tests.server.process import Process, process

MESSAGES = [{"role": "user", "content": "hello"}]
ANSWER = {
    "id": "x", "object": "chat.completion", "model": "m", "created": 1,
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "ok"}, "finish_reason": "stop"}],
}  # fmt: skip


def config(one: str, other: str = "", more: str = "") -> str:
    return f"""
        plugins: [{{circuit_breaker: {{failures: 1, open_for: 1h}}}}]
        providers:
          one: {{dialect: openai, base_url: "{one}/v1", api_key: k}}
          other: {{dialect: openai, base_url: "{other or one}/v1", api_key: k}}
        routes:
          - {{name: both, match: {{model: both}}, targets: [one/m, other/m], retry: {{attempts: 1}}{more}}}
          - {{name: only, match: {{model: only}}, targets: [one/m], retry: {{attempts: 1}}}}
    """


async def chat(board: Dashboard, model: str = "both") -> tuple[int, str | None, Any]:
    answer = await board.gateway.post("/v1/chat/completions", {"model": model, "messages": MESSAGES})
    return answer.status, answer.headers.get("x-gateway-target"), answer.json()


async def act(board: Dashboard, target: str, action: str, **more: Any) -> dict[str, Any]:
    status, body = await board.ask("POST", "/api/targets", {"target": target, "action": action, **more})
    assert status == 200, body
    [row] = body["targets"]
    found: dict[str, Any] = row
    return found


async def test_a_drained_target_gets_nothing_new_until_it_is_taken_back() -> None:
    async with ScriptedUpstream(reply_json(ANSWER)) as up, dashboard(config(up.url)) as board:
        assert (await chat(board))[1] == "one/m"
        assert (await act(board, "one/m", "drain"))["operator"] == "drained"
        assert [(await chat(board))[1] for _ in range(3)] == ["other/m"] * 3
        status, _, body = await chat(board, "only")
        assert status == 503 and body["error"]["code"] == "circuit_open" and "drained" in body["error"]["message"]
        board.gateway.configure(config(up.url, more=", balance: round_robin"))
        await board.gateway.reloader.reload("test")  # a reload forgets nothing
        assert [(await chat(board))[1] for _ in range(3)] == ["other/m"] * 3
        [row] = [each for each in (await board.get("/api/overview"))["targets"] if each["target"] == "one/m"]
        assert row["operator"] == "drained" and row["breaker"] == "closed"
        assert (await act(board, "one/m", "undrain"))["operator"] is None
        assert {(await chat(board))[1] for _ in range(4)} == {"one/m", "other/m"}
        lines = board.gateway.events("admin_action")
        assert [(each["action"], each["target"], each["by"]) for each in lines] == [
            ("drain target", "one/m", "loopback"), ("undrain target", "one/m", "loopback"),
        ]  # fmt: skip


async def test_what_runs_at_a_drained_target_finishes_and_is_not_tried_there_again() -> None:
    gate = Gate()
    async with ScriptedUpstream([gate, *reply_json(ANSWER)]) as up, dashboard(config(up.url)) as board:
        running = asyncio.create_task(chat(board))
        await gate.reached()
        await act(board, "one/m", "drain")
        gate.open()
        assert (await running)[:2] == (200, "one/m")


async def test_an_attempt_that_fails_does_not_fall_back_to_what_was_drained_meanwhile() -> None:
    gate = Gate()
    async with ScriptedUpstream([gate, Reset()]) as one, ScriptedUpstream(reply_json(ANSWER)) as other:
        async with dashboard(config(one.url, other.url)) as board:
            running = asyncio.create_task(chat(board))
            await gate.reached()
            await act(board, "other/m", "drain")
            gate.open()
            assert (await running)[0] == 502 and not other.requests


async def test_a_drained_target_gets_no_shadows(tmp_path: Path) -> None:
    async with ScriptedUpstream(reply_json(ANSWER)) as up, ScriptedUpstream(reply_json(ANSWER)) as trial:
        text = config(up.url, trial.url, more=", shadow: {target: other/m, percent: 100}")
        async with dashboard(text) as board:
            await act(board, "other/m", "drain")
            assert (await chat(board))[0] == 200
            await act(board, "other/m", "undrain")
            assert (await chat(board))[0] == 200
            while not trial.requests:
                await asyncio.sleep(0.001)
            assert len(trial.requests) == 1


async def test_rest_takes_a_target_out_for_a_while_and_never_the_last() -> None:
    async with ScriptedUpstream(reply_json(ANSWER)) as up, dashboard(config(up.url)) as board:
        row = await act(board, "one/m", "rest", seconds=600)
        assert row["operator"] == "resting" and 590 < row["rests_s"] <= 600
        assert [(await chat(board))[1] for _ in range(3)] == ["other/m"] * 3
        assert (await chat(board, "only"))[:2] == (200, "one/m")
        await act(board, "other/m", "drain")
        assert (await chat(board))[:2] == (200, "one/m")
        await act(board, "one/m", "undrain")
        assert board.gateway.core.holds.of("one/m") is None


async def test_rest_gives_way_to_a_target_whose_breaker_is_open() -> None:
    async with ScriptedUpstream([Reset()]) as one, ScriptedUpstream(reply_json(ANSWER)) as other:
        async with dashboard(config(one.url, other.url)) as board:
            assert (await chat(board))[1] == "other/m"  # which opened the breaker of the first
            await act(board, "other/m", "rest", seconds=600)
            assert (await chat(board))[:2] == (200, "other/m")


def test_a_rest_ends_by_itself() -> None:
    now = [100.0]
    holds = Holds(lambda: now[0])
    holds.rest("a/b", 10)
    now[0] = 109.9
    assert holds.of("a/b") == "resting" and holds.names == {"a/b"}
    now[0] = 110.0
    assert holds.of("a/b") is None and not holds.names


def test_of_two_lists_the_newer_one_holds() -> None:
    one, other = Holds(lambda: 0.0), Holds(lambda: 0.0)
    one.drain("a/b")
    one.drain("c/d")
    other.drain("x/y")
    other.learn(one.told())
    one.learn({"version": 1, "drained": [], "rests": {}})
    assert other.names == one.names == {"a/b", "c/d"}


async def test_reset_closes_a_breaker() -> None:
    answers = iter((reply_json({"error": {}}, status=500), reply_json(ANSWER)))
    async with ScriptedUpstream(lambda _: next(answers)) as up, dashboard(config(up.url)) as board:
        assert [(await chat(board, "only"))[2].get("error", {}).get("code") for _ in range(2)] == [
            "upstream_error",
            "circuit_open",
        ]
        [row] = [each for each in (await board.get("/api/overview"))["targets"] if each["target"] == "one/m"]
        assert row["breaker"] == "open" and row["why"] and row["probe_in_s"] > 3500
        assert (await act(board, "one/m", "reset"))["breaker"] == "closed"
        assert (await chat(board, "only"))[0] == 200


async def test_reset_closes_a_shared_breaker_for_the_whole_fleet(tmp_path: Path) -> None:
    answers = iter([reply_json({"error": {}}, status=500)])
    async with ScriptedUpstream(lambda _: next(answers, reply_json(ANSWER))) as up:
        text = config(up.url).replace("open_for: 1h", "open_for: 1h, share: true")
        text = f"        state: sqlite:{tmp_path}/state.db{text}"
        async with dashboard(text) as board, dashboard(text) as other:
            assert (await chat(board, "only"))[0] == 502
            assert (await chat(other, "only"))[2]["error"]["code"] == "circuit_open"
            await act(board, "one/m", "reset")
            assert (await chat(board, "only"))[0] == 200
            async with asyncio.timeout(10):  # how old its view may be: a second
                while (await chat(other, "only"))[0] != 200:
                    await asyncio.sleep(0.02)


@pytest.mark.parametrize(
    ("body", "status"),
    [({"target": "one/m", "action": "explode"}, 400), ({"target": "nobody/m", "action": "drain"}, 404), ({}, 400),
     ({"target": "one/m", "action": "rest", "seconds": 0}, 400), ({"target": "one/m", "action": "rest", "seconds": "x"}, 400),
     ({"target": "one/m", "action": "rest", "seconds": 1e9}, 400),
     ({"target": "one/m", "action": "rest", "seconds": 10**400}, 400), ({"target": 1, "action": "rest"}, 400),
     ({"target": "one/m", "action": "drain", "why": "x"}, 400)],
)  # fmt: skip
async def test_what_makes_no_sense_is_refused(body: dict[str, Any], status: int) -> None:
    async with dashboard(config("http://127.0.0.1:1")) as board:
        assert (await board.ask("POST", "/api/targets", body))[0] == status
        assert not board.gateway.core.holds.names


async def asked(gateway: Process, model: str = "both") -> str | None:
    """Ask over a connection of its own, so that any worker may take it."""
    async with gateway.session.post(
        gateway.url + "/v1/chat/completions",
        json={"model": model, "messages": MESSAGES},
        headers={"connection": "close"},
    ) as answer:
        await answer.read()
        return answer.headers.get("x-gateway-target")


async def test_all_workers_know_those_that_join_later_too_and_a_new_hub_learns_it(tmp_path: Path) -> None:
    async with ScriptedUpstream(reply_json(ANSWER)) as up:
        (tmp_path / "gateway.yaml").write_text(
            "version: 1\nstate: sqlite:state.db\nserver: {workers: 2}\n" + _dedented(config(up.url))
        )
        async with process(tmp_path) as gateway:
            body = {"target": "one/m", "action": "drain"}
            status, told = await gateway.post("/api/targets", body, base=gateway.admin)
            assert status == 200 and told["targets"][0]["operator"] == "drained"
            assert {await asked(gateway) for _ in range(20)} == {"other/m"}
            _, overview = await gateway.get("/api/overview", base=gateway.admin)
            first = {each["pid"] for each in overview["workers"]}
            assert len(first) == 2
            for pid in first:
                os.kill(pid, signal.SIGKILL)
                first = await _replaced(gateway, first)
            assert {await asked(gateway) for _ in range(20)} == {"other/m"}
            [hub] = [pid for pid in _children(gateway.process.pid) if pid not in first]
            os.kill(hub, signal.SIGKILL)
            await gateway.log_line("worker_died", 3)
            row = await _until_told(gateway)
            assert row["operator"] == "drained"
            status, _ = await gateway.post("/api/targets", {**body, "action": "undrain"}, base=gateway.admin)
            assert status == 200 and "one/m" in {await asked(gateway) for _ in range(20)}
            assert await gateway.stop() == 0


async def _replaced(gateway: Process, before: set[int]) -> set[int]:
    """Return the workers once there are two again, one of them new."""
    async with asyncio.timeout(20):
        while True:
            _, body = await gateway.get("/api/overview", base=gateway.admin)
            now = {each["pid"] for each in body["workers"]}
            if len(now) == 2 and now != before:
                return now
            await asyncio.sleep(0.05)


async def _until_told(gateway: Process) -> dict[str, Any]:
    """Return the first target's row once a new hub has found both workers."""
    async with asyncio.timeout(20):
        while True:
            try:
                _, body = await gateway.get("/api/overview", base=gateway.admin)
            except (OSError, aiohttp.ClientError):
                body = {"workers": []}
            if len(body["workers"]) == 2:
                return next(each for each in body["targets"] if each["target"] == "one/m")
            await asyncio.sleep(0.05)


def _children(pid: int) -> list[int]:
    return [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def _dedented(text: str) -> str:
    return "\n".join(line.removeprefix("        ") for line in text.splitlines())
