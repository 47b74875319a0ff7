"""The W3C's trace context (Recommendation of 2021-11-23): which trace a request belongs to, and how that is written."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Protocol

SAMPLED = 0x01
KNOWN_FLAGS = 0x03
"""sampled, and level 2's random: what this version of the header may say."""
_HEADER = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")
_TRACE_ID = re.compile("[0-9a-f]{32}")
_NO_TRACE, _NO_SPAN = "0" * 32, "0" * 16


class Headers(Protocol):
    """A request's headers, of which one name may come twice."""

    def getall(self, name: str, default: Sequence[str]) -> Sequence[str]: ...


@dataclass(frozen=True, slots=True)
class TraceContext:
    """Where in a trace a request stands. `parent_id` is the span that it was made in, empty where a trace begins;
    `state` is what tracing systems say to one another, passed on as it came."""

    trace_id: str
    parent_id: str = ""
    flags: int = SAMPLED
    state: str = ""

    @property
    def sampled(self) -> bool:
        """Whether the trace is recorded."""
        return bool(self.flags & SAMPLED)


def incoming_trace(headers: Headers) -> TraceContext | None:
    """Return the trace that a request's headers name, None when they name none or not as the standard has it."""
    given = headers.getall("traceparent", ())
    if len(given) != 1 or not (found := _HEADER.fullmatch(given[0])):
        return None
    version, trace_id, parent_id, flags, more = found.groups()
    if version == "ff" or (version == "00" and more) or trace_id == _NO_TRACE or parent_id == _NO_SPAN:
        return None
    state = ",".join(headers.getall("tracestate", ()))
    readable = state.isascii() and state.isprintable()
    return TraceContext(trace_id, parent_id, int(flags, 16) & KNOWN_FLAGS, state if readable else "")


def trace_id_for(request_id: str) -> str:
    """Return the trace of a request that brings none: its own id, or where that is the client's own invention, a
    digest of it."""
    if _TRACE_ID.fullmatch(request_id) and request_id != _NO_TRACE:
        return request_id
    return sha256(request_id.encode()).hexdigest()[:32]


def made_for(request_id: str) -> str:
    """Return the header of a request that brings none and is not traced here."""
    trace_id = trace_id_for(request_id)
    return f"00-{trace_id}-{trace_id[:15]}1-01"


def traceparent(trace_id: str, span_id: str, flags: int = SAMPLED) -> str:
    """Return the header."""
    return f"00-{trace_id}-{span_id}-{flags:02x}"


def trace_headers(context: TraceContext, span_id: str) -> Mapping[str, str]:
    """Return what goes upstream from the span `span_id` of this trace."""
    named = {"traceparent": traceparent(context.trace_id, span_id, context.flags)}
    return {**named, "tracestate": context.state} if context.state else named
