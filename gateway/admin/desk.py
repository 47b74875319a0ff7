"""What every page and every `/api/…` path of the admin listener works with."""

from __future__ import annotations

import asyncio
import importlib
from collections.abc import Mapping
from typing import Any

from aiohttp import web

from gateway.errors import NotFound, Unavailable
from gateway.plugin import Clock, Ledger
from gateway.runtime.gateway import Gateway
from gateway.runtime.group import opened
from gateway.runtime.reload import Reloader, Source


class Templates:
    """The template engine, imported when the first page is asked for: a gateway whose dashboard nobody opens starts
    without it."""

    def __init__(self) -> None:
        self._engine: Any = None

    def get_template(self, name: str) -> Any:
        """Return a template by its file's name."""
        if self._engine is None:
            self._engine = importlib.import_module("gateway.admin.pages").Engine()
        return self._engine.get_template(name)


TEMPLATES = web.AppKey("templates", Templates)
OPERATOR = web.RequestKey("operator", str)
"""Who asks, as far as that is known: the token, or which session. The doorman notes it."""
CLIENT = web.RequestKey("client", str)
"""The address that asks, behind proxies that are trusted. The doorman notes it."""


class Desk:
    """`gateway` is this process's: with several workers the hub's, which serves no data, so what concerns requests is
    asked of the others. `data` is the data listener's address, as the ready line says it."""

    def __init__(self, gateway: Gateway, reloader: Reloader, source: Source, clock: Clock, data: str) -> None:
        self.gateway, self.reloader, self.source, self.clock, self.data = gateway, reloader, source, clock, data
        self.kept: dict[str, Any] = {}
        """What a room has worked out and keeps for as long as it holds, by a name of its own."""
        self.closing = asyncio.Event()
        """Set when the listener stops: what goes on until somebody leaves ends now."""

    @property
    def ledger(self) -> Ledger:
        """The ledger, to be asked. Raises: NotFound when there is none."""
        ledger = self.gateway.snapshot.ledger
        if ledger is None:
            raise NotFound("this gateway keeps no ledger: set `ledger:` in gateway.yaml", code="no_ledger")
        return ledger

    async def gather(self, what: str, given: Any = None) -> list[Any]:
        """Return what each serving process answers to `what`."""
        return [answer for answer in await self.gateway.group.gather(what, given) if answer is not None]

    async def ask(self, what: str, given: Any = None) -> Any:
        """Return what one serving process answers. Raises: Unavailable when none does."""
        answer = await self.gateway.group.ask(what, given)
        if answer is None:
            raise Unavailable("no process of this gateway answers; try again")
        return answer

    async def ask_plugin(self, name: str, what: str, given: Any = None) -> Any:
        """Return what a plugin answers; see `Group.respond`.

        Raises: NotFound when no such plugin runs, and what the plugin refuses with.
        """
        answer = await self.gateway.group.ask(f"plugin {name}: {what}", given)
        if answer is None:
            raise NotFound(f'the plugin "{name}" is not in the global chain')
        return opened(answer)

    def clean(self, text: str) -> str:
        """Return a text without the secrets that this gateway knows: for what others have worded."""
        return self.gateway.log.redactor.clean(text.encode("utf-8", "replace")).decode("utf-8", "replace")

    def note(self, request: web.Request, action: str, **facts: Any) -> None:
        """Log what an operator did: who, and to what. When is the line's own time."""
        self.gateway.log.info("admin_action", action=action, by=request.get(OPERATOR, "loopback"),
                              remote=request.get(CLIENT, request.remote), **facts)  # fmt: skip

    def banner(self) -> dict[str, Any] | None:
        """Return what every page says first: that the last reload changed nothing, and why; None when all is well."""
        last = self.reloader.history[-1] if self.reloader.history else None
        if last is None or last.error is None:
            return None
        title = "The last reload failed; the configuration before it is in force"
        return {
            "kind": "error",
            "title": title,
            "text": self.clean(last.error),
            "at": last.at_s,
            "link": "/configuration",
        }

    async def page(self, request: web.Request, template: str, facts: Mapping[str, Any]) -> web.Response:
        """Return a page, or a piece of one. Made in a thread: a long one takes a tenth of a second, and with one
        process the loop has requests to serve."""
        render = importlib.import_module("gateway.admin.pages").render
        made: web.Response = await asyncio.to_thread(render, self, request, template, facts, TEMPLATES)
        return made
