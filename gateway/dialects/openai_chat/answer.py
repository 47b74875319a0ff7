"""What plain and streamed chat answers share: stop reasons, text of odd forms, citations."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from gateway.chat import StopReason
from gateway.dialects.notice import VENDOR_EXTRA

NAME = "openai_chat"
_STOPS: dict[str, StopReason] = {
    "stop": "stop",
    "length": "length",
    "max_tokens": "length",
    "model_length": "length",
    "tool_calls": "tool_calls",
    "function_call": "tool_calls",
    "content_filter": "refusal",
}
_NAMES = {"stop": "stop", "length": "length", "tool_calls": "tool_calls", "refusal": "content_filter", "pause": "stop"}
REFUSED = "The model declined to answer."


def stop_of(finish: object, *, has_calls: bool, refused: bool) -> StopReason:
    """Return the neutral stop reason. Many servers say `stop`, something odd or nothing after a call (F04, W01)."""
    stop = _STOPS.get(finish, "stop") if isinstance(finish, str) else "stop"
    if stop == "stop" and has_calls:
        return "tool_calls"
    if stop == "tool_calls" and not has_calls:
        stop = "stop"
    return "refusal" if stop == "stop" and refused else stop


def finish_of(stop: StopReason, extra: Mapping[str, Any], *, has_calls: bool) -> str:
    """Return the wire's finish_reason: the upstream's own word when it was a chat server's, else the table's (F03)."""
    own = extra.get(NAME)
    if isinstance(own, dict) and own.get("finish_reason") in _NAMES.values() and not has_calls:
        return str(own["finish_reason"])
    return "tool_calls" if stop == "stop" and has_calls else _NAMES[stop]


def refused_without_words(stop: StopReason, extra: Mapping[str, Any]) -> bool:
    """Return whether a refusal came as a bare stop reason from a vendor that has no refusal text of its own."""
    return stop == "refusal" and NAME not in extra and "openai_responses" not in extra


def refusal_text(extra: Mapping[str, Any]) -> str:
    """Return words for a refusal that came as a bare stop reason (J08)."""
    details = extra.get("stop_details")
    explanation = details.get("explanation") if isinstance(details, dict) else None
    return explanation if isinstance(explanation, str) and explanation else REFUSED


def pieces(content: object) -> Iterator[tuple[str, str]]:
    """Yield the `text` and `thinking` of a content that may be a string, or Mistral's list of parts (W02)."""
    if isinstance(content, str):
        yield "text", content
        return
    for part in content if isinstance(content, list) else ():
        if isinstance(part, str):
            yield "text", part
        elif isinstance(part, dict):
            thinking = part.get("thinking")
            if isinstance(thinking, list):
                texts = (inner.get("text") for inner in thinking if isinstance(inner, dict))
                yield "thinking", "".join(text for text in texts if isinstance(text, str))
            elif isinstance(thinking, str):
                yield "thinking", thinking
            elif isinstance(part.get("text"), str):
                yield "text", part["text"]


def chat_annotations(annotations: Iterable[Any], start: int, end: int) -> list[dict[str, Any]]:
    """Return citations as chat's `url_citation`s; those without an address have no place there (F07).

    `start` and `end` say where the cited text stands when the citation itself does not.
    """
    out = []
    for note in annotations:
        if not isinstance(note, dict):
            continue
        inner = note.get("url_citation")
        fields = inner if isinstance(inner, dict) else note
        url = fields.get("url")
        if not isinstance(url, str):
            continue
        first, last = fields.get("start_index"), fields.get("end_index")
        citation = {
            "url": url,
            "title": fields.get("title") or url,
            "start_index": first if isinstance(first, int) else start,
            "end_index": last if isinstance(last, int) else end,
        }
        out.append({"type": "url_citation", "url_citation": citation})
    return out


def vendor_extra(extra: dict[str, Any]) -> dict[str, Any]:
    """Return what a chat server said beside a call and wants back with it: Gemini's thought signature (K13)."""
    return {key: extra[key] for key in VENDOR_EXTRA if key in extra}
