"""`gateway chat` as a person uses it: the process, its two streams, a terminal."""

from __future__ import annotations

import asyncio
import os
import pty
import re
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from click.testing import CliRunner

from gateway import credentials
from gateway.cli import gateway as command
from gateway.testing import Reset, ScriptedUpstream, reply_sse
from tests.imports import ROOT
from tests.serving import Serving, serving

HOME = """version: 1
plugins: [request_id, %s]
providers: {echo: {}, up: {dialect: openai, base_url: "%s/v1", api_key: k}}
routes:
  - {name: first, match: {model: echo}, targets: [echo/echo]}
  - {name: cut, match: {model: cut}, targets: ["up/*"]}
"""
COMMAND = (sys.executable, "-m", "gateway", "chat")


@pytest.fixture
async def gateway(tmp_path: Path) -> AsyncIterator[Serving]:
    """One with sessions, and an upstream that dies in the middle of an answer."""
    piece = {"id": "1", "object": "chat.completion.chunk", "created": 1, "model": "m"}
    half = {**piece, "choices": [{"index": 0, "delta": {"content": "half an"}, "finish_reason": None}]}
    async with ScriptedUpstream(reply_sse([half, Reset()])) as up:
        (tmp_path / "gateway.yaml").write_text(HOME % ("session", up.url))
        async with serving(tmp_path) as running:
            yield running


async def chat(
    url: str | None, *words: str, given: str = "", cwd: Path | None = None, **env: str
) -> tuple[int, str, str]:
    """Return exit code, stdout and stderr; of a process of its own in `cwd`, where one is named."""
    asked = [*(["--url", url] if url else []), *words]
    if cwd is None:
        done = await asyncio.to_thread(CliRunner().invoke, command, ["chat", *asked], input=given, env=env)
        return done.exit_code, done.stdout, done.stderr
    process = await asyncio.create_subprocess_exec(
        *COMMAND, *asked, cwd=cwd, env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), **env},
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    out, err = await process.communicate(given.encode())
    assert process.returncode is not None
    return process.returncode, out.decode(), err.decode()


async def test_the_answer_goes_to_stdout_and_what_it_took_to_stderr(gateway: Serving) -> None:
    code, out, err = await chat(gateway.url, "--request-id", "asked-1", "hello there")
    assert (code, out) == (0, "hello there\n")
    assert re.match(r"request=asked-1  route=first  target=echo/echo  tokens=\d+\+\d+  cost=\S+  time=\d", err)


async def test_what_a_stream_cost_is_asked_of_the_ledger(tmp_path: Path) -> None:
    text = HOME % ("session", "http://127.0.0.1:9")
    (tmp_path / "gateway.yaml").write_text(text + "ledger: sqlite:ledger.db\n")
    async with serving(tmp_path, admin="127.0.0.1:0") as running:
        at = {"GATEWAY_LISTEN": running.url[7:], "GATEWAY_ADMIN_LISTEN": running.admin[7:]}
        assert "  cost=$0  " in (await chat(None, "hi", **at))[2]
        assert "  cost=unknown  " in (await chat(running.url, "hi"))[2]


async def test_a_pipe_is_the_prompt(gateway: Serving) -> None:
    assert (await chat(gateway.url, "--model", "echo", given="from a pipe\n"))[:2] == (0, "from a pipe\n")


async def test_the_longest_answer_is_the_models_to_keep(gateway: Serving) -> None:
    code, out, err = await chat(gateway.url, "--max-tokens", "1", "one two three four five six")
    assert code == 0
    assert len(out) < len("one two three four five six")
    assert "cut at the longest" in err


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--model", "nobody", "hi"], '404 model_not_found: no route takes the model "nobody"'),
        (["--session", "sess_gone", "hi"], "404 not_found: no such session"),
        (["  "], "nothing to ask"),
    ],
)
async def test_a_refusal_is_told_in_one_line_and_exits_1(gateway: Serving, words: list[str], told: str) -> None:
    code, out, err = await chat(gateway.url, *words)
    assert (code, out) == (1, "")
    assert told in err
    assert len(err.splitlines()) == 1


async def test_an_answer_that_breaks_off_keeps_what_came_and_exits_1(gateway: Serving) -> None:
    code, out, err = await chat(gateway.url, "--model", "cut", "hi")
    assert (code, out) == (1, "half an\n")
    assert "the answer broke off: " in err


async def test_nobody_there_is_told_with_the_cure() -> None:
    code, out, err = await chat("http://127.0.0.1:9", "--model", "echo", "hi")
    assert (code, out) == (1, "")
    assert err.startswith("cannot reach http://127.0.0.1:9: ")
    assert "gateway serve" in err


