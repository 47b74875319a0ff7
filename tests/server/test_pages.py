"""What the data listener answers itself: health, lists, and what it is."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from html.parser import HTMLParser

import anthropic
import ollama
import openai
import pytest

from gateway.testing import (  # fmt: skip
    ManualClock,
    ReceivedRequest,
    RunningGateway,
    ScriptedUpstream,
    reply_bytes,
    reply_json,
    running_gateway,
)
from tests.server.raw import post, raw_client

VERSION = {"anthropic-version": "2023-06-01"}
LISTED = ["gpt-5", "gpt-5-mini", "o3", "text-embedding-3-small"]


def config(url: str, more: str = "") -> str:
    return f"""
        plugins: [security_headers]
        providers:
          up: {{dialect: openai, base_url: "{url}/v1", api_key: key-one}}
          claude: {{dialect: anthropic, base_url: "{url}/a", api_key: key-two}}
          away: {{dialect: openai, base_url: "{url}/away/v1", api_key: "${{NOT_SET:-}}"}}
        routes:
          - {{name: smart, match: {{model: [smart, org/model, "tagged:7b"]}}, targets: [up/gpt-5]}}
          - {{name: away, match: {{model: away}}, targets: ["away/*"]}}
          - {{name: gpt, match: {{model: ["gpt-*", "o[0-9]*"]}}, targets: ["up/*"]}}
          - {{name: fixed, match: {{model: "fixed-*"}}, targets: [up/gpt-5]}}
          - {{name: claude, match: {{model: "claude-*"}}, targets: ["claude/*"]}}
          - {{name: key, match: {{model: "secret", header: {{x-team: a}}}}, targets: [up/gpt-5]}}
          {more}
    """


def lists(request: ReceivedRequest):  # type: ignore[no-untyped-def]
    if request.path.startswith("/a/v1/models"):
        return reply_json({"data": [{"id": f"claude-{n}", "type": "model"} for n in range(50)], "has_more": False})
    return reply_json({"object": "list", "data": [{"id": name} for name in LISTED]})


@asynccontextmanager
async def serving(clock: ManualClock | None = None) -> AsyncIterator[tuple[RunningGateway, ScriptedUpstream]]:
    async with ScriptedUpstream(lists) as upstream, running_gateway(config(upstream.url), clock=clock) as gateway:
        yield gateway, upstream


async def test_health_and_readiness_have_their_forms() -> None:
    async with serving() as (gateway, _):
        health = await gateway.get("/health")
        assert health.status == 200 and health.json()["status"] == "healthy" and health.json()["version"]
        for path in ("/ready", "/health/ready", "/ready/"):
            ready = await gateway.get(path)
            assert (ready.status, ready.json()["status"]) == (200, "ready")
            assert set(ready.json()["checks"]) == {"state", "ledger", "routes", "breakers", "config"}
        for path in ("/", "/api/hello", "/health", "/ready", "/v1/models"):
            head = await gateway.request("HEAD", path)
            assert head.status == 200 and head.body == b""
        assert (await gateway.get("/")).status == 200


async def test_no_enabled_target_is_not_ready(upstream: ScriptedUpstream) -> None:
    text = """
        providers: {up: {dialect: openai, base_url: "http://127.0.0.1:9/v1", api_key: "${NOT_SET:-}"}}
        routes: [{name: all, match: {model: m}, targets: ["up/*"]}]
    """
    async with running_gateway(text) as gateway:
        ready = await gateway.get("/ready")
        assert (
            ready.status == 503 and ready.json()["status"] == "not_ready" and ready.json()["checks"]["routes"] != "ok"
        )
        assert (await gateway.get("/health")).status == 200
        answer = await gateway.post("/v1/chat/completions", {"model": "m", "messages": []})
        assert answer.status == 503 and answer.json()["error"]["code"] == "provider_disabled"


async def test_openais_sdk_lists_models_and_finds_odd_ids() -> None:
    async with serving() as (gateway, _):
        client = openai.AsyncOpenAI(base_url=gateway.url + "/v1", api_key="any", max_retries=0)
        names = [model.id async for model in client.models.list()]
        assert names[:6] == ["smart", "org/model", "tagged:7b", "secret", "gpt-5", "gpt-5-mini"]
        assert "o3" in names and "claude-49" in names
        assert "text-embedding-3-small" not in names and "away" not in names and "fixed-x" not in names
        for name in ("smart", "org/model", "tagged:7b", "gpt-5", "gpt-unlisted", "fixed-x"):
            assert (await client.models.retrieve(name)).id == name
        for name in ("nobody", "away", "org/other"):
            with pytest.raises(openai.NotFoundError) as refused:
                await client.models.retrieve(name)
            assert refused.value.code == "model_not_found"
        await client.close()


@pytest.mark.parametrize("path", ["/v1/models/org/model", "/v1/models/org%2Fmodel", "/v1/models/org%2fmodel", "/models/org/model"])  # fmt: skip
async def test_an_id_with_a_slash_is_found_written_either_way(path: str) -> None:
    async with serving() as (gateway, _), raw_client(gateway) as client:
        await client.send(post(path, b"", method="GET"))
        answer = await client.answer()
        assert answer is not None and (answer.status, answer.json()["id"]) == (200, "org/model")


async def test_a_route_by_header_shows_its_models_to_those_it_takes() -> None:
    async with serving() as (gateway, _):
        assert (await gateway.get("/v1/models/secret")).status == 200  # listed: its name is literal
        assert (await gateway.get("/v1/models/secret", {"x-team": "a"})).status == 200


async def test_anthropics_sdk_pages_through_the_models() -> None:
    async with serving() as (gateway, _):
        client = anthropic.AsyncAnthropic(base_url=gateway.url, api_key="any", max_retries=0)
        names = [model.id async for model in client.models.list(limit=7)]
        first = await client.models.list(limit=7)
        assert names[:3] == ["smart", "org/model", "tagged:7b"] and len(names) == len(set(names)) == 57
        assert first.has_more and first.first_id == "smart" and first.last_id == names[6] and len(first.data) == 7
        back = await client.models.list(limit=2, before_id=names[6])
        assert [model.id for model in back.data] == names[4:6] and back.has_more
        assert (await client.models.retrieve("org/model")).id == "org/model"
        with pytest.raises(anthropic.NotFoundError) as refused:
            await client.models.retrieve("nobody")
        assert refused.value.body["error"]["type"] == "not_found_error"  # type: ignore[index]
        await client.close()


async def test_ollamas_package_lists_tags_and_running_models() -> None:
    async with serving() as (gateway, _):
        client = ollama.AsyncClient(host=gateway.url)
        names = [model.model for model in (await client.list()).models]
        assert names[:2] == ["smart", "org/model"] and len(names) == 57
        assert (await client.ps()).models == []
        assert re.match(r"\d+\.\d+", (await gateway.get("/api/version")).json()["version"])


async def test_a_providers_own_list_is_asked_for_once_in_five_minutes() -> None:
    clock = ManualClock()
    async with serving(clock) as (gateway, upstream):
        await asyncio.gather(*(gateway.get("/v1/models") for _ in range(3)))
        first = len(upstream.requests)
        assert first == 2  # one a provider, however many ask
        by_path = {request.path: request for request in upstream.requests}
        assert by_path["/v1/models"].header("authorization") == "Bearer key-one"
        assert by_path["/a/v1/models?limit=1000"].header("x-api-key") == "key-two"
        clock.advance(299)
        await gateway.get("/v1/models")
        assert len(upstream.requests) == first
        clock.advance(2)
        upstream.script = reply_bytes(b"<html>", 500)
        names = [model["id"] for model in (await gateway.get("/v1/models")).json()["data"]]
        assert (
            len(upstream.requests) == first + 2 and "gpt-5-mini" in names
        )  # the old list, while the new one cannot be had
        assert gateway.events("model_list_failed")


@pytest.mark.parametrize("answer", [b'{"data": 5}', b"[]", b"", b"\xff", b'{"data":[{"id":"gpt-\\r\\nx"},{"id":7}]}'])
async def test_an_odd_list_is_left_out(answer: bytes) -> None:
    async with serving() as (gateway, upstream):
        upstream.script = reply_bytes(answer)
        listed = await gateway.get("/v1/models")
        assert listed.status == 200
        assert [model["id"] for model in listed.json()["data"]] == ["smart", "org/model", "tagged:7b", "secret"]


async def test_providers_are_named_without_address_or_key() -> None:
    async with serving() as (gateway, _):
        listed = (await gateway.get("/v1/providers")).json()["data"]
        by_name = {each["name"]: each for each in listed}
        assert by_name["up"] == {"name": "up", "dialect": "openai", "enabled": True, "breaker": "closed"}
        assert by_name["away"]["enabled"] is False
        assert "127.0.0.1" not in str(listed) and "key-one" not in str(listed)


async def test_a_websocket_for_responses_is_426_at_once() -> None:
    async with serving() as (gateway, _), raw_client(gateway) as client:
        for path in ("/v1/responses", "/responses"):
            await client.send(post(path, b"", "Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==", method="GET"))  # fmt: skip
            answer = await client.answer()
            assert answer is not None and answer.status == 426 and answer.json()["error"]["message"]


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [
        ("GET", "/v1/chat/completions", "POST"),
        ("PUT", "/v1/messages/batches", "DELETE, GET, POST"),
        ("POST", "/v1/models", "GET, HEAD"),
        ("DELETE", "/v1/models/org/model", "GET, HEAD"),
        ("POST", "/health", "GET, HEAD"),
        ("GET", "/api/chat", "POST"),
        ("PATCH", "/v1/responses", "GET, HEAD, POST"),
    ],
)
async def test_a_known_path_says_which_methods_it_takes(method: str, path: str, allow: str) -> None:
    async with serving() as (gateway, _):
        answer = await gateway.request(method, path)
        assert (answer.status, answer.headers["allow"]) == (405, allow)


@pytest.mark.parametrize(("path", "shape"), [("/nothing", "openai"), ("/v1/messages/nothing", "openai"), ("/api/nothing", "ollama")])  # fmt: skip
async def test_an_unknown_path_is_404_in_its_dialect(path: str, shape: str) -> None:
    async with serving() as (gateway, _):
        answer = await gateway.get(path)
        assert answer.status == 404
        assert (
            isinstance(answer.json()["error"], str)
            if shape == "ollama"
            else answer.json()["error"]["code"] == "not_found"
        )
        anthropic_answer = await gateway.get("/nothing", VERSION)
        assert anthropic_answer.json()["error"]["type"] == "not_found_error"


async def test_the_openapi_document_is_whole_and_its_paths_are_served() -> None:
    async with serving() as (gateway, _):
        document = (await gateway.get("/openapi.json")).json()
        assert document["openapi"].startswith("3.1") and document["info"]["title"] and document["info"]["version"]
        operations = [
            (path, method, operation) for path, item in document["paths"].items() for method, operation in item.items()
        ]
        ids = [operation["operationId"] for _, _, operation in operations]
        assert len(ids) == len(set(ids)) and all(re.fullmatch(r"[A-Za-z0-9_]+", each) for each in ids)
        for path, method, operation in operations:
            assert path.startswith("/") and method in {"get", "post", "put", "delete", "head", "patch"}
            assert operation["summary"] and all(
                "description" in response for response in operation["responses"].values()
            )
            named = set(re.findall(r"\{(\w+)\}", path))
            assert named == {each["name"] for each in operation.get("parameters", ()) if each["in"] == "path"}
            answer = await gateway.request(method.upper(), path.replace("{id}", "smart"), headers={"content-type": "application/json"})  # fmt: skip
            assert answer.status != 404 or answer.json()["error"].get("code") != "not_found" or path.endswith("batches")
            assert answer.status not in (405, 500), (path, method)
        for scheme in document["security"]:
            assert set(scheme) <= set(document["components"]["securitySchemes"])


async def test_the_docs_page_asks_nothing_of_anybody_else() -> None:
    class Links(HTMLParser):
        found: list[str] = []  # noqa: RUF012

        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            assert tag not in ("script", "iframe", "object", "img", "link")
            self.found += [value or "" for name, value in attrs if name in ("src", "href", "action")]

    async with serving() as (gateway, _):
        page = await gateway.get("/docs")
        assert page.headers["content-type"] == "text/html; charset=utf-8"
        assert "default-src 'none'" in page.headers["content-security-policy"]
        links = Links()
        links.feed(page.body.decode())
        assert links.found == ["/openapi.json"] and b"url(" not in page.body and b"@import" not in page.body
        assert b"/v1/chat/completions" in page.body


async def test_paths_are_matched_with_and_without_a_trailing_slash() -> None:
    async with serving() as (gateway, _):
        for path in ("/health/", "/v1/models/", "/v1/providers/", "/docs/", "/openapi.json/", "/api/tags/"):
            assert (await gateway.get(path)).status == 200, path
