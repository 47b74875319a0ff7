"""A gateway with its dashboard and something to show: upstreams that are fast, slow and failing, keys, budgets, a week
of rows, and traffic. The screenshots are taken of it, and the browser's tests walk it."""

from __future__ import annotations

import asyncio
import hashlib
import json
import random
import signal
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web

from gateway.admin import application
from gateway.admin.desk import Desk
from gateway.ledger.ledger import Ledger, Row, SavedKey
from gateway.ledger.opened import ledger_at
from gateway.runtime.clock import SystemClock
from gateway.telemetry import Logger
from gateway.testing import RunningGateway, running_gateway
from tests.serving import READY

KEYS = {
    name: f"demo-{name}-not-a-secret" for name in ("search", "support-bot", "nightly-batch", "mobile", "evaluation")
}
WORDS = ("The", "gateway", "answers", "with", "whole", "words,", "one", "after", "another,", "as", "models", "do.")
PRICES = {"config/prices.yaml": '"local-vllm/*": {input: 0.2, output: 0.4}\n'}
CONFIG = """
version: 1
state: "memory:"
ledger: sqlite:var/ledger.db
plugins:
  - request_id
  - access_log: {format: json}
  - metrics
  - auth:
      keys:
%(keys)s
  - rate_limit:
      limits:
        - {per: key, requests: 6000/min}
        - {per: key, tokens: 4M/min}
        - {per: model, concurrency: 50}
  - budget: {limits: [{per: key, cost: $20/day}, {per: "tag:team", cost: $400/month}]}
  - session: {ttl: 1h, max_messages: 200}
  - timeouts: {connect: 2s, first_token: 10s, idle: 20s, total: 2m}
  - circuit_breaker: {failures: 5, open_for: 20s, probes: 1}
providers:
  openai: {base_url: "%(url)s/openai/v1", api_key: demo-upstream-key}
  anthropic: {base_url: "%(url)s/anthropic", api_key: demo-upstream-key}
  local-vllm: {dialect: openai_chat, base_url: "%(url)s/local/v1", api_key: demo-upstream-key}
  echo: {}
routes:
  - name: smart
    match: {model: smart}
    targets: [{target: anthropic/claude-sonnet-4-5, weight: 3}, {target: openai/gpt-5, weight: 1}]
    balance: weighted
    fallbacks: [openai/gpt-5-mini]
    retry: {attempts: 3, on: [connect, timeout, 429, 5xx, broken], backoff: 10ms..50ms}
  - name: fast
    match: {model: fast}
    targets: [local-vllm/llama-3.3-70b-instruct, openai/gpt-5-mini]
    retry: {attempts: 3, on: [connect, timeout, 429, 5xx, broken], backoff: 10ms..50ms}
    plugins: [{timeouts: {first_token: 5s}}]
  - {name: claude, match: {model: "claude-*"}, targets: ["anthropic/*"]}
  - {name: gpt, match: {model: ["gpt-*", "o[0-9]*"]}, targets: ["openai/*"]}
  - {name: echo, match: {model: [echo, "echo/*"]}, targets: [echo/echo]}
"""