async def test_a_key_is_sent_and_one_that_lacks_is_asked_for(tmp_path: Path) -> None:
    text = HOME.replace("[request_id, %s]", '[auth: {keys: [{name: a, hash: "%s"}], anonymous: never}]')
    (tmp_path / "gateway.yaml").write_text(text % (credentials.hash_of("gw-right"), "http://127.0.0.1:9"))
    async with serving(tmp_path) as running:
        code, _, err = await chat(running.url, "hi")
        assert code == 1
        assert "401 invalid_api_key" in err
        assert "GATEWAY_API_KEY" in err
        assert (await chat(running.url, "hi", GATEWAY_API_KEY="gw-right"))[:2] == (0, "hi\n")
        assert (await chat(running.url, "--key", "gw-right", "hi", GATEWAY_API_KEY="gw-wrong"))[:2] == (0, "hi\n")


async def test_the_address_is_the_flags_then_the_environments_then_the_homes(gateway: Serving, tmp_path: Path) -> None:
    port = gateway.url.rpartition(":")[2]
    nobody = "http://127.0.0.1:9"
    assert (await chat(None, "hi", GATEWAY_URL=gateway.url, GATEWAY_LISTEN="127.0.0.1:9"))[0] == 0
    assert (await chat(None, "hi", GATEWAY_LISTEN=f"0.0.0.0:{port}", cwd=tmp_path))[0] == 0
    assert (await chat(gateway.url, "hi", GATEWAY_URL=nobody))[0] == 0
    home = tmp_path / "elsewhere"
    home.mkdir()
    (home / "gateway.yaml").write_text(f"version: 1\nserver: {{listen: 127.0.0.1:{port}}}\nproviders: {{echo: {{}}}}\n")
    assert (await chat(None, "hi", cwd=home))[0] == 0
    assert (await chat(None, "hi", GATEWAY_HOME=str(home), cwd=tmp_path.parent))[0] == 0


async def test_a_proxy_for_the_world_outside_is_not_asked(gateway: Serving) -> None:
    assert (await chat(gateway.url, "hi", HTTP_PROXY="http://127.0.0.1:9", http_proxy="http://127.0.0.1:9"))[0] == 0


async def test_a_talk_keeps_its_turns_in_a_session(gateway: Serving) -> None:
    async with terminal(gateway.url) as talk:
        assert re.search(r"echo at \S+; session sess_", await talk.until("> "))
        first = await talk.say("one two three")
        assert "one two three\r\n" in first
        second = await talk.say("four")
        assert tokens(second) > tokens(first)  # the turn before is sent along
        assert "no route takes" in await talk.say("/model nobody", "and now")
        assert "begun anew" in await talk.say("/new")
        assert tokens(await talk.say("/model echo", "four")) < tokens(second)
        talk.write("\x04")
        assert await talk.ended() == 0


async def test_a_talk_without_sessions_keeps_its_turns_itself(tmp_path: Path) -> None:
    (tmp_path / "gateway.yaml").write_text(HOME % ("timeouts", "http://127.0.0.1:9"))
    async with serving(tmp_path) as running, terminal(running.url) as talk:
        assert "turns are kept here" in await talk.until("> ")
        first, second = await talk.say("one two three"), await talk.say("four")
        assert tokens(second) > tokens(first)
        talk.write("/quit\n")
        assert await talk.ended() == 0


def tokens(told: str) -> int:
    found = re.search(r"tokens=(\d+)\+", told)
    assert found, told
    return int(found[1])


class Terminal:
    """A talk in a pseudo-terminal."""

    def __init__(self, pid: int, fd: int) -> None:
        self._pid, self._fd = pid, fd
        self._came = ""
        self._more = asyncio.Event()
        asyncio.get_running_loop().add_reader(fd, self._read)

    def _read(self) -> None:
        try:
            came = os.read(self._fd, 65536)
        except OSError:  # the other end is gone
            came = b""
        if not came:
            asyncio.get_running_loop().remove_reader(self._fd)
        self._came += came.decode("utf-8", "replace")
        self._more.set()

    def write(self, text: str) -> None:
        os.write(self._fd, text.encode())

    async def until(self, mark: str) -> str:
        """Return what came up to `mark`, and take it."""
        async with asyncio.timeout(20):
            while mark not in self._came:
                self._more.clear()
                await self._more.wait()
        before, _, self._came = self._came.partition(mark)
        return before

    async def say(self, *lines: str) -> str:
        """Type the lines one by one and return what the last one brought."""
        came = ""
        for line in lines:
            self.write(line + "\n")
            came = await self.until("> ")
        return came

    async def ended(self) -> int:
        """Return the exit code once it has ended."""
        _, status = await asyncio.to_thread(os.waitpid, self._pid, 0)
        return os.waitstatus_to_exitcode(status)


@asynccontextmanager
async def terminal(url: str) -> AsyncIterator[Terminal]:
    pid, fd = pty.fork()
    if pid == 0:
        os.chdir(ROOT)
        os.execve(sys.executable, [*COMMAND, "--url", url], {**os.environ, "TERM": "dumb"})
    talk = Terminal(pid, fd)
    try:
        yield talk
    finally:
        asyncio.get_running_loop().remove_reader(fd)
        os.close(fd)
