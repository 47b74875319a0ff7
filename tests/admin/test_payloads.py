"""Sixty payloads in every field that a page shows run nothing: no script, no dialog, no request to elsewhere."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Sequence
from decimal import Decimal
from hashlib import sha256
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import Browser

from gateway.ledger.ledger import Row, SavedKey
from gateway.runtime.clock import SystemClock
from gateway.testing import (
    Gate,
    ReceivedRequest,
    RunningGateway,
    ScriptedUpstream,
    reply_json,
    reply_sse,
    running_gateway,
)
from tests.admin.browser import Seen, opened, started
from tests.admin.demo import dashboard
from tests.admin.payloads import PAYLOADS
from tests.admin.test_browser import pages

pytestmark = pytest.mark.asyncio(loop_scope="module")

CONFIG = """
state: "memory:"
ledger: sqlite:var/ledger.db
plugins:
  - request_id
  - auth: {keys: [{name: tester, hash: "%(hash)s"}]}
  - session: {ttl: 1h}
  - circuit_breaker: {failures: 2, open_for: 60s}
# %(comment)s
providers: {up: {dialect: openai_chat, base_url: "%(url)s/v1", api_key: k}, echo: {}}
routes:
  - {name: kept, match: {model: ["kept*"]}, targets: [echo/echo]}
  - {name: all, targets: ["up/*"], retry: {attempts: 1}}
"""


ASKED = {
    "requests": ("q", "principal", "status", "since", "model", "cursor"), "usage": ("by", "span", "model", "since"),
    "keys": ("q", "state"), "sessions": ("principal", "after"), "routes": ("q", "page", "model"),
    "playground": ("model", "route"), "login": ("next",),
}  # fmt: skip


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def chromium() -> AsyncIterator[Browser]:
    async with started() as browser:
        yield browser


KEY = "a-key-of-the-tester"
KNOWN = {"authorization": f"Bearer {KEY}"}
HASH = f"sha256:{sha256(KEY.encode()).hexdigest()}"


def hostile(request: ReceivedRequest) -> Any:
    """Answer with the model's name, which is a payload, as an error's text and as an answer's words by turns."""
    asked = request.json()
    if asked["messages"][0]["content"] == "wait":
        return reply_sse([{"choices": [{"index": 0, "delta": {"content": asked["model"]}}]}, Gate()])
    if len(asked["model"]) % 2:
        return reply_json({"error": {"message": asked["model"], "type": asked["model"], "code": asked["model"]}}, 500)
    return reply_json({"id": "x", "model": asked["model"], "choices": [
        {"index": 0, "message": {"role": "assistant", "content": asked["model"]}, "finish_reason": "stop"}]})  # fmt: skip


def row(number: int, text: str) -> Row:
    """Return a row whose every text is a payload: what a store that somebody else writes to might hold."""
    return Row(
        exchange_id=f"row{number} {text}", ts=SystemClock().time() + 60 - number / 100, request_id=text, principal=text, tags={text: text},
        session=text, route=text, dialect=text, endpoint=text, model_requested=text, target=f"up/{text}", attempts=2,
        status=502, outcome=text, prompt_tokens=1, completion_tokens=1, cost_usd=Decimal(1), error_code=text,
        tries=[{"target": text, "status": 500, "error": text, "why": text, "started_ms": 0.0, "ended_ms": 1.0}],
    )  # fmt: skip


async def send(gateway: RunningGateway, text: str) -> None:
    """Put a payload wherever a client may put one."""
    visible = "".join(each for each in text if 33 <= ord(each) <= 126)[:128]
    headers = {
        "authorization": f"Bearer {KEY}",
        "x-request-id": visible,
        "x-session-id": visible,
        "user-agent": visible,
        "x-team": visible,
    }
    body = {"model": text, "messages": [{"role": "user", "content": text}], "user": text}
    await gateway.post("/v1/chat/completions", body, headers=headers)
    await gateway.post(
        f"/v1/{visible.replace('/', '').replace('?', '').replace('#', '').replace('%', '')}", body, headers=headers
    )
    made = await gateway.post("/v1/sessions", {"context": {text: text}}, headers=KNOWN)
    said = {**body, "model": f"kept{text}", "session_id": made.json()["id"]}
    await gateway.post("/v1/chat/completions", said, headers=KNOWN)


# What no payload may become: an element of the page, or an attribute that runs. `read` is for a page that is only
# fetched and parsed, which costs a hundredth of opening it.
ALIVE = """(root) => [...root.querySelectorAll(
  "main script, main iframe, main base, main style, main object, main embed, main link, main meta, main math, main marquee, x, [srcdoc]")]
  .concat([...root.querySelectorAll("*")].filter((each) => [...each.attributes].some((at) => at.name.startsWith("on")
    || at.name.startsWith("hx-on") || /^\\s*javascript:/i.test(at.value) && ["href", "src", "action"].includes(at.name))))
  .map((each) => each.outerHTML.slice(0, 200))"""
