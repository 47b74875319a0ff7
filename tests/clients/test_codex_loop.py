"""A loop as Codex runs it: Responses, `store: false`, encrypted reasoning, and a free-form tool whose input is a patch."""

from __future__ import annotations

import json
from typing import Any

import pytest

from gateway.testing import Answer, ReceivedRequest
from tests.clients.beside import beside
from tests.clients.model import Call, Dialect, Said, answer
from tests.clients.sdks import ASKED, SDKS

PATCH = '*** Begin Patch\n*** Update File: a.py\n@@\n-print("é")\n+print("\\\\n 🚀")\n*** End Patch\n'
TOOL: Any = {"type": "custom", "name": "apply_patch", "description": "Edit files.", "format": {"type": "text"}}
OTHER: Any = {
    "type": "function",
    "name": "exec_command",
    "description": "Run.",
    "strict": False,
    "parameters": {"type": "object", "properties": {"cmd": {"type": "string"}}, "required": ["cmd"]},
}


def says(request: ReceivedRequest) -> Answer:
    """Patch by the one text that the offered function takes; once a result has come, be done."""
    asked = request.json()
    if "patched!" in json.dumps(asked):
        return answer(request, Said(text="Done."))
    tool = next(t.get("function", t) for t in asked["tools"] if "apply_patch" in json.dumps(t))
    schema = tool.get("parameters") or tool["input_schema"]
    [parameter] = schema["properties"]
    assert schema["properties"][parameter]["type"] == "string"
    calls = (Call("call_p", tool["name"], {parameter: PATCH}), Call("call_e", "exec_command", {"cmd": "ls"}))
    return answer(request, Said(thinking="Patch it.", text="Patching.", calls=calls))


@pytest.mark.parametrize("client", ["R"])
@pytest.mark.parametrize("target", ["C", "M", "O"])
@pytest.mark.parametrize("stream", [False, True], ids=["plain", "streamed"])
async def test_a_patch_goes_round_as_free_text(client: Dialect, target: Dialect, stream: bool) -> None:
    async with beside(target, says) as run, SDKS[client].client(run.url) as opened:
        body: dict[str, Any] = {
            "model": ASKED, "tools": [TOOL, OTHER], "store": False, "include": ["reasoning.encrypted_content"],
            "reasoning": {"effort": "medium", "summary": "auto"}, "instructions": "Be Codex.",
        }  # fmt: skip

        async def ask(items: list[Any]) -> Any:
            if not stream:
                return await opened.responses.create(input=items, **body)
            async with opened.responses.stream(input=items, **body) as events:
                return await events.get_final_response()

        items: list[Any] = [{"role": "user", "content": "fix it"}]
        first = await ask(items)
        kinds = [item.type for item in first.output]
        assert kinds == ["reasoning", "message", "custom_tool_call", "function_call"]
        patch, command = first.output[2], first.output[3]
        assert (patch.name, patch.input) == ("apply_patch", PATCH)
        assert json.loads(command.arguments) == {"cmd": "ls"}
        items += [item.to_dict() for item in first.output]
        items += [
            {"type": "custom_tool_call_output", "call_id": patch.call_id, "output": "patched!"},
            {"type": "function_call_output", "call_id": command.call_id, "output": "a.py"},
        ]
        last = await ask(items)
    assert last.output_text == "Done."
    sent = run.sent().json()
    assert "fix it" in json.dumps(sent)
    found = next(_strings(sent, PATCH), None)
    assert found is not None, "the patch is in the history that upstream gets"


def _strings(value: Any, wanted: str) -> Any:
    """Yield every string that holds `wanted`, JSON inside strings included."""
    if isinstance(value, str):
        if wanted in value:
            yield value
        elif value[:1] == "{":
            yield from _strings(json.loads(value), wanted)
    elif isinstance(value, dict | list):
        for inner in value.values() if isinstance(value, dict) else value:
            yield from _strings(inner, wanted)
