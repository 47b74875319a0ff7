"""What the data listener answers itself: health, lists, and what this server is."""

from __future__ import annotations

import html
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from gateway import __version__
from gateway.errors import ModelNotFound, StateLost, UpgradeRequired
from gateway.exchange import Exchange, Reply
from gateway.runtime.gateway import Gateway
from gateway.server.models import Models
from gateway.server.openapi import document

Answer = Callable[[Exchange], Awaitable[Reply]]
JSON_HEADERS = {"content-type": "application/json"}
_ONE_MODEL = ("/v1/models/", "/models/")


@dataclass(frozen=True, slots=True)
class Page:
    """`public` pages need no key."""

    answer: Answer
    public: bool


def json_reply(value: Any, status: int = 200) -> Reply:
    """Return `value` as a JSON answer."""
    return Reply(status, JSON_HEADERS, msgspec.json.encode(value))


class Pages:
    """The table of pages, by method and path; HEAD is answered wherever GET is."""

    def __init__(self, gateway: Gateway, models: Models) -> None:
        self._gateway, self._models = gateway, models
        table: Mapping[tuple[str, str], Page] = {
            ("GET", "/"): Page(self._root, True),
            ("GET", "/health"): Page(self._health, True),
            ("GET", "/health/ready"): Page(self._ready, True),
            ("GET", "/ready"): Page(self._ready, True),
            ("GET", "/api/hello"): Page(self._hello, True),
            ("GET", "/openapi.json"): Page(self._openapi, True),
            ("GET", "/docs"): Page(self._docs, True),
            ("GET", "/v1/models"): Page(self._list_models, False),
            ("GET", "/models"): Page(self._list_models, False),
            ("GET", "/v1/providers"): Page(self._providers, False),
            ("GET", "/v1/responses"): Page(self._websocket, False),
            ("GET", "/responses"): Page(self._websocket, False),
            ("GET", "/api/tags"): Page(self._tags, False),
            ("GET", "/api/ps"): Page(self._ps, False),
            ("GET", "/api/version"): Page(self._version, False),
        }
        self._table = {**{("HEAD", path): page for (method, path), page in table.items() if method == "GET"}, **table}
        self._methods: dict[str, set[str]] = {}
        for method, path in self._table:
            self._methods.setdefault(path, set()).add(method)
        self._one_model = Page(self._show_model, False)

    def find(self, method: str, path: str) -> Page | None:
        """Return the page for `path`, None when there is none."""
        page = self._table.get((method, path))
        if page is None and method in ("GET", "HEAD") and path.startswith(_ONE_MODEL):
            return self._one_model
        return page

    def methods(self, path: str) -> set[str]:
        """Return the methods that `path` takes, empty when it is no page."""
        return {"GET", "HEAD"} if path.startswith(_ONE_MODEL) else self._methods.get(path, set())

    # --- health ----------------------------------------------------------------------------------

    async def _root(self, exchange: Exchange) -> Reply:
        return json_reply({"name": "LLM Gateway", "version": __version__, "docs": "/docs", "health": "/health"})

    async def _hello(self, exchange: Exchange) -> Reply:
        return json_reply({"message": "hello"})

    async def _health(self, exchange: Exchange) -> Reply:
        return json_reply({"status": "healthy", "version": __version__})

    async def _ready(self, exchange: Exchange) -> Reply:
        gateway = self._gateway
        checks: dict[str, str] = {"state": "ok", "ledger": "off", "routes": "ok", "breakers": "ok", "config": "ok"}
        serving = any(running.route.is_served for running in gateway.snapshot.routes)
        try:
            await gateway.snapshot.shared.state.ping()  # at most 100 ms; the breaker knows only what was asked before
        except StateLost:
            checks["state"] = "lost"
        if (ledger := gateway.snapshot.shared.ledger) is not None:
            checks["ledger"] = "lost" if ledger.is_lost else "ok"
        if not serving:
            checks["routes"] = "no route has an enabled target"
        if gateway.last_reload_failed:
            checks["config"] = "the last reload failed; the configuration before it serves"
        open_ = self._open_breakers()
        if open_:
            checks["breakers"] = f"open: {', '.join(open_)}"
        if gateway.phase != "serving":
            checks["life"] = gateway.phase
        if not serving or gateway.phase != "serving":
            return json_reply({"status": "not_ready", "checks": checks}, 503)
        degraded = gateway.last_reload_failed or bool(open_) or "lost" in (checks["state"], checks["ledger"])
        return json_reply({"status": "degraded" if degraded else "ready", "checks": checks})

    def _open_breakers(self) -> list[str]:
        snapshot = self._gateway.snapshot
        known = snapshot.shared.health.among(snapshot.targets)
        return sorted(each.name for each in known if each.breaker.state == "open")

    # --- lists -----------------------------------------------------------------------------------

    async def _list_models(self, exchange: Exchange) -> Reply:
        names = await self._models.visible(self._gateway.snapshot, exchange)
        if "anthropic-version" in exchange.request.headers:
            return json_reply(self._models.anthropic_list(names, exchange.request.query))
        return json_reply(self._models.openai_list(names))

    async def _show_model(self, exchange: Exchange) -> Reply:
        name = exchange.request.path.removeprefix("/v1").removeprefix("/models/")
        names = await self._models.visible(self._gateway.snapshot, exchange)
        if name not in names and not self._models.takes(self._gateway.snapshot, name, exchange):
            raise ModelNotFound(
                f'no route takes the model "{name[:200]}"; GET /v1/models lists those that are served', param="model"
            )
        is_anthropic = "anthropic-version" in exchange.request.headers
        shape = self._models.anthropic_one if is_anthropic else self._models.openai_one
        return json_reply(shape(name, names.get(name, "")))

    async def _providers(self, exchange: Exchange) -> Reply:
        snapshot = self._gateway.snapshot
        breaker_of = snapshot.shared.health.breaker_of
        return json_reply(
            {
                "data": [
                    {
                        "name": provider.name,
                        "dialect": provider.dialect,
                        "enabled": provider.enabled,
                        "breaker": breaker_of(provider.name, snapshot.targets),
                    }
                    for provider in snapshot.providers.values()
                ]
            }
        )

    async def _tags(self, exchange: Exchange) -> Reply:
        return json_reply(self._models.ollama_list(await self._models.visible(self._gateway.snapshot, exchange)))

    async def _ps(self, exchange: Exchange) -> Reply:
        return json_reply({"models": []})

    async def _version(self, exchange: Exchange) -> Reply:
        return json_reply({"version": __version__})

    async def _websocket(self, exchange: Exchange) -> Reply:
        raise UpgradeRequired("responses are served over HTTP: POST /v1/responses", headers={"upgrade": "HTTP/1.1"})

    # --- what this server is -----------------------------------------------------------------------

    async def _openapi(self, exchange: Exchange) -> Reply:
        return json_reply(document())

    async def _docs(self, exchange: Exchange) -> Reply:
        rows = "".join(
            f"<tr><td><code>{method.upper()} {html.escape(path)}</code></td>"
            f"<td>{html.escape(operation['summary'])}</td></tr>"
            for path, item in document()["paths"].items()
            for method, operation in item.items()
        )
        page = _DOCS.replace("{rows}", rows).replace("{version}", html.escape(__version__))
        headers = {
            "content-type": "text/html; charset=utf-8",
            "content-security-policy": "default-src 'none'; style-src 'unsafe-inline'",
        }
        return Reply(200, headers, page.encode())


_DOCS = """<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>LLM Gateway</title><style>
body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color-scheme:light dark}
table{border-collapse:collapse;width:100%}td{border-top:1px solid #8884;padding:.4rem .6rem;vertical-align:top}
code{font:14px/1.5 ui-monospace,monospace}pre{overflow:auto;padding:1rem;background:#8882;border-radius:.4rem}</style>
<h1>LLM Gateway {version}</h1><p>Point a client's base URL here; nothing else changes.
Machine-readable: <a href="/openapi.json">openapi.json</a>.</p>
<pre>curl /v1/chat/completions -H 'content-type: application/json' \\
  -d '{"model": "echo", "messages": [{"role": "user", "content": "Hello"}]}'</pre>
<table>{rows}</table></html>"""
