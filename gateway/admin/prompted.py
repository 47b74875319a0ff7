"""A prompt of the playground, sent to the data listener as any client would, its answer told event by event.

It has no privilege: the key that was typed is the caller, limits and budgets hold, and the row appears. Only which
route and which target answer may be said with a ticket (see `gateway.server.tickets`), the operator's to give.
"""

from __future__ import annotations

import asyncio
import json
import secrets
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any, Final
from urllib.parse import urlsplit

import aiohttp

from gateway.admin.desk import Desk
from gateway.chat import Event, Failure, ReasoningDelta, TextDelta, ToolCallDelta, Usage
from gateway.dialects.table import DIALECTS
from gateway.errors import GatewayError, Unavailable
from gateway.fold import events_of
from gateway.ledger.ledger import Row
from gateway.pricing import plain
from gateway.secret import Secret

DEADLINE_S: Final = 600.0
CONNECT_S: Final = 5.0
MOST_BYTES: Final = 8 * 1024 * 1024
"""Of an answer that is not streamed."""
TICKET: Final = "x-gateway-ticket"
ROW_TRIES: Final = 8
ROW_WAIT_S: Final = 0.1
"""A row is there at the latest 200 ms after the end."""
HEAD: Final = {
    "request_id": "x-request-id", "route": "x-gateway-route", "target": "x-gateway-target",
    "attempts": "x-gateway-attempts", "dropped": "x-gateway-dropped", "cache": "x-gateway-cache",
    "cost_usd": "x-gateway-cost-usd", "retry_after": "retry-after", "source": "x-gateway-error-source",
}  # fmt: skip
Told = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Prompt:
    """What is asked, and of whom. `route` and `target` are "" where the configuration decides."""

    body: Mapping[str, Any]
    route: str = ""
    target: str = ""
    # SECURITY: for this one request; it is neither kept nor logged.
    key: Secret = field(default_factory=lambda: Secret(""))


class Prompter:
    """Sends prompts to `desk.data`."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    async def tell(self, prompt: Prompt) -> AsyncIterator[Told]:
        """Yield what comes of a prompt: its head, words as they come, what it used, how it ended, and its row."""
        now = self._desk.clock.monotonic
        began_s = now()
        first_s: float | None = None
        head: Told = {}
        used: Usage | None = None
        try:
            headers = await self._headers(prompt)
            async with self._session() as session, session.post(
                self._url("/v1/chat/completions"), json=dict(prompt.body), headers=headers, allow_redirects=False
            ) as answer:  # fmt: skip
                head = {name: answer.headers.get(header) for name, header in HEAD.items()}
                yield {"type": "head", "status": answer.status, **head}
                if answer.status >= 400:
                    yield _refusal(answer.status, await _whole(answer))
                elif not _is_asked_for(prompt, head):
                    yield _error(502, "wrong_target", f"{head['route']} at {head['target']} answered; try again")
                    return
                else:
                    async for event in _events(answer):
                        if first_s is None and isinstance(event, (TextDelta, ReasoningDelta, ToolCallDelta)):
                            first_s = now() - began_s
                        if isinstance(event, Usage):
                            used = event  # totals so far
                        elif (told := _told(event)) is not None:
                            yield told
        except GatewayError as error:
            yield _error(error.status, error.code, error.message)
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            yield _error(502, "cut", f"the data listener's answer broke off: {type(error).__name__}")
        if used is not None:
            yield {
                "type": "usage",
                "prompt_tokens": used.prompt_tokens,
                "completion_tokens": used.completion_tokens,
                "cached_tokens": used.cached_tokens,
                "reasoning_tokens": used.reasoning_tokens,
            }
        yield {"type": "end", "first_token_ms": _ms(first_s), "duration_ms": _ms(now() - began_s)}
        if head.get("request_id"):
            yield await self._row(str(head["request_id"]))

    async def models(self, key: Secret) -> list[str]:
        """Return the models that a client with this key is told of. Raises: Unavailable."""
        headers = {"authorization": f"Bearer {key.reveal()}"} if key else {}
        try:
            async with self._session() as session, session.get(
                self._url("/v1/models"), headers=headers, allow_redirects=False
            ) as answer:  # fmt: skip
                listed = json.loads(await _whole(answer)).get("data", []) if answer.status == 200 else []
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            raise Unavailable(f"the data listener does not answer: {type(error).__name__}") from error
        return [str(each["id"]) for each in listed]

    def _session(self) -> aiohttp.ClientSession:
        path = self._desk.data.removeprefix("unix:") if self._desk.data.startswith("unix:") else None
        return aiohttp.ClientSession(
            connector=aiohttp.UnixConnector(path) if path is not None else None,
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=DEADLINE_S, sock_connect=CONNECT_S),
        )

    def _url(self, path: str) -> str:
        """Return where the data listener takes a path: on loopback when it listens everywhere."""
        if self._desk.data.startswith("unix:"):
            return f"http://localhost{path}"
        parts = urlsplit(self._desk.data)
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(parts.hostname or "", parts.hostname or "")
        return f"http://{f'[{host}]' if ':' in host else host}:{parts.port}{path}"

    async def _headers(self, prompt: Prompt) -> dict[str, str]:
        """Return the headers, a ticket among them where the operator chose. Raises: Unavailable."""
        headers = {"x-gateway-timeout": f"{DEADLINE_S:g}"}
        if prompt.key:
            headers["authorization"] = f"Bearer {prompt.key.reveal()}"
        if prompt.route or prompt.target:
            ticket = secrets.token_urlsafe(32)
            given = {"hash": sha256(ticket.encode()).hexdigest(), "route": prompt.route, "target": prompt.target}
            # Every process gets it, for nobody knows which one will take the request.
            if not any(await self._desk.gateway.group.gather("ticket", given)):
                raise Unavailable("no process of this gateway answers; try again")
            headers[TICKET] = ticket
            headers["x-gateway-cache"] = "no-store"  # what another target once said is not this one's answer
        return headers

    async def _row(self, request_id: str) -> Told:
        """Return the request's row, as soon as it is there."""
        ledger = self._desk.gateway.snapshot.ledger
        if ledger is None:
            return {"type": "row", "problem": "this gateway keeps no ledger, so the cost of a stream is not known"}
        for _ in range(ROW_TRIES):
            await asyncio.sleep(ROW_WAIT_S)
            try:
                rows = await ledger.one(request_id)
            except GatewayError as error:
                return {"type": "row", "problem": error.message}
            if found := next((row for row in rows if row.parent_id is None), None):
                return _row_told(found)
        return {"type": "row", "problem": "the ledger has no row of it yet"}


