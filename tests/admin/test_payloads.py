"""Sixty payloads in every field that a page shows run nothing: no script, no dialog, no request to elsewhere."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
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
        exchange_id=f"row{number} {text}", ts=SystemClock().time() - number, request_id=text, principal=text, tags={text: text},
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


async def clean(seen: Seen, path: str) -> None:
    await seen.go(path)
    assert not await seen.page.evaluate("window.__ran ?? 0"), path
    inside = await seen.page.evaluate(
        "[...document.querySelectorAll('main script, main iframe, main base, main style, main object, main embed, [onerror], [onload], [onfocus]')].map((each) => each.outerHTML)"
    )
    assert inside == [], path


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
                    for link in [each for each in links if "row" in each][::6] + links[:6]:
                        await clean(seen, link)
                    for payload in PAYLOADS[::15]:
                        await clean(
                            seen,
                            "/requests?"
                            + "&".join(
                                f"{name}={quoted(payload)}"
                                for name in ("q", "principal", "status", "since", "model", "cursor")
                            ),
                        )
                        for page in ("usage", "keys", "sessions", "routes", "playground", "configuration"):
                            await clean(
                                seen,
                                f"/{page}?"
                                + "&".join(
                                    f"{name}={quoted(payload)}" for name in ("q", "model", "by", "since", "principal")
                                ),
                            )
                        await clean(seen, f"/{quoted(payload)}")
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
