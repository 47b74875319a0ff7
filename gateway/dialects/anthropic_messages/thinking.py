"""How much to think: neutral words as Anthropic's `thinking` and `output_config.effort`, and what then must yield.

A model since 4.6 decides by itself (`adaptive`) and takes an effort; an older one takes a budget of at least 1,024
tokens below max_tokens. Thinking with a budget excludes a forced tool and any temperature but 1, and wants an
assistant turn in the middle of a tool loop to begin with a signed thinking block (Anthropic, November 2026).
"""

from __future__ import annotations

from typing import Any

from gateway.chat import ChatRequest, Thinking
from gateway.dialects.anthropic_messages.render_blocks import Block
from gateway.dialects.anthropic_messages.traits import Traits
from gateway.dialects.notice import Dropped, field_name

LEAST_BUDGET = 1024
BUDGETS = {"minimal": 1024, "low": 2048, "medium": 8192, "high": 24_576, "xhigh": 32_768, "max": 49_152}
ROOM_TO_ANSWER = 4096
_EFFORTS = {"minimal": "low", "low": "low", "medium": "medium", "high": "high", "xhigh": "xhigh", "max": "max"}


def write_thinking(body: dict[str, Any], chat: ChatRequest, traits: Traits, own: bool, dropped: Dropped) -> None:
    """Put `thinking` and effort into `body`, whose `max_tokens` and `messages` are there already.

    Nothing is sent when nothing was asked: `disabled` would forbid what the model does by itself.
    """
    wanted = chat.thinking
    if wanted is None or (wanted.mode == "effort" and wanted.effort is None and not own):
        return  # Responses may ask for a summary alone, of whatever the model thinks by itself
    if own:
        _write_own(body, wanted)
        return
    if wanted.mode == "disabled" or wanted.effort == "none":
        if traits.thinking != "none":
            body["thinking"] = {"type": "disabled"}
        return
    if traits.thinking == "none":
        dropped.add(field_name("effort", chat.dialect))
    elif traits.thinking == "adaptive":
        body["thinking"] = {"type": "adaptive", "display": wanted.display or "summarized"}
        effort = _EFFORTS.get(wanted.effort or "") or _effort_of(wanted.budget_tokens)
        if effort is not None:
            body.setdefault("output_config", {})["effort"] = effort
    elif _loop_without_thinking(body["messages"]):
        # Most clients hand back the calls but not the thinking before them; Anthropic refuses such a turn.
        dropped.add(field_name("effort", chat.dialect))
    else:
        _write_budget(body, chat, wanted)


def _write_own(body: dict[str, Any], wanted: Thinking) -> None:
    """Write what a Messages client asked, in its own words."""
    if wanted.effort is not None:
        body.setdefault("output_config", {})["effort"] = wanted.effort
    if wanted.value is not None:
        body["thinking"] = wanted.value
    elif wanted.mode == "budget":
        body["thinking"] = {"type": "enabled", "budget_tokens": wanted.budget_tokens}
    elif wanted.mode in ("adaptive", "disabled"):
        body["thinking"] = {"type": wanted.mode}
    if wanted.display is not None and wanted.value is None and "thinking" in body:
        body["thinking"]["display"] = wanted.display


def _write_budget(body: dict[str, Any], chat: ChatRequest, wanted: Thinking) -> None:
    budget = max(LEAST_BUDGET, wanted.budget_tokens or BUDGETS.get(wanted.effort or "medium", BUDGETS["medium"]))
    if chat.max_tokens is None:
        body["max_tokens"] = max(body["max_tokens"], budget + ROOM_TO_ANSWER)
    elif chat.max_tokens > LEAST_BUDGET:
        budget = min(budget, chat.max_tokens - 1)
    else:
        # The least budget does not fit below the client's limit: the limit is kept for the answer itself.
        budget = LEAST_BUDGET
        body["max_tokens"] = LEAST_BUDGET + max(1, chat.max_tokens)
    body["thinking"] = {"type": "enabled", "budget_tokens": budget}


def _effort_of(budget_tokens: int | None) -> str | None:
    """Return the effort word for a budget (the buckets of K02)."""
    if budget_tokens is None:
        return None
    for word in ("low", "medium", "high"):
        if budget_tokens <= BUDGETS[word]:
            return word
    return "xhigh"


def _loop_without_thinking(messages: list[Block]) -> bool:
    """Return whether the running tool loop, if there is one, has a turn that does not begin with thinking."""
    for message in reversed(messages):
        content = message["content"]
        kinds = [block["type"] for block in content] if isinstance(content, list) else ["text"]
        if message["role"] == "assistant":
            if "tool_use" in kinds and kinds[0] not in ("thinking", "redacted_thinking"):
                return True
        elif "tool_result" not in kinds:
            return False
    return False


def yields(body: dict[str, Any], dropped: Dropped) -> None:
    """Take out what Anthropic refuses beside thinking: a forced tool, another temperature than 1, top_k."""
    if body.get("thinking", {}).get("type") not in ("enabled", "adaptive"):
        return
    choice = body.get("tool_choice")
    if choice is not None and choice["type"] in ("any", "tool"):
        body["tool_choice"] = {key: value for key, value in choice.items() if key != "name"} | {"type": "auto"}
        dropped.add("tool_choice")
    for name in ("temperature", "top_k"):
        if body.get(name) not in (None, 1):
            del body[name]
            dropped.add(name)
    if body.get("top_p") is not None and not 0.95 <= body["top_p"] <= 1:
        del body["top_p"]
        dropped.add("top_p")
