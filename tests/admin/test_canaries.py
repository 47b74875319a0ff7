"""No secret is in anything that the dashboard says: pages, JSON, errors, headers, events, its log."""

from __future__ import annotations

import hashlib

import aiohttp

from gateway.admin import application
from gateway.admin.desk import Desk
from gateway.runtime.clock import SystemClock
from gateway.testing import ScriptedUpstream, reply_json
from tests.admin.desks import Dashboard, dashboard

TOKEN = "canary-admin-token-6f1d"
PROVIDER, JWT, KEY, HEADER, COLLECTOR, QUERY = (
    "canary-provider-key-77aa",
    "canary-jwt-secret-of-32-characters-00",
    "canary-key-31c9",
    "canary-header-9e",
    "canary-collector-11d2",
    "canary-query-5b",
)
HASH = hashlib.sha256(KEY.encode()).hexdigest()
SECRETS = (TOKEN, PROVIDER, JWT, KEY, HASH, HEADER, COLLECTOR, QUERY)
CONFIG = f"""
    admin: {{token: {TOKEN}}}
    ledger: sqlite:ledger.db
    plugins:
      - auth: {{keys: [{{name: search, hash: "sha256:{HASH}", tags: {{team: a}}}}], jwt: {{secret: {JWT}}}}}
      - rate_limit: {{limits: [{{per: key, requests: 60/min}}]}}
      - budget: {{limits: [{{per: key, cost: $10/day}}]}}
      - session
      - tracing: {{endpoint: "http://127.0.0.1:9", headers: {{authorization: "Bearer {COLLECTOR}", x-own: {COLLECTOR}}}}}
      - tools: {{tools: [{{name: look, parameters: {{type: object}}, http: {{url: "http://127.0.0.1:9/?key={QUERY}"}}}}]}}
      - circuit_breaker: {{failures: 1}}
    providers:
      up: {{dialect: openai, base_url: "URL/v1", api_key: {PROVIDER}, headers: {{x-secret: {HEADER}}}, free: true}}
    routes: [{{name: search, match: {{model: m}}, targets: [up/m], retry: {{attempts: 1}}}}]
"""
NAMES = {"id": "ID", "name": "search", "file": "gateway.yaml"}


async def paths(board: Dashboard) -> list[str]:
    """Return every path that may be read, names filled in; what a room adds is asked for too."""
    gateway = board.gateway
    desk = Desk(gateway.core, gateway.reloader, gateway.reloader._source, SystemClock(), gateway.url)
    found = set()
    for route in application(desk).router.routes():
        if route.method == "GET" and route.resource is not None and "/static/" not in route.resource.canonical:
            path = route.resource.canonical
            for name, value in NAMES.items():
                path = path.replace("{" + name + "}", value)
            found.add(path)
    return sorted(found)


async def test_no_answer_and_no_log_line_holds_a_secret() -> None:
    broken = reply_json({"error": {"message": f"the key {PROVIDER} is wrong"}}, status=500)
    async with ScriptedUpstream(broken) as up, dashboard(CONFIG.replace("URL", up.url)) as board:
        body = {"model": "m", "messages": [{"role": "user", "content": "hello"}]}
        for _ in range(2):
            answer = await board.gateway.post("/v1/chat/completions", body, headers={"authorization": f"Bearer {KEY}"})
            assert answer.status >= 500
        await board.gateway.settled()
        ledger = board.gateway.core.snapshot.ledger
        assert ledger is not None
        await ledger.flush()
        row_id = answer.headers["x-request-id"]
        bearer = {"authorization": f"Bearer {TOKEN}"}
        login = {"token": TOKEN, "next": "/"}
        async with board.session.post(board.url + "/login", data=login, allow_redirects=False) as answered:
            assert answered.status == 303
            assert_clean(str(answered.headers) + await answered.text(), "/login")
            cookie = answered.headers["set-cookie"].partition(";")[0]
        read = 0
        for path in await paths(board):
            path = path.replace("ID", row_id) + ("?model=m" if path.endswith("explain") else "")
            for headers in ({"accept": "text/html", "cookie": cookie}, bearer):
                async with board.session.get(board.url + path, headers=headers) as got:
                    if got.content_type == "text/event-stream":
                        text = (await got.content.readuntil(b"}\n\n")).decode()
                        got.close()
                    else:
                        text = await got.text()
                    assert_clean(str(got.headers) + text, path)
                    assert got.status < 500, (path, got.status)
                    read += got.status == 200
        assert read > 30
        for path, sent in (("/api/targets", {"target": "up/m", "action": "drain"}), ("/api/validate", {}), ("/api/reload", {}),
                           ("/api/keys", {"name": "made"})):  # fmt: skip
            async with board.session.post(board.url + path, json=sent, headers=bearer) as got:
                assert_clean(await got.text(), path)
        board.gateway.configure(CONFIG.replace("URL", up.url).replace("targets: [up/m]", f"targets: [{PROVIDER}/m]"))
        async with board.session.post(board.url + "/api/reload", json={}, headers=bearer) as got:
            assert got.status == 400
        async with board.session.get(board.url + "/api/status", headers={"authorization": f"Bearer {TOKEN}x"}) as got:
            assert_clean(str(got.headers) + await got.text(), "a wrong token")
        log = str([line for line in board.gateway.log if line["event"] != "reload_failed"])
        assert_clean(log, "the log")


def assert_clean(text: str, where: str) -> None:
    found = [secret for secret in SECRETS if secret in text]
    assert not found, (where, found)


async def test_what_is_shown_of_a_hash_is_its_beginning() -> None:
    async with dashboard(CONFIG.replace("URL", "http://127.0.0.1:1").replace(f"token: {TOKEN}", "")) as board:
        async with aiohttp.ClientSession() as session, session.get(board.url + "/api/keys/search") as got:
            assert HASH[:8] in await got.text() and HASH[:9] not in await got.text()
