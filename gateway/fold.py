"""A plain answer taken apart into the events of a stream, and events put together to an answer."""

from __future__ import annotations

from collections.abc import Iterable

from gateway.chat import (
    ChatReply,
    Event,
    Failure,
    Part,
    Raw,
    Reasoning,
    ReasoningDelta,
    Refusal,
    Start,
    Stop,
    Text,
    TextDelta,
    ToolCall,
    ToolCallDelta,
    Usage,
)  # fmt: skip

Delta = TextDelta | ReasoningDelta | ToolCallDelta


def events_of(reply: ChatReply) -> list[Event]:
    """Return the events a stream of `reply` would have had: one delta a part, then usage and stop."""
    events: list[Event] = [Start(reply.id, reply.model, reply.created_s)]
    calls = blocks = 0
    for part in reply.parts:
        match part:
            case Text():
                events.append(TextDelta(part.text, annotations=part.annotations, cited=len(part.text)))
            case Refusal():
                events.append(TextDelta(part.text, refusal=True))
            case Reasoning():
                events.append(
                    ReasoningDelta(
                        part.text, blocks, part.signature, part.encrypted, part.redacted, part.id, part.origin
                    )
                )
                blocks += 1
            case ToolCall():
                events.append(ToolCallDelta(calls, part.id, part.name, part.arguments, part.custom, part.extra or None))
                calls += 1
            case _:
                pass
    if reply.usage is not None:
        events.append(reply.usage)
    events.append(Stop(reply.stop, reply.stop_sequence))
    return events


def fold(reply: ChatReply, events: Iterable[Event]) -> ChatReply:
    """Return `reply` with the parts, usage and stop that `events` add up to.

    Parts that no event can say (images, blocks of one dialect's own) keep their place among the others.
    """
    runs: list[tuple[str, list[Delta]]] = []
    usage, stop = reply.usage, Stop(reply.stop, reply.stop_sequence)
    for event in events:
        match event:
            case TextDelta():
                _extend(runs, "refusal" if event.refusal else "text", event)
            case ReasoningDelta():
                _extend(runs, f"reasoning {event.block}", event)
            case ToolCallDelta():
                _extend(runs, f"call {event.index}", event)
            case Usage():
                usage = event
            case Stop():
                stop = event
            case _:
                pass
    parts = [_part(deltas) for _, deltas in runs]
    for at, part in enumerate(reply.parts):
        if not isinstance(part, Text | Refusal | Reasoning | ToolCall):
            parts.insert(at, part)
    return ChatReply(
        id=reply.id, model=reply.model, created_s=reply.created_s, parts=tuple(parts),
        stop=stop.reason, stop_sequence=stop.sequence, usage=usage, extra=reply.extra,
    )  # fmt: skip


def _extend(runs: list[tuple[str, list[Delta]]], kind: str, event: Delta) -> None:
    for known, deltas in reversed(runs):
        if known == kind:
            deltas.append(event)
            return
        if not kind.startswith("call"):
            break  # text after something else is a new part; the pieces of calls may be interleaved
    runs.append((kind, [event]))


def _part(deltas: list[Delta]) -> Part:
    first = deltas[0]
    if isinstance(first, ToolCallDelta):
        arguments = "".join(delta.arguments for delta in deltas if isinstance(delta, ToolCallDelta))
        return ToolCall(
            id=first.id, name=first.name, arguments=arguments or "{}", custom=first.custom, extra=first.extra or {}
        )
    text = "".join(delta.text for delta in deltas if not isinstance(delta, ToolCallDelta))
    if isinstance(first, TextDelta):
        if first.refusal:
            return Refusal(text=text)
        notes = tuple(note for delta in deltas if isinstance(delta, TextDelta) for note in delta.annotations)
        return Text(text=text, annotations=notes)
    parts = [delta for delta in deltas if isinstance(delta, ReasoningDelta)]
    return Reasoning(
        text=text,
        signature=next((part.signature for part in reversed(parts) if part.signature is not None), None),
        encrypted=next((part.encrypted for part in reversed(parts) if part.encrypted is not None), None),
        redacted=any(part.redacted for part in parts),
        id=first.id,
        origin=first.origin,
    )


def is_content(event: Event) -> bool:
    """Return whether `event` commits the stream: text, reasoning, a tool call, or the stop."""
    match event:
        case Start() | Usage() | Raw() | Failure():
            return False
        case TextDelta(text=text):
            return bool(text)
        case ReasoningDelta():
            return bool(event.text or event.signature or event.encrypted)
        case ToolCallDelta() | Stop():
            return True
