"""One line a request, written when it has ended, however it ended."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from gateway.plugin import Event, Exchange, Plugin, Reply, Services, TextDelta

SHORTEST_CREDENTIAL = 6
"""What is shorter is too common to be taken out of texts."""
PROBES = frozenset({"/health", "/health/ready", "/ready"})


class AccessLog(Plugin):
    """Options:

    format: json (default) or text, for all of the log; LOG_FORMAT in the environment wins.
    bodies: whether prompts and answers are logged too (default false). Credentials are taken out of them.

    Successful health probes are logged at DEBUG only. What a plugin asked on behalf of a request is a line of its own,
    `child`.
    """

    options_schema = {
        "type": "object",
        "additionalProperties": False,
        "properties": {
            "format": {
                "enum": ["json", "text"],
                "default": "json",
                "description": "Form of the log's lines. LOG_FORMAT wins.",
            },
            "bodies": {
                "type": "boolean",
                "default": False,
                "description": "Log prompts and answers, credentials taken out.",
            },
        },
    }

    def __init__(self, options: Mapping[str, Any], services: Services) -> None:
        super().__init__(options, services)
        self._log = services.log
        self._bodies: bool = options["bodies"]

    async def start(self) -> None:
        """Choose the form of lines: here and not before, so that a configuration that is refused changes nothing."""
        self._log.prefer_form(self.options["format"])

    def handle(self, exchange: Exchange, call_next: Callable[[Exchange], Awaitable[Reply]]) -> Awaitable[Reply]:
        """Collect the answer's text when bodies are wanted."""
        if self._bodies:
            answer: list[str] = []
            exchange.notes["access_log"] = answer

            def collect(_: Exchange, event: Event) -> None:
                if isinstance(event, TextDelta):
                    answer.append(event.text)

            exchange.observe(collect)
        return call_next(exchange)

    def finish(self, exchange: Exchange) -> None:
        """Write the line."""
        request, usage, error, status = exchange.request, exchange.usage, exchange.error, exchange.status
        level = "debug" if request.path in PROBES and status < 400 else "info"
        if not self._log.is_enabled(level):
            return
        started, first = exchange.started_at_s, exchange.first_token_at_s
        principal, route, cost_usd = exchange.principal, exchange.route, exchange.cost_usd
        fields: dict[str, Any] = {
            "request_id": exchange.id,
            "method": request.method,
            "path": request.path,
            "principal": None if principal is None else principal.name,
            "route": None if route is None else route.name,
            "target": exchange.headers.get("x-gateway-target"),
            "attempts": len(exchange.all_attempts),
            "status": status,
            "outcome": exchange.outcome,
            "error_code": None if error is None else error.code,
            "stream": request.stream,
            "duration_ms": _ms((exchange.ended_at_s or started) - started),
            "ttft_ms": None if first is None else _ms(first - started),
            "prompt_tokens": None if usage is None else usage.prompt_tokens,
            "completion_tokens": None if usage is None else usage.completion_tokens,
            "cost_usd": None if cost_usd is None else float(cost_usd),
        }
        if usage is not None and usage.estimated:
            fields["estimated"] = True
        if exchange.origin is not None:
            fields["step"] = exchange.origin.step
        if self._bodies:
            own = _credentials(request.headers)
            fields["request_body"] = _without(own, request.body.decode("utf-8", "replace"))
            fields["answer"] = _without(own, "".join(exchange.notes.get("access_log", ())))
        self._log.line(level, "request" if exchange.origin is None else "child", fields)


def _credentials(headers: Mapping[str, str]) -> list[str]:
    """Return what this caller showed: no other secret has a form that only its owner knows."""
    shown = (headers.get("authorization", "").rpartition(" ")[2], headers.get("x-api-key", ""))
    return [each for each in shown if len(each) >= SHORTEST_CREDENTIAL]


def _without(credentials: list[str], text: str) -> str:
    for each in credentials:
        text = text.replace(each, "***")
    return text


def _ms(seconds: float) -> float:
    """Return milliseconds, cut to hundredths: rounding costs three times as much."""
    return int(seconds * 100_000) / 100
