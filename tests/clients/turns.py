"""A scripted turn with tools: the model thinks, speaks and makes two calls at once; given both results it answers."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from gateway.testing import Answer, ReceivedRequest, reply_json
from tests.clients.model import Call, Said, answer

SECRETS = {"first.txt": "swordfish-41", "second.txt": "marlin-42"}
QUESTION = "Read first.txt and second.txt and tell me both passwords."
ANSWER = "The passwords are swordfish-41 and marlin-42."


def write_files(folder: Path) -> None:
    for name, secret in SECRETS.items():
        (folder / name).write_text(f"the password is {secret}\n")


def read_calls(folder: Path) -> tuple[Call, ...]:
    """Claude Code's tool for reading."""
    return tuple(Call(f"toolu_{n}", "Read", {"file_path": str(folder / name)}) for n, name in enumerate(SECRETS))


def shell_calls(folder: Path) -> tuple[Call, ...]:
    """Codex's tool for running a command."""
    return tuple(Call(f"call_{n}", "exec_command", {"cmd": f"cat {name}"}) for n, name in enumerate(SECRETS))


def tool_names(asked: dict[str, Any]) -> set[str]:
    """Return the names of the functions that a request offers, in any dialect."""
    return {tool.get("name") or tool.get("function", {}).get("name", "") for tool in asked.get("tools") or ()}


def turn(calls: tuple[Call, ...]) -> Callable[[ReceivedRequest], Answer]:
    """Return a script: the calls while the tool is offered and has not answered, then the answer."""

    def script(request: ReceivedRequest) -> Answer:
        if request.header("upgrade"):
            return reply_json({"error": {"message": "no WebSocket here", "type": "invalid_request_error"}}, 426)
        if request.method != "POST":
            return reply_json({"error": {"message": "no such page", "type": "invalid_request_error"}}, 404)
        if "count_tokens" in request.path:
            return reply_json({"input_tokens": 50})
        asked = request.json()
        said = json.dumps(asked)
        if all(secret in said for secret in SECRETS.values()):
            return answer(request, Said(text=ANSWER))
        if calls[0].name in tool_names(asked):
            return answer(request, Said(text="I look at both.", thinking="Two files, two calls.", calls=calls))
        return answer(request, Said(text="Two passwords"))  # a title, asked for on the side

    return script
