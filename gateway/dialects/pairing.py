"""Calls and their results: each assistant turn's results right behind it (T10).

OpenAI and Anthropic refuse a history in which a call has no result, or something stands between the two; Ollama tells
results apart by nothing but their order. Responses and Ollama clients may send any order.
"""

from __future__ import annotations

from msgspec.structs import replace

from gateway.chat import Message, Part, Text, ToolCall, ToolResult
from gateway.dialects.names import wire_id

NO_RESULT = "No result was given for this call."


def paired(messages: tuple[Message, ...], *, in_order: bool = False) -> tuple[Message, ...]:
    """Return the messages as they are when each turn's results stand right behind it, with `in_order` in the order of
    its calls, else mended as `results_in_place` does."""
    return messages if _are_paired(messages, in_order) else tuple(results_in_place(messages))


def _are_paired(messages: tuple[Message, ...], in_order: bool) -> bool:
    waiting: list[str] = []
    for message in messages:
        results = [part.call_id for part in message.parts if isinstance(part, ToolResult)]
        if results:
            for call_id in results:
                if call_id not in waiting or (in_order and waiting[0] != call_id):
                    return False
                waiting.remove(call_id)
        elif waiting:
            return False
        elif message.role == "assistant":
            waiting = [part.id for part in message.parts if isinstance(part, ToolCall)]
    return not waiting


def results_in_place(messages: tuple[Message, ...]) -> list[Message]:
    """Return the messages with the results of each assistant turn right behind it, in the order of its calls.

    Results may stand anywhere before the next assistant turn. A call without one gets a result that says so,
    because the whole request would be refused otherwise; a result without its call becomes the user's words.
    """
    out: list[Message] = []
    for turn, following in _by_assistant(messages):
        calls = [part for part in turn.parts if isinstance(part, ToolCall)] if turn is not None else []
        ids = {wire_id(call.id): call.id for call in calls}
        found: dict[str, ToolResult] = {}
        stray: list[Message] = []
        for message in following:
            kept: list[Part] = []
            for part in message.parts:
                key = wire_id(part.call_id) if isinstance(part, ToolResult) else ""
                if isinstance(part, ToolResult) and key in ids:
                    found[key] = _joined(found[key], part) if key in found else part
                elif isinstance(part, ToolResult):
                    kept += [Text(text=f"[result of {part.call_id or 'an unknown call'}]"), *part.parts]
                else:
                    kept.append(part)
            if kept:
                role = "user" if message.role == "tool" else message.role
                stray.append(replace(message, role=role, parts=tuple(kept)))
        if turn is not None:
            out.append(turn)
        if ids:
            results = (
                found.get(key) or ToolResult(call_id=call_id, parts=(Text(text=NO_RESULT),), is_error=True)
                for key, call_id in ids.items()
            )
            out.append(Message(role="tool", parts=tuple(results)))
        out += stray
    return out


def _by_assistant(messages: tuple[Message, ...]) -> list[tuple[Message | None, list[Message]]]:
    """Return each assistant turn with what follows it; adjacent assistant messages are one turn."""
    groups: list[tuple[Message | None, list[Message]]] = [(None, [])]
    for message in messages:
        if message.role != "assistant":
            groups[-1][1].append(message)
            continue
        before, following = groups[-1]
        if before is not None and not following:
            joined = replace(before, parts=(*before.parts, *message.parts), extra={**before.extra, **message.extra})
            groups[-1] = (joined, following)
        else:
            groups.append((message, []))
    return groups


def _joined(first: ToolResult, second: ToolResult) -> ToolResult:
    """Return two results of one call as one."""
    return replace(first, parts=(*first.parts, *second.parts), is_error=first.is_error or second.is_error)
