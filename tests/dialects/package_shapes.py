"""Whether a request body is one that an official package could have sent: its parameter types, no member beyond them."""

from __future__ import annotations

import collections.abc
import types
from typing import Annotated, Any, ForwardRef, Literal, NotRequired, Required, Union, get_args, get_origin

from anthropic.types import message_create_params
from ollama._types import ChatRequest
from openai.types.chat import completion_create_params
from openai.types.responses import response_create_params
from typing_extensions import get_type_hints, is_typeddict

_WRAPPERS = (Required, NotRequired, Annotated)
_LISTS = (list, tuple, collections.abc.Iterable, collections.abc.Sequence)
_PARAMS: dict[str, tuple[Any, Any]] = {
    "openai_chat": (
        completion_create_params.CompletionCreateParamsNonStreaming,
        completion_create_params.CompletionCreateParamsStreaming,
    ),
    "openai_responses": (
        response_create_params.ResponseCreateParamsNonStreaming,
        response_create_params.ResponseCreateParamsStreaming,
    ),
    "anthropic": (
        message_create_params.MessageCreateParamsNonStreaming,
        message_create_params.MessageCreateParamsStreaming,
    ),
}


def faults(dialect: str, body: dict[str, Any]) -> list[str]:
    """Return what is wrong with a request body, by place."""
    if dialect == "ollama":
        ChatRequest.model_validate(body)
        return [f"{name}: unknown" for name in body if name not in ChatRequest.model_fields]
    plain, streamed = _PARAMS[dialect]
    return _faults(body, streamed if body.get("stream") else plain, "")


def _faults(value: Any, kind: Any, at: str) -> list[str]:  # one return a kind of type
    origin, args = get_origin(kind), get_args(kind)
    if origin in _WRAPPERS:
        return _faults(value, args[0], at)
    if kind in (Any, object) or isinstance(kind, str | ForwardRef):
        return []
    if origin in (Union, types.UnionType):
        found = [_faults(value, arm, at) for arm in args]
        return [] if [] in found else min(found, key=len)
    if origin is Literal:
        return [] if value in args else [f"{at}: {value!r} is none of {args}"]
    if is_typeddict(kind):
        return _object_faults(value, kind, at)
    if origin in _LISTS or "SequenceNotStr" in str(kind):
        if not isinstance(value, list):
            return [f"{at}: no list"]
        return [fault for number, item in enumerate(value) for fault in _faults(item, args[0], f"{at}[{number}]")]
    if origin is not None or not isinstance(kind, type):
        return [] if isinstance(value, dict) else [f"{at}: no object"]
    wanted = int | float if kind is float else kind
    return [] if isinstance(value, wanted) else [f"{at}: {value!r} is no {kind.__name__}"]


def _object_faults(value: Any, kind: Any, at: str) -> list[str]:
    if not isinstance(value, dict):
        return [f"{at}: no {kind.__name__}"]
    hints = get_type_hints(kind, include_extras=True)
    out = [f"{at}.{name}: missing" for name in kind.__required_keys__ if name not in value]
    for name, member in value.items():
        if name in hints:
            out += _faults(member, hints[name], f"{at}.{name}")
        else:
            out.append(f"{at}.{name}: unknown to {kind.__name__}")
    return out
