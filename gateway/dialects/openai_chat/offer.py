"""Writing tools and tool choice of a chat request."""

from __future__ import annotations

from typing import Any

from gateway.chat import ChatRequest, Tool
from gateway.dialects.freeform import as_function
from gateway.dialects.json import raw
from gateway.dialects.names import wire_name
from gateway.dialects.notice import lost_names
from gateway.dialects.openai_chat.tools import LEGACY, NAME

_EMPTY_SCHEMA = '{"type":"object","properties":{}}'


class ToolRenderer:
    """Writes what a request offers. Tools that only their own vendor runs are left out and noted by type (T03, T05)."""

    __slots__ = ("_chat", "_dropped", "_own")

    def __init__(self, chat: ChatRequest, dropped: list[str]) -> None:
        self._chat = chat
        self._own = chat.dialect == NAME
        self._dropped = dropped

    def render(self) -> dict[str, Any]:
        """Return `tools`, `tool_choice` and `parallel_tool_calls`; without tools chat refuses the latter two."""
        chat = self._chat
        legacy = [self._legacy(tool) for tool in chat.tools if tool.dialect == LEGACY]
        rendered = [tool for offered in chat.tools if offered.dialect != LEGACY and (tool := self._tool(offered))]
        out: dict[str, Any] = {}
        if legacy:
            out["functions"] = legacy
        if rendered:
            out["tools"] = rendered
        if not out and not self._own:
            if chat.tools and chat.tool_choice is not None and chat.tool_choice.mode in ("required", "tool"):
                self._dropped.append("tool_choice")
            return {}
        choice = self._choice(legacy=bool(legacy))
        if choice is not None:
            out["function_call" if legacy else "tool_choice"] = choice
        if chat.parallel_tool_calls is not None:
            out["parallel_tool_calls"] = chat.parallel_tool_calls
        return out

    def _legacy(self, tool: Tool) -> dict[str, Any]:
        function: dict[str, Any] = {"name": tool.name}
        if tool.description is not None:
            function["description"] = tool.description
        if tool.parameters is not None:
            function["parameters"] = raw(tool.parameters)
        return {**function, **tool.extra}

    def _tool(self, tool: Tool) -> dict[str, Any] | None:
        if tool.kind != "function":
            if tool.dialect == NAME and isinstance(tool.value, dict):
                return tool.value
            if tool.kind != "custom":
                self._dropped.append(tool.kind)
                return None
            tool = as_function(tool)
        function: dict[str, Any] = {"name": tool.name if self._own else wire_name(tool.name)}
        if tool.description is not None:
            function["description"] = tool.description
        if tool.parameters is not None:
            function["parameters"] = raw(tool.parameters)
        elif not self._own:
            function["parameters"] = raw(_EMPTY_SCHEMA)
        if tool.strict is not None:
            function["strict"] = tool.strict
        elif self._chat.dialect == "openai_responses":
            function["strict"] = True  # T04: what its absence means there
        out: dict[str, Any] = {"type": "function", "function": function}
        if self._own:
            inner = tool.extra.get("function")
            if isinstance(inner, dict):
                function.update(inner)
            out.update({name: value for name, value in tool.extra.items() if name != "function"})
            if tool.cache_control is not None:
                out["cache_control"] = tool.cache_control
        else:
            self._dropped.extend(lost_names(tool.extra))
            if tool.cache_control is not None:
                self._dropped.append("cache_control")
        return out

    def _choice(self, *, legacy: bool) -> str | dict[str, Any] | None:
        choice = self._chat.tool_choice
        if choice is None:
            return None
        if choice.allowed:
            references = [{"type": "function", "function": {"name": self._name(name)}} for name in choice.allowed]
            return {"type": "allowed_tools", "allowed_tools": {"mode": choice.mode, "tools": references}}
        if choice.mode != "tool":
            return choice.mode
        name = choice.name or ""
        if legacy:
            return {"name": name}
        offered = next((tool for tool in self._chat.tools if tool.name == name), None)
        if offered is not None and offered.kind == "custom" and self._own:
            return {"type": "custom", "custom": {"name": name}}
        if not self._own and (offered is None or offered.kind not in ("function", "custom")):
            self._dropped.append("tool_choice")
            return None
        return {"type": "function", "function": {"name": self._name(name)}}

    def _name(self, name: str) -> str:
        return name if self._own else wire_name(name)
