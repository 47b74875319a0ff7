"""The dashboard under attack: script payloads wherever a client may put text, in a real browser; other sites' posts."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import aiohttp

from gateway.testing import ReceivedRequest, ScriptedUpstream, reply_json
from tests.admin.browser import opened, started
from tests.admin.payloads import PAYLOADS
from tests.admin.test_doorman import HOSTILE
from tests.soak.row import Row, Size, pick
from tests.soak.running import Gateway, gateway

HOME = """\
version: 1
ledger: sqlite:ledger.db
plugins: [request_id, {auth: {anonymous: when_unconfigured}}, session]
providers: {up: {dialect: openai_chat, base_url: "%s/v1", api_key: k}, echo: {}}
routes:
  - {name: kept, match: {model: "kept*"}, targets: [echo/echo]}
  - {name: all, targets: ["up/*"], retry: {attempts: 1}}
"""
PAGES = ("/", "/requests?limit=200", "/usage", "/routes", "/keys", "/sessions", "/playground", "/configuration")
ASKED = ("/requests?q=", "/requests?model=", "/usage?model=", "/explain?model=", "/playground?model=", "/login?next=")
BAR = "0 of 60 script payloads run in a browser; 0 of 20 cross-site posts accepted"


async def measure(size: Size) -> list[Row]:
    payloads = PAYLOADS[:: pick(size, 12, 1, 1)]
    seen_pages = 0
    ran: list[str] = []
    async with (
        ScriptedUpstream(refused) as up,
        gateway(HOME % up.url, admin=True) as running,
        aiohttp.ClientSession() as http,
    ):
        for payload in payloads:
            await say(http, running, payload)
        async with started() as browser, opened(browser, f"http://127.0.0.1:{running.admin_port}") as seen:
            seen.expect("Failed to load resource")
            rows = await running.admin("GET", "/api/requests?limit=200")
            links = [f"/requests/{row['exchange_id']}" for row in rows[1]["rows"]]
            asked = [f"{ASKED[at % len(ASKED)]}{quoted(payload)}" for at, payload in enumerate(payloads)]
            for path in [*PAGES, *links[:: pick(size, 4, 3, 1)], *asked]:
                await seen.go(path)
                seen_pages += 1
                if await seen.page.evaluate("window.__ran ?? 0"):
                    ran.append(path)
            ran += [each for each in seen.wrong if each.startswith("dialog")]
        accepted = await posts(http, running)
    return [
        Row(
            "dashboard",
            BAR,
            f"{len(ran)} of {len(payloads)} ran, on {seen_pages} pages; {accepted} of {len(HOSTILE)} posts accepted",
            not ran and not accepted,
            {"ran": ran, "payloads": len(payloads), "pages": seen_pages, "accepted": accepted, "posts": len(HOSTILE)},
        )
    ]


def refused(request: ReceivedRequest) -> Any:
    """Answer with an error whose every word is the payload."""
    model = request.json()["model"]
    return reply_json({"error": {"message": model, "type": model, "code": model}}, 500)


async def say(http: aiohttp.ClientSession, running: Gateway, payload: str) -> None:
    """Put a payload wherever a client may put one."""
    url = f"http://127.0.0.1:{running.port}"
    visible = "".join(each for each in payload if "!" <= each <= "~")[:128]
    headers = {"x-request-id": visible, "x-session-id": visible, "user-agent": visible}
    messages = [{"role": "user", "content": payload}]
    async with http.post(f"{url}/v1/sessions", json={"context": {payload: payload}}) as made:
        session = (await made.json())["id"]
    for body in ({"model": payload, "user": payload}, {"model": f"kept{visible}", "session_id": session}):
        with contextlib.suppress(aiohttp.ClientError):
            async with http.post(f"{url}/v1/chat/completions", json={**body, "messages": messages}, headers=headers):
                pass


async def posts(http: aiohttp.ClientSession, running: Gateway) -> int:
    """Return how many posts that a page of another site could send were accepted."""
    body = json.dumps({"target": "echo/echo", "action": "drain"})
    accepted = 0
    for hostile in HOSTILE:
        headers = {"content-type": "application/json", **hostile}
        async with http.post(
            f"http://127.0.0.1:{running.admin_port}/api/targets", data=body, headers=headers
        ) as answer:
            accepted += answer.status not in (403, 415)
    return accepted


def quoted(text: str) -> str:
    return "".join(f"%{byte:02X}" for byte in text.encode())
