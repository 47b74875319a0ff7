"""A call's arguments as the object that Anthropic and Ollama want."""

from __future__ import annotations

from typing import Any

from gateway.chat import ToolCall
from gateway.dialects.freeform import wrapped
from gateway.dialects.json import decode_event, is_json_object, raw, valid_json


def object_of(call: ToolCall) -> Any:
    """Return a call's arguments as an object, numbers and key order as the model wrote them.

    JSON that is no object is wrapped, text that is no JSON becomes an empty object: the call took place, and
    refusing the history because of what a model wrote would end the conversation. Half a surrogate pair, which
    no server takes, becomes U+FFFD.
    """
    if call.custom:
        return raw(wrapped(call.arguments))
    arguments = call.arguments.strip()
    if is_json_object(arguments):
        return raw(arguments)
    if arguments in ("", "null"):
        return {}
    if valid_json(arguments):
        return raw('{"value":' + arguments + "}")
    return decode_event(arguments.encode("utf-8", "replace")) or {}


def is_lost(call: ToolCall, arguments: Any) -> bool:
    """Return whether `object_of` found nothing in what the model wrote."""
    return arguments == {} and call.arguments.strip() not in ("", "null")
