"""Reasoning in chat messages: the plain `reasoning_content` and the lossless carrier `thinking_blocks` (K05, K06, K10).

A block is Anthropic's own (`thinking` with its signature, `redacted_thinking` with its data) or a Responses reasoning
item (`reasoning` with id, summary and encrypted_content); a client that sends the message back returns it whole.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from gateway.chat import Reasoning

ANTHROPIC = "anthropic"
RESPONSES = "openai_responses"
CHAT = "openai_chat"


def block_of(reasoning: Reasoning) -> dict[str, Any] | None:
    """Return the carrier block, None when there is nothing but text to carry."""
    if reasoning.redacted:
        return {"type": "redacted_thinking", "data": reasoning.encrypted or ""}
    if reasoning.signature is not None and reasoning.origin in (ANTHROPIC, ""):
        return {"type": "thinking", "thinking": reasoning.text, "signature": reasoning.signature}
    if reasoning.encrypted is not None or reasoning.id is not None or reasoning.signature is not None:
        block: dict[str, Any] = {"type": "reasoning"}
        if reasoning.id is not None:
            block["id"] = reasoning.id
        block["summary"] = [{"type": "summary_text", "text": reasoning.text}] if reasoning.text else []
        if reasoning.encrypted is not None:
            block["encrypted_content"] = reasoning.encrypted
        if reasoning.signature is not None:
            block["signature"] = reasoning.signature
        if reasoning.origin not in (RESPONSES, ""):
            block["origin"] = reasoning.origin
        return block
    return None


def carrier(reasonings: Iterable[Reasoning]) -> list[dict[str, Any]]:
    """Return the blocks of those that have something to carry beside their text."""
    return [block for reasoning in reasonings if (block := block_of(reasoning)) is not None]


def reasonings_of(message: Mapping[str, Any]) -> tuple[Reasoning, ...]:
    """Return a message's reasoning, from its carrier where it has one. What is no block is passed over."""
    blocks = message.get("thinking_blocks")
    if isinstance(blocks, list) and blocks:
        found = [_reasoning(block) for block in blocks if isinstance(block, dict)]
        return tuple(reasoning for reasoning in found if reasoning is not None)
    for name in ("reasoning_content", "reasoning"):
        text = message.get(name)
        if isinstance(text, str) and text:
            return (Reasoning(text=text, origin=CHAT),)
    return ()


def _reasoning(block: Mapping[str, Any]) -> Reasoning | None:
    kind = block.get("type")
    if kind == "thinking":
        signature = _text(block, "signature")
        return Reasoning(
            text=_text(block, "thinking") or "",
            signature=signature or None,
            origin=ANTHROPIC if signature else CHAT,
        )
    if kind == "redacted_thinking":
        return Reasoning(encrypted=_text(block, "data") or "", redacted=True, origin=ANTHROPIC)
    if kind == "reasoning":
        return Reasoning(
            text=summary_text(block.get("summary")),
            encrypted=_text(block, "encrypted_content"),
            signature=_text(block, "signature"),
            id=_text(block, "id"),
            origin=_text(block, "origin") or RESPONSES,
        )
    return None


def summary_text(parts: object) -> str:
    """Return the text of a reasoning item's summary or content."""
    if not isinstance(parts, list):
        return ""
    texts = (part.get("text") for part in parts if isinstance(part, dict))
    return "\n\n".join(text for text in texts if isinstance(text, str) and text)


def _text(block: Mapping[str, Any], name: str) -> str | None:
    value = block.get(name)
    return value if isinstance(value, str) else None
