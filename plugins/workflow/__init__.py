"""Several models, or one asked several times, served as one: chains, orchestrators, and LangGraph graphs of your
own."""

from __future__ import annotations

import asyncio
import importlib.util
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from hashlib import sha256
from typing import Any, Protocol

import msgspec

from gateway.plugin import (
    BadRequest,
    ConfigError,
    Event,
    Exchange,
    Plugin,
    Reply,
    Services,
    answer_events,
)  # fmt: skip

from .files import Files
from .loading import let_go
from .options import SCHEMA
from .run import Run
from .written import Written, refuse_circles, written

ELSEWHERE = ("previous_response_id", "conversation", "prompt", "background")
"""Where a Responses request has history or prompt on OpenAI's own servers: left out, the answer would be to another."""
_NOTHING = (b"", b"null", b"[]", b"{}")


class Runnable(Protocol):
    """A workflow ready to run."""

    def events(self, run: Run) -> AsyncIterator[Event]: ...


class Workflow(Plugin):
    """Options:

    workflows: by the name that clients ask for as a model, `kind: chain`, `kind: orchestrator`, or `use:` for a
    LangGraph graph of your own. options.py has every option of each, docs/workflows.md says what they do.

    Each step is a request of its own inside the gateway: routed, retried, limited, paid for and recorded as any other,
    under the caller's request id.
    """

    options_schema = SCHEMA

    def __init__(self, options: Mapping[str, Any], services: Services) -> None:
        super().__init__(options, services)
        refuse_without_langgraph()
        files = Files(services.home)
        self._written = {
            name: written(name, given, files, f"workflows.{name}") for name, given in options["workflows"].items()
        }
        self.files = tuple(dict.fromkeys(files.seen))
        refuse_circles(self._written)
        self.models = tuple(self._written)
        self.asks = dict(item for one in reversed(self._written.values()) for item in one.asks.items())
        self._modules: list[str] = []
        self._loading: asyncio.Task[Mapping[str, Runnable]] | None = None

    # --- life --------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Load LangGraph in a thread, for it takes more than a second of computing: a gateway is ready before it has,
        and the first request to a workflow waits for the rest. A graph of the operator's own is waited for: it may be
        wrong."""
        self._loading = asyncio.create_task(asyncio.to_thread(self._load))
        self._loading.add_done_callback(self._loaded)
        if any(one.use for one in self._written.values()):
            try:
                await self._loading
            except BaseException:
                let_go(self._modules)
                raise

    async def close(self) -> None:
        """Let go of graphs."""
        if self._loading is not None:
            await asyncio.wait([self._loading])
        let_go(self._modules)

    def _loaded(self, loading: asyncio.Task[Mapping[str, Runnable]]) -> None:
        if not loading.cancelled() and (error := loading.exception()) is not None:
            self.services.log.error("workflow_not_loaded", error=f"{type(error).__name__}: {error}")

    def _load(self) -> Mapping[str, Runnable]:
        # Here and not at the top: LangGraph is an extra, weighs 50 MB, and is needed by nobody who only checks a file.
        from .making import made  # noqa: PLC0415

        return {name: made(one, self.services, self._modules) for name, one in self._written.items()}

    # --- a request ---------------------------------------------------------------------------------

    async def handle(self, exchange: Exchange, call_next: Callable[[Exchange], Awaitable[Reply]]) -> Reply:
        """Run the workflow that is asked for; leave every other request alone."""
        route = exchange.route
        endpoint = exchange.request.endpoint
        if route is None or route.targets or endpoint is None or not endpoint.is_chat:
            return await call_next(exchange)
        one = self._written.get(route.name)
        if one is None:  # a model that another plugin answers
            return await call_next(exchange)
        refuse_what_no_step_takes(exchange)
        assert self._loading is not None
        workflow = (await asyncio.shield(self._loading))[one.name]
        services = self.services
        run = Run(one.name, exchange, services.gateway, services.clock, services.log, thread=_thread(one, exchange))
        exchange.notes["workflow run"] = run
        return await answer_events(exchange, workflow.events(run), services.clock.time())

    async def finish(self, exchange: Exchange) -> None:
        """Forget the checkpoints of a run that the client has the whole answer of."""
        run: Run | None = exchange.notes.pop("workflow run", None)
        if run is not None and run.forget is not None:
            await run.forget(run.thread, is_done=exchange.outcome == "completed")


def refuse_without_langgraph() -> None:
    """Raises: ConfigError. Nothing is imported but the namespace that LangGraph's packages share."""
    try:
        if importlib.util.find_spec("langgraph.graph") is not None:
            return
    except ModuleNotFoundError:
        pass
    cure = 'install the extra: pip install "llm-gateway[workflow]"'
    raise ConfigError("workflow needs LangGraph, which is not installed", cure=cure)


def refuse_what_no_step_takes(exchange: Exchange) -> None:
    """Raises: BadRequest for what would be dropped without a word."""
    request = exchange.request
    fields = request.fields or {}
    for name in ("tools", "functions"):
        # What the client wrote: a plugin that stands before this one may have added to `exchange.chat`.
        if bytes(fields.get(name, b"")).strip() not in _NOTHING:
            raise BadRequest(f'"{request.model}" is a workflow: it takes no tools', param=name)
    chat = exchange.chat
    if chat.n not in (None, 1):
        raise BadRequest(f'"{request.model}" is a workflow: it gives one answer, so n must be 1', param="n")
    elsewhere = [name for name in ELSEWHERE if chat.dialect == "openai_responses" and chat.extra.get(name)]
    kinds = {getattr(part, "kind", "") for message in chat.messages for part in message.parts}
    if elsewhere or "item_reference" in kinds:
        what = elsewhere[0] if elsewhere else "an item_reference"
        param = elsewhere[0] if elsewhere else "input"
        raise BadRequest(
            f'{what} cannot be used with the workflow "{request.model}"; send the whole input', param=param
        )


def _thread(one: Written, exchange: Exchange) -> str:
    """Return what a run is found again by, "" for one that nobody could ask for again: the same request, by the same
    caller, under the request id that the client gave, to a workflow that has not been changed since."""
    if not one.checkpoint or exchange.id not in exchange.request.headers.values():
        return ""
    whose = exchange.principal.name if exchange.principal is not None else None
    asked = msgspec.json.encode([whose, one.name, one.digest, exchange.id, exchange.chat.messages])
    return sha256(asked).hexdigest()[:32]
