"""Tool calls out of a chat stream, however the server cut and numbered them (A06 to A11, W02, W03).

Servers leave out `index`, `id` or `type`, number from 1, give every call index 0, repeat id and name with every
piece, cut the name in pieces, send arguments as an object, or send none. What comes out is regular: calls count from
0 in order of appearance, the first delta of a call has id and name complete, arguments are never empty in the end.
"""

from __future__ import annotations

from typing import Any

from gateway.chat import ToolCallDelta
from gateway.dialects.json import is_json_object, text_of
from gateway.dialects.names import made_id


class _Call:
    __slots__ = ("arguments", "custom", "extra", "id", "index", "name")

    def __init__(self) -> None:
        self.index: int | None = None  # once it was announced
        self.id = self.name = ""
        self.arguments: list[str] = []
        self.custom = False
        self.extra: dict[str, Any] | None = None


class CallAssembler:
    """The calls of one stream so far; one that never gets a name is none. `seed` makes the ids of those without."""

    __slots__ = ("_announced", "_by_index", "_calls", "seed")

    def __init__(self) -> None:
        self._announced = 0
        self._calls: list[_Call] = []
        self._by_index: dict[int, _Call] = {}
        self.seed = ""

    def __bool__(self) -> bool:
        return any(call.name for call in self._calls)

    def feed(self, pieces: object) -> list[ToolCallDelta]:
        """Take in a chunk's `tool_calls`; what is no piece of a call is passed over."""
        out: list[ToolCallDelta] = []
        for piece in pieces if isinstance(pieces, list) else ():
            if isinstance(piece, dict):
                self._piece(piece, out)
        return out

    def legacy(self, piece: object) -> list[ToolCallDelta]:
        """Take in a chunk's `function_call`, the one call of the older form."""
        if not isinstance(piece, dict) or not (piece.get("name") or piece.get("arguments")):
            return []
        return self.feed([{"index": -1, "function": piece}])

    def close(self) -> list[ToolCallDelta]:
        """Return what was held back: names without arguments, and `{}` for a call that never got any."""
        out: list[ToolCallDelta] = []
        for call in self._calls:
            index = self._announce(call, out)
            if index is not None and not call.arguments and not call.custom:
                call.arguments.append("{}")
                out.append(ToolCallDelta(index, arguments="{}"))
        return out

    def _piece(self, piece: dict[str, Any], out: list[ToolCallDelta]) -> None:
        function = piece.get("function")
        custom = piece.get("custom")
        body = function if isinstance(function, dict) else {}
        if not body.get("name") and isinstance(custom, dict) and custom:
            body = {"name": custom.get("name"), "arguments": custom.get("input")}
        else:
            custom = None
        name, arguments, call_id = body.get("name"), body.get("arguments"), piece.get("id")
        name = name if isinstance(name, str) else ""
        call_id = str(call_id) if call_id else ""
        if arguments is None:
            arguments = ""
        elif not isinstance(arguments, str):
            arguments = text_of(arguments)
        if not (name or arguments or call_id):
            return
        call = self._call(piece.get("index"), call_id, name, arguments)
        if call is None:
            return
        call.custom = call.custom or custom is not None
        if call_id and not call.id:
            call.id = call_id
        if "extra_content" in piece:  # Gemini's thought signature (K13)
            call.extra = {"extra_content": piece["extra_content"]}
        if name and call.index is None and name != call.name:
            call.name += name
        if arguments:
            for known in self._calls[: self._calls.index(call)]:
                self._announce(known, out)
            index = self._announce(call, out)
            call.arguments.append(arguments)
            if index is not None:
                out.append(ToolCallDelta(index, arguments=arguments, custom=call.custom))

    def _call(self, number: object, call_id: str, name: str, arguments: str) -> _Call | None:
        """Return the call a piece belongs to: a new one, or one that was seen."""
        index = number if isinstance(number, int) and not isinstance(number, bool) else None
        call = self._by_index.get(index) if index is not None else (self._calls[-1] if self._calls else None)
        if index is None and call_id:
            call = next((known for known in self._calls if known.id == call_id), None)
        if call is not None and name and self._is_another(call, index, call_id, arguments):
            call = None
        if call is None:
            if not (name or call_id):
                return None  # a piece of nothing
            call = _Call()
            self._calls.append(call)
            if index is not None:
                self._by_index[index] = call
        return call

    def _is_another(self, call: _Call, index: int | None, call_id: str, arguments: str) -> bool:
        if call_id:
            return bool(call.id) and call.id != call_id
        # Neither id nor a number of its own: a call whose arguments are whole is over when a name comes.
        if not call.arguments:
            return index is None and bool(call.name) and bool(arguments) and call.index is not None
        return bool(arguments) and call.arguments[-1].endswith("}") and is_json_object("".join(call.arguments))

    def _announce(self, call: _Call, out: list[ToolCallDelta]) -> int | None:
        """Return the call's number, None while it has no name; the first time say who it is and what it held back."""
        if call.index is None and call.name:
            call.index = self._announced
            self._announced += 1
            if not call.id:
                call.id = made_id(self.seed, call.index, call.name)
            start = ToolCallDelta(call.index, id=call.id, name=call.name, custom=call.custom, extra=call.extra)
            out.append(start)
            if call.arguments:
                out.append(ToolCallDelta(call.index, arguments="".join(call.arguments), custom=call.custom))
        return call.index
