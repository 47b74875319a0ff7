"""Which models may be asked for: names that routes match, and for globs what the providers list."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qs

import msgspec

from gateway.attempts.outgoing import DEFAULT_ANTHROPIC_VERSION
from gateway.errors import UpstreamError
from gateway.exchange import Exchange
from gateway.plugin import Clock, Log
from gateway.router import glob
from gateway.runtime.allowed import is_allowed
from gateway.runtime.snapshot import Snapshot
from gateway.upstream.provider import Provider
from gateway.upstream.transport import UpstreamRequest

KEPT_S = 300.0
FAILED_KEPT_S = 15.0
"""How long the list before stays when a new one cannot be had."""
LISTING_S = 5.0
LARGEST_LIST_BYTES = 8 * 1024 * 1024
CREATED_S = 1735689600
"""What the lists say of when a model was made, when nobody knows: 2025-01-01."""
DEFAULT_PAGE = 20
"""How many models Anthropic's list shows when the caller names no limit (its API reference, November 2026)."""
_WILD = frozenset("*?[")


class _Entry(msgspec.Struct):
    id: str = ""
    name: str = ""


class _List(msgspec.Struct):
    data: list[_Entry] = []
    models: list[_Entry] = []


class Models:
    """Lists, in each dialect's shape. A provider's own is kept five minutes; one that cannot be had is left out."""

    def __init__(self, clock: Clock, log: Log) -> None:
        self._clock, self._log = clock, log
        self._kept: dict[str, tuple[float, tuple[str, ...]]] = {}
        self._asking: dict[str, asyncio.Lock] = {}

    async def names(self, snapshot: Snapshot) -> dict[str, str]:
        """Return model name → who answers it, a provider or a plugin, in the order of the routes."""
        listed: dict[str, str] = {}
        wild: list[tuple[str, Provider]] = []
        for running in snapshot.routes:
            route = running.route
            if not route.is_served or route.match.model is None:
                continue
            available = route.available
            owner = route.plugin or available[0].provider.name
            for pattern in route.match.model:
                if not _WILD & set(pattern):
                    listed.setdefault(pattern, owner)
                else:
                    wild.extend((pattern, target.provider) for target in available if target.model == "*")
        asked = {provider.name: provider for _, provider in wild}
        lists = dict(
            zip(asked, await asyncio.gather(*(self._list_of(provider) for provider in asked.values())), strict=True)
        )
        for pattern, provider in wild:
            matches = glob(pattern).fullmatch
            for name in lists[provider.name]:
                if matches(name):
                    listed.setdefault(name, provider.name)
        return listed

    async def visible(self, snapshot: Snapshot, exchange: Exchange) -> dict[str, str]:
        """Return of `names` those that this caller may use."""
        listed = await self.names(snapshot)
        principal = exchange.principal
        is_bound = principal is not None and (principal.models is not None or principal.routes is not None)
        matches = (running.route.match for running in snapshot.routes)
        if not is_bound and all(match.key is None and match.tags is None for match in matches):
            return listed
        return {name: owner for name, owner in listed.items() if self.takes(snapshot, name, exchange)}

    def takes(self, snapshot: Snapshot, name: str, exchange: Exchange) -> bool:
        """Return whether a route with an enabled target takes `name` when this caller asks, and may use it."""
        principal = exchange.principal
        running = snapshot.router.find(
            model=name,
            path="/v1/chat/completions",
            headers=exchange.request.headers,
            principal_name=None if principal is None else principal.name,
            tags={} if principal is None else principal.tags,
        )
        if running is None or not running.route.is_served:
            return False
        return principal is None or (
            is_allowed(principal.models, name) and is_allowed(principal.routes, running.route.name)
        )

    async def _list_of(self, provider: Provider) -> tuple[str, ...]:
        if provider.dialect == "echo":
            return ()
        kept = self._kept.get(provider.base_url)
        if kept is not None and self._clock.monotonic() < kept[0]:
            return kept[1]
        async with self._asking.setdefault(provider.base_url, asyncio.Lock()):  # one asks, the others wait for it
            kept = self._kept.get(provider.base_url)
            if kept is not None and self._clock.monotonic() < kept[0]:
                return kept[1]
            try:
                names, keep_s = await self._ask(provider), KEPT_S
            except (UpstreamError, msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
                self._log.warning("model_list_failed", provider=provider.name, error=str(error))
                names, keep_s = (kept[1] if kept is not None else ()), FAILED_KEPT_S
            self._kept[provider.base_url] = (self._clock.monotonic() + keep_s, names)
            return names

    async def _ask(self, provider: Provider) -> tuple[str, ...]:
        path = {"anthropic": "/v1/models?limit=1000", "ollama": "/api/tags"}.get(provider.dialect, "/models")
        headers = [("accept", "application/json"), ("accept-encoding", "identity"), *provider.headers.items()]
        if provider.credentials:
            key = provider.credentials[0].reveal()
            name = provider.quirks.get("key_header") or (
                "x-api-key" if provider.dialect == "anthropic" else "authorization"
            )
            headers.append((str(name), f"Bearer {key}" if name == "authorization" else key))
        if provider.dialect == "anthropic":
            headers.append(("anthropic-version", DEFAULT_ANTHROPIC_VERSION))
        request = UpstreamRequest(method="GET", path=provider.base_path + path, headers=headers)
        deadline = asyncio.get_running_loop().time() + LISTING_S
        async with provider.transport.send(request, deadline=deadline) as response:
            body = await response.read(LARGEST_LIST_BYTES)
            if response.status != 200:
                raise UpstreamError("status", f"the list was answered with {response.status}")
        listed = msgspec.json.decode(body, type=_List)
        return tuple(entry.id or entry.name for entry in (listed.data or listed.models) if entry.id or entry.name)

    # --- shapes ----------------------------------------------------------------------------------

    def openai_one(self, name: str, owner: str) -> dict[str, Any]:
        """Return one model as OpenAI shows it."""
        return {"id": name, "object": "model", "created": CREATED_S, "owned_by": owner or "gateway"}

    def openai_list(self, names: Mapping[str, str]) -> dict[str, Any]:
        """Return the list as OpenAI shows it."""
        return {"object": "list", "data": [self.openai_one(name, owner) for name, owner in names.items()]}

    def anthropic_one(self, name: str, owner: str) -> dict[str, Any]:
        """Return one model as Anthropic shows it."""
        return {"type": "model", "id": name, "display_name": name, "created_at": "2025-01-01T00:00:00Z"}

    def anthropic_list(self, names: Mapping[str, str], query: str) -> dict[str, Any]:
        """Return the page of the list that `limit`, `after_id` and `before_id` ask for."""
        asked = {key: values[-1] for key, values in parse_qs(query).items()}
        ids = list(names)
        given = asked.get("limit", "")
        limit = max(1, min(int(given), 1000)) if given.isdecimal() and len(given) < 10 else DEFAULT_PAGE
        if asked.get("before_id") in names:  # the page before: its end touches the id, more may lie before it
            ids = ids[: ids.index(asked["before_id"])]
            page = ids[-limit:]
        else:
            if asked.get("after_id") in names:
                ids = ids[ids.index(asked["after_id"]) + 1 :]
            page = ids[:limit]
        return {
            "data": [self.anthropic_one(name, names[name]) for name in page],
            "has_more": len(ids) > len(page),
            "first_id": page[0] if page else None,
            "last_id": page[-1] if page else None,
        }

    def ollama_list(self, names: Mapping[str, str]) -> dict[str, Any]:
        """Return the list as Ollama shows it."""
        details = {
            "parent_model": "",
            "format": "",
            "family": "",
            "families": [],
            "parameter_size": "",
            "quantization_level": "",
        }
        return {
            "models": [
                {
                    "name": name,
                    "model": name,
                    "modified_at": "2025-01-01T00:00:00Z",
                    "size": 0,
                    "digest": "",
                    "details": details,
                }
                for name in names
            ]
        }
