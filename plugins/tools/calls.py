"""One call of a tool, whoever asked for it: checked, limited in time, measured, told."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from gateway.plugin import Exchange, Log

from .arguments import BadArguments
from .registry import Result, Tool, ToolFailed, place

Outcome = Literal["ok", "failed", "timeout", "refused", "cancelled", "withheld", "unknown"]
"""`refused`: its arguments did not fit. `cancelled`: whoever waited for it left. `withheld`: the model asked for it and
it was not run. `unknown`: no such tool."""


@dataclass(frozen=True, slots=True)
class Called:
    """How a call ended: with a result, or with an `error` in words."""

    outcome: Outcome
    result: Result | None = None
    error: str = ""


async def call(
    exchange: Exchange, tool: Tool, given: Mapping[str, Any] | BadArguments, context: Mapping[str, Any], log: Log
) -> Called:
    """Return how a call of `tool` ended; it raises nothing but what cancels it, which ends the call too.

    `given` are the arguments, or why they could not be read; `context` is the session's.
    """
    deadline = exchange.deadline
    started_at_s = deadline.now()
    called = Called("cancelled")
    try:
        called = await _run(exchange, tool, given, context)
    except Exception as error:  # this plugin's own fault: the other calls of the round are worth their answer
        called = Called("failed", error="the gateway could not run it")
        log.error("tool_broke", request_id=exchange.id, tool=tool.name, error=type(error).__name__, at=place(error))
    finally:
        note(exchange, tool.name, called.outcome, started_at_s)
        tell = log.debug if called.outcome in ("ok", "cancelled") else log.warning
        # Neither arguments nor results: they are the conversation's. An error may repeat an argument.
        tell(
            "tool_called",
            request_id=exchange.id,
            tool=tool.name,
            outcome=called.outcome,
            duration_ms=round((deadline.now() - started_at_s) * 1000, 1),
        )
    return called


def note(exchange: Exchange, name: str, outcome: Outcome, started_at_s: float) -> None:
    """Note a call for the ledger, the trace and the metrics."""
    exchange.note_work(
        kind="tool",
        name=name,
        started_at_s=started_at_s,
        ended_at_s=exchange.deadline.now(),
        ok=outcome == "ok",
        facts={"outcome": outcome},
    )


async def _run(
    exchange: Exchange, tool: Tool, given: Mapping[str, Any] | BadArguments, context: Mapping[str, Any]
) -> Called:
    try:
        if isinstance(given, BadArguments):
            raise given
        arguments = tool.check.merge(given, tool.context, context)
    except BadArguments as error:
        return Called("refused", error=str(error))
    limit_s = min(tool.timeout_s, exchange.deadline.remaining())
    try:
        async with asyncio.timeout(limit_s):
            return Called("ok", await tool.run(arguments, exchange.id))
    except TimeoutError:
        return Called("timeout", error=f"it did not answer within {limit_s:g} s")
    except ToolFailed as error:
        return Called("failed", error=str(error))
