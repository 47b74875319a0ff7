"""Tool names and call ids that every wire format accepts, made from any that one of them allows.

OpenAI takes names of 1 to 64 characters of `[a-zA-Z0-9_-]`, Anthropic ids of the same characters (November 2026).
Both functions are pure, so a call and its result, a name in the tools, in `tool_choice` and in the history all
change alike without anything being remembered; who renders the answer turns names back with `original_names`.
"""

from __future__ import annotations

import re
from hashlib import sha256

from gateway.chat import ChatRequest, ToolCall

LONGEST_NAME = 64
_PLAIN = re.compile(r"[a-zA-Z0-9_-]+")
_OTHER = re.compile(r"[^a-zA-Z0-9_-]")


def wire_name(name: str) -> str:
    """Return `name` when every dialect takes it, else its beginning and a hash of the whole."""
    if len(name) <= LONGEST_NAME and _PLAIN.fullmatch(name):
        return name
    return _rewritten(name, LONGEST_NAME)


def wire_id(call_id: str) -> str:
    """Return a call id of plain characters; two different ids stay different."""
    if _PLAIN.fullmatch(call_id):
        return call_id
    return _rewritten(call_id, 48)


def made_id(answer_id: str, index: int, name: str) -> str:
    """Return the id of a call that came without one (G14): the same for the same answer."""
    return f"call_{sha256(f'{answer_id} {index} {name}'.encode('utf-8', 'replace')).hexdigest()[:24]}"


def original_names(request: ChatRequest | None) -> dict[str, str]:
    """Return what names the client knows the rewritten ones by; empty in the usual case."""
    if request is None:
        return {}
    names = {tool.name for tool in request.tools}
    names.update(part.name for message in request.messages for part in message.parts if isinstance(part, ToolCall))
    return {wire: name for name in names if (wire := wire_name(name)) != name}


def _rewritten(text: str, longest: int) -> str:
    digest = sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:10]
    return f"{_OTHER.sub('_', text)[: longest - 11]}_{digest}"