class Upstreams:
    """Three providers in one server. `pace` is how slow they are: 0 answers at once, 1 as real ones do."""

    def __init__(self, pace: float) -> None:
        self.pace, self.url = pace, ""
        self.broken = False
        self._random = random.Random(7)

    async def _wait(self, mean_s: float) -> None:
        if self.pace:
            await asyncio.sleep(self._random.gammavariate(9, mean_s / 9) * self.pace)

    async def chat(self, request: web.Request) -> web.StreamResponse:
        """Answer as OpenAI's chat does; `local` fails while it is broken, `openai` refuses a request in forty."""
        asked = await request.json()
        local = request.path.startswith("/local")
        await self._wait(0.04)
        if local and self.broken:
            return web.json_response({"error": {"message": "model is loading", "type": "server_error"}}, status=503)
        if not local and self.pace and self._random.random() < 0.025:
            said = {"error": {"message": "Rate limit reached", "type": "requests", "code": "rate_limit_exceeded"}}
            return web.json_response(said, status=429)
        count = self._random.randint(12, 60)
        usage = {"prompt_tokens": self._random.randint(200, 1800), "completion_tokens": count}
        usage["total_tokens"] = sum(usage.values())
        head = {"id": "chatcmpl-demo", "created": 1763800000, "model": asked["model"]}
        await self._wait(0.12 if local else 0.3)
        if not asked.get("stream"):
            await self._wait(0.4)
            message = {"role": "assistant", "content": " ".join(WORDS)}
            choice = {"index": 0, "message": message, "finish_reason": "stop"}
            return web.json_response({**head, "object": "chat.completion", "choices": [choice], "usage": usage})
        response = web.StreamResponse(headers={"content-type": "text/event-stream"})
        await response.prepare(request)

        async def send(choices: list[Any], **more: Any) -> None:
            event = {**head, "object": "chat.completion.chunk", "choices": choices, **more}
            await response.write(b"data: " + json.dumps(event).encode() + b"\n\n")

        for index in range(count):
            word = WORDS[index % len(WORDS)] + " "
            await send([{"index": 0, "delta": {"content": word}, "finish_reason": None}])
            await self._wait(0.025)
        await send([{"index": 0, "delta": {}, "finish_reason": "stop"}])
        await send([], usage=usage)
        await response.write(b"data: [DONE]\n\n")
        return response

    async def messages(self, request: web.Request) -> web.StreamResponse:
        """Answer as Anthropic's messages do."""
        asked = await request.json()
        await self._wait(0.45)
        count, prompt = self._random.randint(20, 80), self._random.randint(300, 2400)
        message = {
            "id": "msg_demo", "type": "message", "role": "assistant", "model": asked["model"], "content": [],
            "stop_reason": None, "stop_sequence": None, "usage": {"input_tokens": prompt, "output_tokens": 1},
        }  # fmt: skip
        if not asked.get("stream"):
            await self._wait(0.5)
            whole = {"content": [{"type": "text", "text": " ".join(WORDS)}], "stop_reason": "end_turn"}
            usage = {"input_tokens": prompt, "output_tokens": count}
            return web.json_response({**message, **whole, "usage": usage})
        response = web.StreamResponse(headers={"content-type": "text/event-stream"})
        await response.prepare(request)

        async def send(kind: str, **more: Any) -> None:
            event = json.dumps({"type": kind, **more})
            await response.write(f"event: {kind}\ndata: {event}\n\n".encode())

        await send("message_start", message=message)
        await send("content_block_start", index=0, content_block={"type": "text", "text": ""})
        for index in range(count):
            text = WORDS[index % len(WORDS)] + " "
            await send("content_block_delta", index=0, delta={"type": "text_delta", "text": text})
            await self._wait(0.03)
        await send("content_block_stop", index=0)
        delta = {"stop_reason": "end_turn", "stop_sequence": None}
        await send("message_delta", delta=delta, usage={"output_tokens": count})
        await send("message_stop")
        return response


@web.middleware
async def left_alone(request: web.Request, handler: Any) -> web.StreamResponse:
    """A gateway that leaves (a hedge lost, a client gone) is no fault of an upstream's, and no traceback."""
    try:
        answer: web.StreamResponse = await handler(request)
        return answer
    except ConnectionError:
        return web.Response(status=499)


@asynccontextmanager
async def upstreams(pace: float) -> AsyncIterator[Upstreams]:
    made = Upstreams(pace)
    app = web.Application(middlewares=[left_alone])
    app.add_routes(
        [
            web.post("/openai/v1/chat/completions", made.chat),
            web.post("/local/v1/chat/completions", made.chat),
            web.post("/anthropic/v1/messages", made.messages),
        ]
    )
    async with listening(app) as made.url:
        yield made