async def _events(answer: aiohttp.ClientResponse) -> AsyncIterator[Event]:
    """Yield an answer's events, whether it is a stream or whole. Raises: GatewayError."""
    dialect = DIALECTS["openai_chat"]
    if answer.content_type != "text/event-stream":
        for event in events_of(dialect.parse_reply(await _whole(answer))):
            yield event
        return
    parser = dialect.stream_parser()
    async for data in answer.content.iter_any():
        for event in parser.feed(data):
            yield event
    for event in parser.end():
        yield event


async def _whole(answer: aiohttp.ClientResponse) -> bytes:
    body = bytearray()
    async for data in answer.content.iter_any():
        body += data
        if len(body) > MOST_BYTES:
            raise aiohttp.ClientPayloadError("too long")
    return bytes(body)


def _told(event: Event) -> Told | None:
    match event:
        case TextDelta(text=text) if text:
            return {"type": "text", "text": text}
        case ReasoningDelta(text=text) if text:
            return {"type": "reasoning", "text": text}
        case ToolCallDelta(name=name, arguments=arguments):
            return {"type": "tool", "name": name, "arguments": arguments}
        case Failure(message=message, code=code, status=status):
            return _error(status, code, message)
    return None


def _refusal(status: int, body: bytes) -> Told:
    """Return what the data listener refused with."""
    try:
        error = json.loads(body)["error"]
        return _error(status, str(error.get("code") or "error"), str(error["message"]))
    except (ValueError, KeyError, TypeError, AttributeError):
        return _error(status, "error", f"status {status}, and no word why")


def _error(status: int, code: str, message: str) -> Told:
    return {"type": "error", "status": status, "code": code, "message": message}


def _is_asked_for(prompt: Prompt, head: Told) -> bool:
    """Return whether the route and the target that were asked for have answered: a process that is new may not know of
    the ticket, and then the configuration has decided."""
    provider, _, model = prompt.target.partition("/")
    at = str(head["target"] or "")
    fits = at == prompt.target or (model == "*" and at.startswith(f"{provider}/"))
    return (not prompt.target or fits) and (not prompt.route or head["route"] in (prompt.route, None))


def _row_told(row: Row) -> Told:
    return {
        "type": "row",
        "exchange_id": row.exchange_id,
        "route": row.route,
        "target": row.target,
        "attempts": row.attempts,
        "status": row.status,
        "outcome": row.outcome,
        "error_code": row.error_code,
        "principal": row.principal,
        "prompt_tokens": row.prompt_tokens,
        "completion_tokens": row.completion_tokens,
        "cost_usd": None if row.cost_usd is None else plain(row.cost_usd),
        "duration_ms": row.duration_ms,
        "ttft_ms": row.ttft_ms,
    }


def _ms(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds * 1000, 1)
