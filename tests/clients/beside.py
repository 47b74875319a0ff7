"""A gateway in front of `model.py`, speaking to it in one dialect, whatever the client's is."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

from gateway.testing import Answer, ReceivedRequest, RunningGateway, ScriptedUpstream, running_gateway
from tests.clients.model import MODEL, Dialect, Said, answer

NAMES: dict[Dialect, str] = {"C": "openai_chat", "M": "anthropic", "R": "openai_responses", "O": "ollama"}
MODELS: dict[Dialect, str] = {"C": MODEL, "M": "claude-sonnet-4-5", "R": MODEL, "O": MODEL}
"""What upstream is asked for. Anthropic's models differ in what they take, by name; this one has structured output."""
KEY = "key-of-upstream-0001"


@dataclass(frozen=True, slots=True)
class Beside:
    """A running gateway and the upstream behind it. `url` is the gateway's."""

    gateway: RunningGateway
    upstream: ScriptedUpstream

    @property
    def url(self) -> str:
        return self.gateway.url

    def sent(self, number: int = -1) -> ReceivedRequest:
        """The request that upstream got."""
        return self.upstream.requests[number]


def config(url: str, target: Dialect, model: str = "", **route: str) -> str:
    base = url + ("/v1" if target in "CR" else "")
    quirks = f", quirks: {route.pop('quirks')}" if "quirks" in route else ""
    more = "".join(f", {name}: {value}" for name, value in route.items())
    return f"""
version: 1
plugins: [access_log]
providers: {{up: {{dialect: {NAMES[target]}, base_url: "{base}", api_key: {KEY}{quirks}}}}}
routes: [{{name: all, targets: [up/{model or MODELS[target]}], retry: {{attempts: 1}}{more}}}]
"""


@asynccontextmanager
async def beside(
    target: Dialect, says: Said | list[Said] | Callable[[ReceivedRequest], Answer], model: str = "", **route: str
) -> AsyncIterator[Beside]:
    """Run a gateway whose only target speaks `target` and says `says`: the same always, or one a request in turn."""
    turns = [says] if isinstance(says, Said) else list(says) if isinstance(says, list) else []

    def script(request: ReceivedRequest) -> Answer:
        if callable(says):
            return says(request)
        return answer(request, turns.pop(0) if len(turns) > 1 else turns[0])

    async with (
        ScriptedUpstream(script) as upstream,
        running_gateway(config(upstream.url, target, model, **route)) as gateway,
    ):
        yield Beside(gateway, upstream)