@asynccontextmanager
async def listening(app: web.Application) -> AsyncIterator[str]:
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


class Demo:
    """What runs. `url` is the dashboard's address, `data` where requests go."""

    def __init__(self, data: str, url: str, upstream: Upstreams, session: aiohttp.ClientSession) -> None:
        self.data, self.url, self.upstream, self.session = data, url, upstream, session

    async def ask(self, model: str, key: str = "search", **more: Any) -> int:
        """Send one chat request, read its answer to the end and return its status."""
        body = {"model": model, "messages": [{"role": "user", "content": "Where does this request go?"}], **more}
        return (await self.post("/v1/chat/completions", key, body))[0]

    async def post(self, path: str, key: str, body: Mapping[str, Any]) -> tuple[int, bytes]:
        headers = {"authorization": f"Bearer {KEYS[key]}"}
        async with self.session.post(self.data + path, json=body, headers=headers) as answer:
            return answer.status, await answer.read()

    async def converse(self, key: str, turns: int) -> None:
        """Hold a conversation that the session plugin keeps."""
        _, made = await self.post("/v1/sessions", key, {"context": {"locale": "en"}})
        for _ in range(turns):
            await self.ask("smart", key, session_id=json.loads(made)["id"])

    async def traffic(self, per_s: float) -> None:
        """Send requests until cancelled; for two minutes in ten the local provider fails."""
        dice = random.Random(5)
        running: set[asyncio.Task[Any]] = set()
        models = ["smart", "fast", "gpt-5-mini", "claude-haiku-4-5", "gpt-5", "unknown-model"]
        turn = 0
        try:
            while True:
                turn += 1
                model = dice.choices(models, [30, 25, 20, 15, 9, 1])[0]
                key = dice.choices(list(KEYS), [40, 25, 20, 10, 5])[0]
                task = asyncio.create_task(self.ask(model, key, stream=dice.random() < 0.8))
                running.add(task)
                task.add_done_callback(running.discard)
                self.upstream.broken = 285 < turn / per_s % 600 < 420
                await asyncio.sleep(dice.expovariate(per_s))
        finally:
            for task in running:
                task.cancel()
            await asyncio.gather(*running, return_exceptions=True)


async def seed(ledger: Ledger, rows: int, days: float) -> None:
    """Record `rows` that ended within the last `days`, more of them at noon, and a key that was made here."""
    now = SystemClock().time()
    dice = random.Random(11)
    for index in range(rows):
        while True:
            ts = now - 400 - dice.random() * days * 86400
            if dice.random() < 0.25 + 0.75 * max(0.0, 1 - abs(ts % 86400 / 3600 - 13) / 8):
                break
        ledger.record(row(dice, index, ts))
        if index % 5000 == 4999:
            await ledger.flush()
    await ledger.flush()
    facts = {"models": ["gpt-*"], "tags": {"team": "product"}, "budget": {"amount_usd": "25", "period": "month"}}
    hashed = "sha256:" + hashlib.sha256(b"demo").hexdigest()
    await ledger.save_key(SavedKey(name="contractor", hash=hashed, created_at=now - 86400 * 9, facts=facts))


PRICED = {
    "anthropic/claude-sonnet-4-5": (3.0, 15.0), "openai/gpt-5": (1.25, 10.0), "openai/gpt-5-mini": (0.25, 2.0),
    "anthropic/claude-haiku-4-5": (1.0, 5.0), "local-vllm/llama-3.3-70b-instruct": (0.2, 0.4),
}  # fmt: skip


