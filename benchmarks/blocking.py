"""How long a body of 1 MiB holds the event loop, for every pair of dialects.

    python -m benchmarks.blocking [--repeats N]     all pairs, a line for each way of relaying
    python -m benchmarks.blocking gateway           the measured process, started by the first

The gateway runs as ever, and beside it on the same loop a timer that is due every millisecond and notes how late it
comes. Client and upstream are another process. Each case is repeated, and the least of the repeats' worst delays
counts: a stall of the gateway's own comes every time, one that the machine's other work causes does not.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gc
import http.client
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import uvloop

from gateway.chat import ChatReply, ChatRequest, Message, Text, Tool, ToolCall, ToolResult, Usage
from gateway.dialects.protocol import AnswerContext, Target
from gateway.dialects.table import DIALECTS
from gateway.testing import running_gateway

BAR_MS = 20.0
SIZE_BYTES = 1 << 20
TICK_S = 0.001
HOST = "127.0.0.1"
PATHS = {
    "openai_chat": "/v1/chat/completions",
    "openai_responses": "/v1/responses",
    "anthropic": "/v1/messages",
    "ollama": "/api/chat",
}
CODE = "def f(x):\n\treturn \"größe\" + 'c'  # 100 %\n"
CONFIG = """
version: 1
state: "memory:"
ledger: none
plugins: [request_id, access_log, security_headers, cors, timeouts]
providers:
  openai_chat: {{dialect: openai_chat, base_url: "{url}/v1", api_key: sk-mock}}
  openai_responses: {{dialect: openai_responses, base_url: "{url}/v1", api_key: sk-mock}}
  anthropic: {{dialect: anthropic, base_url: "{url}", api_key: sk-mock}}
  ollama: {{dialect: ollama, base_url: "{url}"}}
routes:
  - {{name: openai_chat, match: {{model: openai_chat}}, targets: [openai_chat/mock]}}
  - {{name: openai_responses, match: {{model: openai_responses}}, targets: [openai_responses/mock]}}
  - {{name: anthropic, match: {{model: anthropic}}, targets: [anthropic/mock]}}
  - {{name: ollama, match: {{model: ollama}}, targets: [ollama/mock]}}
