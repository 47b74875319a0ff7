"""A plugin's own paths: the same normalised path, the same caller, the same limits as everything else."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from gateway.testing import RunningGateway, running_gateway
from tests.server.raw import chunked, post, raw_client

OWNER = '''
    """Serves paths of its own."""
    from gateway.plugin import Plugin, web

    class Owner(Plugin):
        def http_routes(self):
            return [
                web.post("/mine/echo", self.echo), web.get("/mine/{name}", self.named), web.get("/api/mine", self.refuse),
                web.delete("/mine/{name}", self.gone), web.get("/mine/broken/now", self.broken),
            ]

        async def echo(self, request):
            return web.json_response({"got": await request.json(), "query": request.query_string})

        async def named(self, request):
            return web.json_response({"name": request.match_info["name"]})

        async def gone(self, request):
            return web.Response(status=204)

        async def refuse(self, request):
            raise web.HTTPNotFound(text="no such thing")

        async def broken(self, request):
            raise RuntimeError("broken")
'''
KEEPER = '''
    """Lets in who has the word."""
    from gateway.plugin import Plugin, Principal, Unauthenticated

    class Keeper(Plugin):
        async def identify(self, request):
            if request.headers.get("x-word") != "please":
                raise Unauthenticated("say the word")
            return Principal("guest")
'''
CONFIG = """
    server: {max_body: 1KiB, timeouts: {body: 200ms}}
    plugins: [security_headers, keeper, owner]
    providers: {echo: {}}
    routes: [{name: all, match: {model: m}, targets: [echo/echo]}]
"""
WORD = {"x-word": "please"}


@asynccontextmanager
async def owning() -> AsyncIterator[RunningGateway]:
    async with running_gateway(CONFIG, plugins={"owner": OWNER, "keeper": KEEPER}) as gateway:
        yield gateway


async def test_a_plugins_path_gets_body_query_and_names() -> None:
    async with owning() as gateway:
        answer = await gateway.post("/mine/echo?a=b", {"x": 1}, headers=WORD)
        assert answer.status == 200 and answer.json() == {"got": {"x": 1}, "query": "a=b"}
        assert answer.headers["x-content-type-options"] == "nosniff" and answer.headers["x-request-id"]
        assert (await gateway.get("/mine/some%20thing", WORD)).json() == {"name": "some thing"}
        assert (await gateway.get("/mine/thing/", WORD)).json() == {"name": "thing"}
        assert (await gateway.request("HEAD", "/mine/thing", headers=WORD)).status == 200
        gone = await gateway.request("DELETE", "/mine/thing", headers=WORD)
        assert gone.status == 204 and gone.body == b""


@pytest.mark.parametrize(("method", "path"), [("GET", "/mine/x"), ("PUT", "/mine/x"), ("GET", "/nothing"), ("POST", "/mine/echo")])  # fmt: skip
async def test_who_is_not_known_is_401_before_404_and_405(method: str, path: str) -> None:
    async with owning() as gateway:
        answer = await gateway.request(method, path)
        assert answer.status == 401 and answer.json()["error"]["code"] == "invalid_api_key"


async def test_what_a_plugins_path_refuses_is_told_in_the_callers_dialect() -> None:
    async with owning() as gateway:
        known = await gateway.request("PUT", "/mine/x", headers=WORD)
        assert known.status == 405 and known.headers["allow"] == "DELETE,GET,HEAD"
        assert known.json()["error"]["code"] == "method_not_allowed"
        refused = await gateway.get("/api/mine", WORD)
        assert refused.status == 404 and refused.json() == {"error": "no such thing"}
        broken = await gateway.get("/mine/broken/now", WORD)
        assert broken.status == 500 and broken.json()["error"]["code"] == "internal_error"


@pytest.mark.parametrize("path", ["/mine/../mine/x", "/mine//x", "/mine/%2e%2e", "/mine%2fx", "/mine/a;b", "/mine\\x", "/MINE/x"])  # fmt: skip
async def test_a_plugins_path_cannot_be_spelt_another_way(path: str) -> None:
    async with owning() as gateway, raw_client(gateway) as client:
        await client.send(post(path, b"", "x-word: please", method="GET"))
        answer = await client.answer()
        assert answer is not None and answer.status == 404


async def test_a_plugins_path_has_the_limits_of_every_other() -> None:
    async with owning() as gateway:
        for data, status in (
            (post("/mine/echo", b" " * 1025, "x-word: please"), 413),
            (
                post("/mine/echo", chunked(b" " * 1025), "x-word: please", "Transfer-Encoding: chunked", length=False),
                413,
            ),
            (post("/mine/echo", b"{", "x-word: please", "Content-Length: 9", length=False), 408),
            (post("/mine/echo", b"junk", "x-word: please", "Content-Encoding: gzip"), 400),
        ):
            async with raw_client(gateway) as client:
                await client.send(data)
                answer = await client.answer()
                assert answer is not None and answer.status == status and answer.json()["error"]["message"]