def row(dice: random.Random, index: int, ts: float) -> Row:
    """Return a row as it might have been."""
    target = dice.choices(list(PRICED), [35, 15, 25, 15, 10])[0]
    model = target.partition("/")[2]
    route = dice.choices(["smart", "fast", "claude" if "claude" in model else "gpt"], [4, 3, 3])[0]
    prompt, completion = dice.randint(200, 6000), dice.randint(20, 900)
    price = PRICED[target]
    failed = dice.random() < 0.015
    status = dice.choice([429, 502, 504]) if failed else 200
    cost = Decimal(str(round((prompt * price[0] + completion * price[1]) / 1e6, 9)))
    ttft = dice.gammavariate(9, 45)
    principal = dice.choices(list(KEYS), [40, 25, 20, 10, 5])[0]
    return Row(
        exchange_id=f"seed{index:08x}", ts=ts, request_id=f"req_{dice.getrandbits(64):016x}", principal=principal,
        tags={"team": "search" if principal == "search" else "product"}, route=route, dialect="openai_chat",
        endpoint="chat", model_requested=route if route in ("smart", "fast") else model, target=target,
        attempts=2 if dice.random() < 0.03 else 1, status=status, outcome="failed" if failed else "completed",
        stream=dice.random() < 0.8, prompt_tokens=None if failed else prompt, cached_tokens=None if failed else 0,
        completion_tokens=None if failed else completion, cost_usd=None if failed else cost,
        duration_ms=ttft + completion * 8, ttft_ms=None if failed else ttft, overhead_ms=dice.gammavariate(4, 0.06),
        error_code={429: "rate_limit_exceeded", 502: "upstream_error", 504: "timeout"}.get(status),
    )  # fmt: skip


def config(url: str) -> str:
    keys = [
        f'        - {{name: {name}, hash: "sha256:{hashlib.sha256(key.encode()).hexdigest()}", '
        f"tags: {{team: {'search' if name == 'search' else 'product'}}}}}"
        for name, key in KEYS.items()
    ]
    return CONFIG % {"keys": "\n".join(keys), "url": url}


@asynccontextmanager
async def demo(pace: float = 0.0) -> AsyncIterator[Demo]:
    """Run it all in this process until the block ends: for tests."""
    async with (
        upstreams(pace) as upstream,
        running_gateway(config(upstream.url), files=PRICES, log_level="info") as gateway,
        dashboard(gateway) as url,
    ):
        assert gateway.core.snapshot.ledger is not None
        await seed(gateway.core.snapshot.ledger, 300, 3)
        yield Demo(gateway.url, url, upstream, gateway.session)


@asynccontextmanager
async def served(home: Path, rows: int) -> AsyncIterator[Demo]:
    """Serve it as an operator does, in a process of its own: for pictures, whose figures should be a gateway's."""
    async with upstreams(1.0) as upstream, aiohttp.ClientSession() as session:
        for name, text in {"gateway.yaml": config(upstream.url), **PRICES}.items():
            (home / name).parent.mkdir(parents=True, exist_ok=True)
            (home / name).write_text(text)
        ledger = ledger_at("sqlite:var/ledger.db", home, keep_s=None, time=SystemClock().time, log=Logger("error"))
        assert ledger is not None
        await ledger.start()
        await seed(ledger, rows, 30)
        await ledger.close()
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "gateway", "serve", str(home), "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0",
            "--no-watch", stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE, limit=2**20,
        )  # fmt: skip
        assert process.stderr is not None
        try:
            found = None
            while found is None and (line := await process.stderr.readline()):
                found = READY.match(line.decode().rstrip())
            assert found is not None, "the gateway did not start"
            reading = asyncio.create_task(process.stderr.read())
            yield Demo(found[1], found[2], upstream, session)
        finally:
            process.send_signal(signal.SIGINT)
            await process.wait()
        await reading


@asynccontextmanager
async def dashboard(gateway: RunningGateway) -> AsyncIterator[str]:
    """Serve the dashboard of `gateway`; return its address."""
    desk = Desk(gateway.core, gateway.reloader, gateway.reloader._source, SystemClock(), gateway.url)
    async with listening(application(desk)) as url:
        yield url