"""


@dataclass(frozen=True, slots=True)
class Held:
    """The longest that one case held the loop, in milliseconds."""

    client: str
    upstream: str
    shape: str
    ms: float


def verdicts(cases: list[Held]) -> list[str]:
    """Return a line for the verbatim relay and one for translation: the worst case, and whether the bar holds."""
    lines = []
    for said, chosen in (
        ("verbatim", [case for case in cases if case.client == case.upstream]),
        ("translated", [case for case in cases if case.client != case.upstream]),
    ):
        worst = max(chosen, key=lambda case: case.ms)
        lines.append(
            f"body of 1 MiB, {said}: holds the loop {worst.ms:.1f} ms at most ({worst.shape}, {worst.client} to "
            f"{worst.upstream}); bar {BAR_MS:g} ms: {'holds' if worst.ms <= BAR_MS else 'MISSED'}"
        )
    return lines


# --- what is sent ----------------------------------------------------------------------------------


def requests() -> dict[str, tuple[Message, ...]]:
    """Return conversations of about 1 MiB: one long text, a coding agent's many calls, thousands of tiny turns."""
    calls: list[Message] = [Message(role="user", parts=(Text(text="Go."),))]
    for number in range(SIZE_BYTES // 2400):
        call = ToolCall(id=f"call_{number}", name="read", arguments=json.dumps({"path": CODE, "n": number}))
        result = ToolResult(call_id=call.id, parts=(Text(text=CODE * 40),))
        calls += [Message(role="assistant", parts=(call,)), Message(role="tool", parts=(result,))]
    turns = (Message(role="user", parts=(Text(text="a"),)), Message(role="assistant", parts=(Text(text="b"),)))
    last = Message(role="user", parts=(Text(text="c"),))
    return {
        "one text": (Message(role="user", parts=(Text(text=CODE * (SIZE_BYTES // 52)),)),),
        "tool calls": tuple(calls),
        "tiny turns": (*turns * (SIZE_BYTES // 75), last),
    }


def request_body(client: str, upstream: str, messages: tuple[Message, ...]) -> bytes:
    """Return a request of dialect `client` for the route to `upstream`."""
    tool = Tool(name="read", parameters='{"type":"object","properties":{"path":{"type":"string"}}}')
    chat = ChatRequest(dialect="none", model=upstream, messages=messages, tools=(tool,), max_tokens=1000)
    return DIALECTS[client].render_request(chat, Target(model=upstream)).body


def answer_body(dialect: str) -> bytes:
    """Return a plain answer of 1 MiB."""
    usage = Usage(prompt_tokens=1, completion_tokens=2)
    reply = ChatReply(id="a", model="mock", created_s=1, parts=(Text(text=CODE * (SIZE_BYTES // 52)),), usage=usage)
    return DIALECTS[dialect].render_reply(reply, AnswerContext(id="0" * 32, model="mock", now_s=1.0))


@contextlib.contextmanager
def mock() -> Iterator[str]:
    """Yield the address of an upstream that speaks all four."""
    answers = {PATHS[dialect]: answer_body(dialect) for dialect in PATHS}

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["content-length"]))
            body = answers[self.path]
            self.send_response(200)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer((HOST, 0), Handler) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://{HOST}:{server.server_address[1]}"
        server.shutdown()


# --- the two processes -----------------------------------------------------------------------------


def measure(repeats: int) -> list[Held]:
    """Return every case's delay. Raises: RuntimeError when the gateway answers anything but 200."""
    shapes = requests()
    with mock() as url:
        command = [sys.executable, "-m", "benchmarks.blocking", "gateway"]
        with subprocess.Popen(
            command, env={**os.environ, "BENCH_UPSTREAM": url}, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as gateway:
            assert gateway.stdin is not None and gateway.stdout is not None
            port = int(gateway.stdout.readline())

            def worst_ms() -> float:
                assert gateway.stdin is not None and gateway.stdout is not None
                gateway.stdin.write("\n")
                gateway.stdin.flush()
                return float(gateway.stdout.readline())

            cases = []
            for shape, messages in shapes.items():
                for client, path in PATHS.items():
                    for upstream in PATHS:
                        body = request_body(client, upstream, messages)
                        seen = []
                        for _ in range(repeats):
                            worst_ms()
                            ask(port, path, body)
                            seen.append(worst_ms())
                        cases.append(Held(client, upstream, shape, min(seen)))
            gateway.stdin.close()
    return cases


def ask(port: int, path: str, body: bytes) -> None:
    connection = http.client.HTTPConnection(HOST, port, timeout=60)
    with contextlib.closing(connection):
        connection.request("POST", path, body, {"content-type": "application/json"})
        answer = connection.getresponse()
        got = answer.read()
        if answer.status != 200 or len(got) < SIZE_BYTES // 2:
            raise RuntimeError(f"{path}: status {answer.status}, {len(got)} bytes: {got[:300]!r}")


async def serve() -> None:
    """Run the gateway; for each line read, print the longest delay of the timer since the last, in milliseconds."""
    loop = asyncio.get_running_loop()
    worst_s = 0.0

    def tick(due: float) -> None:
        nonlocal worst_s
        now = time.monotonic()  # the loop's own clock stands still while it is held
        worst_s = max(worst_s, now - due)
        loop.call_later(TICK_S, tick, now + TICK_S)

    async with running_gateway(CONFIG.format(url=os.environ["BENCH_UPSTREAM"]), log_level="info") as gateway:
        gc.collect()
        gc.freeze()
        print(gateway.url.rpartition(":")[2], flush=True)
        tick(time.monotonic())
        while await asyncio.to_thread(sys.stdin.readline):
            print(worst_s * 1000, flush=True)
            worst_s = 0.0


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.blocking", description="How long 1 MiB holds the loop.")
    parser.add_argument("role", nargs="?", choices=["gateway"])
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    if options.role == "gateway":
        uvloop.run(serve())
        return
    cases = measure(options.repeats)
    for case in cases:
        print(f"{case.ms:7.1f} ms  {case.shape:10} {case.client} to {case.upstream}")
    print(*verdicts(cases), sep="\n")


if __name__ == "__main__":
    main()
