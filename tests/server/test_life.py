"""A gateway process from its ready line to its exit code."""

from __future__ import annotations

import asyncio
import json
import re
import resource
import signal
import socket
from pathlib import Path

import aiohttp
import pytest

from gateway.testing import Gate, ScriptedUpstream, Stall, reply_json, reply_sse
from tests.server.conftest import OPENAI, in_its_dialect
from tests.server.process import process
from tests.server.raw import RawClient, chat, post, raw_client

FIRST = {"id": "c", "object": "chat.completion.chunk", "choices": [{"index": 0, "delta": {"content": "hello"}}]}
LAST = {"id": "c", "object": "chat.completion.chunk", "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}


def write(home: Path, url: str = "http://127.0.0.1:9", server: str = "{}", more: str = "") -> Path:
    (home / "gateway.yaml").write_text(
        f"""version: 1
server: {server}
plugins: [access_log, security_headers]
providers:
  up: {{dialect: openai, base_url: "{url}/v1", api_key: secret-of-the-provider}}
  claude: {{dialect: anthropic, base_url: "{url}", api_key: secret-of-the-provider}}
routes:
  - {{name: all, match: {{model: m}}, targets: ["up/*"], retry: {{attempts: 1}}}}
  - {{name: claude, match: {{model: claude}}, targets: ["claude/*"], retry: {{attempts: 1}}}}
{more}"""
    )
    return home


@pytest.fixture
async def upstream() -> ScriptedUpstream:
    async with ScriptedUpstream(in_its_dialect) as upstream:
        yield upstream


async def test_ready_line_says_both_addresses(tmp_path: Path) -> None:
    async with process(write(tmp_path)) as gateway:
        (line,) = [line for line in gateway.lines if line.startswith("ready")]
        assert re.fullmatch(r"ready: http://127\.0\.0\.1:\d+ \(admin http://127\.0\.0\.1:\d+\)", line)
        assert (await gateway.get("/health"))[0] == 200
        assert (await gateway.get("/api/status", gateway.admin))[0] == 200
        plain = [line for line in gateway.lines if not line.startswith("{")]
        assert plain == [line]


async def test_ready_line_with_a_unix_socket_and_no_admin(tmp_path: Path) -> None:
    path = tmp_path / "gateway.sock"
    async with process(write(tmp_path), "--listen", f"unix:{path}", "--admin", "off") as gateway:
        assert [line for line in gateway.lines if line.startswith("ready")] == [f"ready: unix:{path} (admin off)"]
        async with aiohttp.ClientSession(connector=aiohttp.UnixConnector(str(path))) as session:
            async with session.get("http://gateway/health") as answer:
                assert answer.status == 200
        gateway.process.send_signal(signal.SIGINT)
        assert await gateway.ended() == 0
    assert not path.exists()


async def test_unix_socket_left_behind_by_a_killed_process_is_taken_over(tmp_path: Path) -> None:
    path = tmp_path / "gateway.sock"
    for _ in range(2):
        async with process(write(tmp_path), "--listen", f"unix:{path}", "--admin", "off") as gateway:
            gateway.process.kill()
            await gateway.ended()
        assert path.exists()


async def test_port_in_use_is_exit_1_and_says_which(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        async with process(write(tmp_path), "--listen", address, ready=False) as gateway:
            assert await gateway.ended() == 1
            (line,) = [json.loads(line) for line in gateway.lines]
            assert (line["level"], line["event"], line["address"]) == ("critical", "cannot_bind", address)
        async with process(write(tmp_path), "--admin", address, ready=False) as gateway:
            assert await gateway.ended() == 1


async def test_bad_configuration_is_exit_2_with_every_line_and_no_secret(tmp_path: Path) -> None:
    write(tmp_path, more="  - {name: b, match: {model: b}, targets: [nobody/x]}\nshenanigans: 1\n")
    async with process(tmp_path, ready=False) as gateway:
        assert await gateway.ended() == 2
    text = "\n".join(gateway.lines)
    assert re.search(r"gateway\.yaml:10:\d+: routes\[2\]\.targets\[0\]: .*nobody", text)
    assert re.search(r"gateway\.yaml:11:1: .*shenanigans", text)
    assert "secret-of-the-provider" not in text and "Traceback" not in text


async def test_log_format_that_does_not_exist_is_exit_2_and_says_which_do(tmp_path: Path) -> None:
    async with process(write(tmp_path), environ={"LOG_FORMAT": "yaml"}, ready=False) as gateway:
        assert await gateway.ended() == 2
    assert gateway.lines == ['LOG_FORMAT: "yaml" is no log format; set json or text']


async def test_plugin_that_cannot_start_is_exit_2(tmp_path: Path) -> None:
    (tmp_path / "plugins").mkdir()
    (tmp_path / "plugins" / "mine.py").write_text(
        "from gateway.plugin import Plugin\nclass Mine(Plugin):\n    async def start(self):\n        raise OSError('no disk')\n"
    )
    home = write(tmp_path)
    text = (home / "gateway.yaml").read_text().replace("plugins: [", "plugins: [mine, ")
    (home / "gateway.yaml").write_text(text)
    async with process(home, ready=False) as gateway:
        assert await gateway.ended() == 2
    assert "mine" in "\n".join(gateway.lines) and "no disk" in "\n".join(gateway.lines)


async def test_without_aiohttps_c_parser_it_refuses_to_start(tmp_path: Path) -> None:
    async with process(write(tmp_path), environ={"AIOHTTP_NO_EXTENSIONS": "1"}, ready=False) as gateway:
        assert await gateway.ended() == 2
    assert any("C HTTP parser" in line for line in gateway.lines)


async def open_stream(client: RawClient, path: str = "/v1/chat/completions", model: str = "m") -> None:
    await client.send(post(path, chat(model, stream=True, max_tokens=9)))
    assert await client.until(b"\r\n\r\n") is not None


async def test_sigterm_serves_through_the_lame_duck_then_ends_streams_and_exits_0(tmp_path: Path) -> None:
    gate = Gate()
    anthropic = [
        ("message_start", {"type": "message_start", "message": {"id": "m", "type": "message", "role": "assistant", "content": [], "model": "x", "usage": {"input_tokens": 1, "output_tokens": 1}}}),
        ("content_block_start", {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}),
        ("content_block_delta", {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "hello"}}),
    ]  # fmt: skip

    def script(request):  # type: ignore[no-untyped-def]
        if request.path == "/v1/messages":
            return reply_sse([*anthropic, Stall()])
        if request.header("x-kind") == "fits":
            return reply_sse([FIRST, gate, LAST, "[DONE]"])
        if request.header("x-kind") == "silent":
            return [Stall()]
        return reply_sse([FIRST, Stall()]) if request.json().get("stream") else reply_json(OPENAI)

    async with ScriptedUpstream(script) as upstream:
        home = write(tmp_path, upstream.url, "{drain: {lame_duck: 2s, grace: 1s}}")
        async with process(home) as gateway, raw_client(gateway.port) as fits, raw_client(gateway.port) as openai:
            async with (
                raw_client(gateway.port) as claude,
                raw_client(gateway.port) as silent,
                raw_client(gateway.port) as idle,
            ):
                await fits.send(post("/v1/chat/completions", chat(stream=True), "x-kind: fits"))
                await gate.reached()
                await openai.send(post("/v1/chat/completions", chat(stream=True)))
                await claude.send(post("/v1/messages", chat("claude", stream=True, max_tokens=9)))
                await silent.send(post("/v1/chat/completions", chat(), "x-kind: silent"))
                await upstream.wait_for_request(3)
                await idle.send(b"GET /health HTTP/1.1\r\nHost: t\r\n\r\n")
                assert await idle.answer() is not None
                gateway.process.send_signal(signal.SIGTERM)
                await gateway.log_line("lame_duck")
                status, ready = await gateway.get("/ready")
                assert status == 503 and ready["status"] == "not_ready"
                assert (await gateway.get("/health"))[0] == 200
                assert (await gateway.post("/v1/chat/completions", json.loads(chat())))[0] == 200
                await gateway.log_line("draining")
                with pytest.raises(OSError):
                    await asyncio.open_connection("127.0.0.1", gateway.port)
                assert await idle.rest() == b""
                gate.open()
                whole, cut, cut_claude, refused = [await each.answer() for each in (fits, openai, claude, silent)]
                assert whole is not None and whole.body.endswith(b"data: [DONE]\n\n") and b"error" not in whole.body
                assert cut is not None and b"hello" in cut.body and b'"error"' in cut.body
                assert b"[DONE]" not in cut.body
                assert cut_claude is not None and b"event: error" in cut_claude.body
                assert b"overloaded_error" in cut_claude.body and b"message_stop" not in cut_claude.body
                assert refused is not None and refused.status == 503
                assert await gateway.ended() == 0
        assert '"event":"stopped"' in gateway.lines[-1]
        lines = [json.loads(line) for line in gateway.lines if '"event":"request"' in line]
        assert sorted(line["outcome"] for line in lines if line["route"]) == ["completed"] * 2 + ["failed"] * 3


async def test_sigint_skips_the_lame_duck(tmp_path: Path, upstream: ScriptedUpstream) -> None:
    async with process(write(tmp_path, upstream.url, "{drain: {lame_duck: 1h, grace: 1h}}")) as gateway:
        gateway.process.send_signal(signal.SIGINT)
        assert await gateway.ended() == 0
        assert not [line for line in gateway.lines if "lame_duck" in line]


@pytest.mark.parametrize("signals", [(signal.SIGTERM, signal.SIGTERM), (signal.SIGINT, signal.SIGTERM)], ids=["in the lame duck", "in the grace"])  # fmt: skip
async def test_a_second_signal_stops_at_once_with_exit_1(tmp_path: Path, signals: tuple[signal.Signals, ...]) -> None:
    async with ScriptedUpstream(reply_sse([FIRST, Stall()])) as upstream:
        async with process(write(tmp_path, upstream.url, "{drain: {lame_duck: 1h, grace: 1h}}")) as gateway:
            async with raw_client(gateway.port) as client:
                await open_stream(client)
                gateway.process.send_signal(signals[0])
                await gateway.log_line("lame_duck" if signals[0] == signal.SIGTERM else "draining")
                gateway.process.send_signal(signals[1])
                assert await gateway.ended() == 1
                assert b"[DONE]" not in await client.rest()
        assert [line for line in gateway.lines if '"event":"request"' in line]  # it ended, and was told


async def test_sighup_reloads_and_a_bad_file_changes_nothing(tmp_path: Path, upstream: ScriptedUpstream) -> None:
    async with process(write(tmp_path, upstream.url)) as gateway:
        assert (await gateway.post("/v1/chat/completions", {"model": "new", "messages": []}))[0] == 404
        write(tmp_path, upstream.url, more='  - {name: new, match: {model: new}, targets: ["up/*"]}\n')
        gateway.process.send_signal(signal.SIGHUP)
        await gateway.log_line("reloaded")
        assert (await gateway.post("/v1/chat/completions", {"model": "new", "messages": []}))[0] == 200
        digest = (await gateway.get("/api/status", gateway.admin))[1]["digest"]

        write(tmp_path, upstream.url, more='  - {name: new, match: {model: new}, targets: ["nobody/*"]}\n')
        gateway.process.send_signal(signal.SIGHUP)
        line = json.loads(await gateway.log_line("reload_failed"))
        assert line["level"] == "error" and "gateway.yaml:10:" in line["errors"][0]
        status, ready = await gateway.get("/ready")
        assert (status, ready["status"]) == (200, "degraded") and ready["checks"]["config"] != "ok"
        assert (await gateway.get("/api/status", gateway.admin))[1]["digest"] == digest
        assert (await gateway.post("/v1/chat/completions", {"model": "new", "messages": []}))[0] == 200
        assert "secret-of-the-provider" not in "\n".join(gateway.lines)

        write(tmp_path, upstream.url)
        gateway.process.send_signal(signal.SIGHUP)
        await gateway.log_line("reloaded", 2)
        assert (await gateway.get("/ready"))[1]["status"] == "ready"


async def test_a_changed_file_is_reloaded_and_a_half_written_one_survived(
    tmp_path: Path, upstream: ScriptedUpstream
) -> None:
    async with process(write(tmp_path, upstream.url), "--watch") as gateway:
        (tmp_path / "gateway.yaml").write_text("version: 1\nroutes: [")
        await gateway.log_line("reload_failed")
        assert (await gateway.post("/v1/chat/completions", {"model": "m", "messages": []}))[0] == 200
        other = tmp_path / "gateway.new"
        write(tmp_path, upstream.url, more='  - {name: new, match: {model: new}, targets: ["up/*"]}\n')
        text = (tmp_path / "gateway.yaml").read_text()
        await gateway.log_line("reloaded")
        assert (await gateway.post("/v1/chat/completions", {"model": "new", "messages": []}))[0] == 200
        other.write_text(text.replace("model: new", "model: newer"))  # as editors do: written beside, then moved over
        other.replace(tmp_path / "gateway.yaml")
        await gateway.log_line("reloaded", 2)
        assert (await gateway.post("/v1/chat/completions", {"model": "newer", "messages": []}))[0] == 200


async def test_without_watching_a_changed_file_waits_for_a_signal(tmp_path: Path, upstream: ScriptedUpstream) -> None:
    async with process(write(tmp_path, upstream.url), "--no-watch") as gateway:
        write(tmp_path, upstream.url, more='  - {name: new, match: {model: new}, targets: ["up/*"]}\n')
        assert (await gateway.post("/v1/chat/completions", {"model": "new", "messages": []}))[0] == 404
        gateway.process.send_signal(signal.SIGHUP)
        line = json.loads(await gateway.log_line("reloaded"))
        assert line["why"] == "SIGHUP"


async def test_out_of_descriptors_clients_are_told_and_open_streams_live_on(tmp_path: Path) -> None:
    gate = Gate()
    async with ScriptedUpstream(lambda request: reply_sse([FIRST, gate, LAST, "[DONE]"]) if request.json().get("stream") else reply_json(OPENAI)) as upstream:  # fmt: skip
        limit = lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (160, 160))  # noqa: E731
        async with process(write(tmp_path, upstream.url), prepare=limit) as gateway, raw_client(gateway.port) as stream:
            await stream.send(post("/v1/chat/completions", chat(stream=True)))
            await gate.reached()
            crowd = [RawClient(*await asyncio.open_connection("127.0.0.1", gateway.port)) for _ in range(300)]
            for client in crowd:
                await client.send(b"GET /health HTTP/1.1\r\nHost: t\r\n\r\n")
            answers = [await client.answer() for client in crowd]
            served = sum(answer is not None and answer.status == 200 for answer in answers)
            told = [answer for answer in answers if answer is not None and answer.status == 503]
            # The rest found their connection reset: they were still writing when they were told.
            assert served >= 80 and len(told) >= 40 and {each.status for each in answers if each} == {200, 503}
            assert told[0].json()["error"]["code"] == "overloaded" and told[0].headers["retry-after"] == "1"
            gate.open()
            whole = await stream.answer()
            assert whole is not None and whole.body.endswith(b"data: [DONE]\n\n")
            for client in crowd:
                client.reset()
            async with asyncio.timeout(10):
                while True:
                    async with raw_client(gateway.port) as client:
                        await client.send(post("/v1/chat/completions", chat()))
                        answer = await client.answer()
                        if answer is not None and answer.status == 200:
                            break
            assert len(gateway.lines) < 400 + 20


async def test_a_body_of_100_mb_is_refused_without_being_held(tmp_path: Path, upstream: ScriptedUpstream) -> None:
    def peak(pid: int) -> int:
        status = Path(f"/proc/{pid}/status").read_text()
        return int(re.search(r"VmHWM:\s+(\d+)", status)[1])  # type: ignore[index]

    async with process(write(tmp_path, upstream.url, "{max_body: 1MiB}")) as gateway:
        await gateway.post("/v1/chat/completions", {"model": "m", "messages": []})
        before = peak(gateway.process.pid)
        async with raw_client(gateway.port) as client:
            await client.send(post("/v1/chat/completions", b"", "Transfer-Encoding: chunked", length=False))
            try:
                for _ in range(1600):
                    await client.send(b"10000\r\n" + b" " * 65536 + b"\r\n")
            except ConnectionError:
                pass
        assert peak(gateway.process.pid) - before < 16 * 1024
        assert (await gateway.post("/v1/chat/completions", {"model": "m", "messages": []}))[0] == 200