READ = f"""async (path) => {{
  const text = await (await fetch(path, {{headers: {{accept: "text/html"}}}})).text();
  return ({ALIVE})(new DOMParser().parseFromString(text, "text/html"));
}}"""


async def clean(seen: Seen, path: str) -> None:
    """Open a page: nothing ran."""
    await seen.go(path)
    assert not await seen.page.evaluate("window.__ran ?? 0"), path
    assert await seen.page.evaluate(f"({ALIVE})(document)") == [], path


async def read(seen: Seen, path: str) -> None:
    """Fetch a page: nothing of it would run."""
    assert await seen.page.evaluate(READ, path) == [], path


async def test_sixty_payloads_in_every_field_run_nothing(chromium: Browser) -> None:
    assert len(PAYLOADS) >= 60
    async with ScriptedUpstream(hostile) as upstream:
        text = CONFIG % {"hash": HASH, "url": upstream.url, "comment": json.dumps(" ".join(PAYLOADS))}
        async with running_gateway(text, log_level="error") as gateway, dashboard(gateway) as url:
            ledger = gateway.core.snapshot.ledger
            assert ledger is not None
            for number, payload in enumerate(PAYLOADS):
                await send(gateway, payload)
                ledger.record(row(number, payload))
                facts = {"models": [payload], "tags": {payload: payload}}
                await ledger.save_key(SavedKey(name=payload, hash=f"sha256:{number:064x}", created_at=1.0, facts=facts))
            await ledger.flush()
            waiting = [asyncio.create_task(wait(gateway, payload)) for payload in PAYLOADS[:20]]
            try:
                async with opened(chromium, url) as seen:
                    seen.expect("Failed to load resource")
                    for path in await pages(seen):
                        await clean(seen, path)
                    await clean(seen, "/requests?limit=200")
                    links = await seen.page.eval_on_selector_all(
                        "a[data-open]", "all => all.map((each) => each.getAttribute('href'))"
                    )
                    assert len(links) >= 120
                    own = [each for each in links if "/row" in each]
                    assert len(own) == len(PAYLOADS)
                    for link in own:
                        await read(seen, link)
                    for link in own[::20] + links[:2]:
                        await clean(seen, link)
                    for page, names in ASKED.items():
                        for some in batched(PAYLOADS, len(names)):
                            asked = "&".join(f"{name}={quoted(each)}" for name, each in zip(names, some, strict=False))
                            await read(seen, f"/{page}?{asked}")
                    for payload in PAYLOADS[::5]:
                        await read(seen, f"/{quoted(payload)}")
                    await clean(seen, f"/requests?principal={quoted(PAYLOADS[32])}&q={quoted(PAYLOADS[0])}")
                    await clean(seen, "/")
                    await seen.page.wait_for_selector("[data-live-state]:has-text('live')")
                    assert not await seen.page.evaluate("window.__ran ?? 0")
            finally:
                for task in waiting:
                    task.cancel()
                await asyncio.gather(*waiting, return_exceptions=True)


async def wait(gateway: RunningGateway, payload: str) -> None:
    """Be a request in flight, whose model is a payload."""
    body = {"model": payload, "stream": True, "messages": [{"role": "user", "content": "wait"}]}
    with contextlib.suppress(Exception):
        await gateway.post("/v1/chat/completions", body, headers=KNOWN)


def batched(texts: Sequence[str], size: int) -> list[Sequence[str]]:
    return [texts[at : at + size] for at in range(0, len(texts), size)]


def quoted(text: str) -> str:
    return "".join(each if each.isalnum() else "".join(f"%{byte:02X}" for byte in each.encode()) for each in text)


async def test_the_watch_sees_a_script_that_runs(chromium: Browser) -> None:
    """The test above can fail: what it watches for is seen when it happens."""
    async with (
        running_gateway(CONFIG % {"hash": HASH, "url": "http://127.0.0.1:1", "comment": ""}) as gateway,
        dashboard(gateway) as url,
    ):
        async with opened(chromium, url) as seen:
            await seen.go("/requests")
            await seen.page.evaluate(
                "document.body.insertAdjacentHTML('beforeend', '<img src=/favicon.ico onerror=window.__ran=1>')"
            )
            await seen.page.wait_for_function("window.__broken.length > 0")
            with pytest.raises(AssertionError, match="policy: script-src"):
                await seen.check()
            seen.wrong.clear()
            await seen.page.evaluate("window.__broken = []")
            await seen.page.evaluate("alert(1)")
            assert seen.wrong == ["dialog: 1"]
            seen.wrong.clear()
