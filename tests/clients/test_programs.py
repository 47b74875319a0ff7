"""Claude Code and Codex complete a turn with two parallel tools against a target of every dialect. `make test-real`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.clients.beside import Beside, beside
from tests.clients.model import DIALECTS, Dialect
from tests.clients.programs import CODEX_CONFIG, claude_code, codex
from tests.clients.turns import ANSWER, QUESTION, SECRETS, read_calls, shell_calls, turn, write_files

pytestmark = [pytest.mark.real, pytest.mark.timeout(180)]
MODELS = ("claude-sonnet-4-5", "claude-opus-4-7")
"""An older model, asked with a thinking budget, and a newer one: adaptive, with `role: system` among the messages."""


def results_upstream(run: Beside) -> bool:
    """Return whether the last request carried both files' words to upstream."""
    said = json.dumps(run.sent().json())
    return all(secret in said for secret in SECRETS.values())


def statuses(run: Beside, path: str) -> list[int]:
    return [
        line["status"] for line in run.gateway.events("request") if line["path"] == path and line["method"] == "POST"
    ]


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("target", DIALECTS)
async def test_claude_code_completes_a_turn_with_parallel_tools(target: Dialect, model: str, tmp_path: Path) -> None:
    write_files(tmp_path)
    async with beside(target, turn(read_calls(tmp_path))) as run:
        ran = await claude_code(run.url, tmp_path, QUESTION, model)
        assert ran.code == 0, ran.err
        result = ran.events[-1]
        assert (result["is_error"], result["result"], result["num_turns"]) == (False, ANSWER, 3)
        assert result["permission_denials"] == []
        assert results_upstream(run)
        assert set(statuses(run, "/v1/messages")) == {200}


@pytest.mark.parametrize("way", CODEX_CONFIG)
@pytest.mark.parametrize("target", DIALECTS)
async def test_codex_completes_a_turn_with_parallel_tools(target: Dialect, way: str, tmp_path: Path) -> None:
    write_files(tmp_path)
    async with beside(target, turn(shell_calls(tmp_path))) as run:
        ran = await codex(run.url, tmp_path, QUESTION, way)
        assert ran.code == 0, ran.err
        items = [event["item"] for event in ran.events if event["type"] == "item.completed"]
        assert [item["text"] for item in items if item["type"] == "agent_message"] == ["I look at both.", ANSWER]
        commands = [item for item in items if item["type"] == "command_execution"]
        assert [(item["exit_code"], item["status"]) for item in commands] == [(0, "completed")] * 2
        assert ran.events[-1]["type"] == "turn.completed"
        assert ran.events[-1]["usage"]["input_tokens"] == 40
        assert results_upstream(run)
        assert statuses(run, "/v1/responses") == [200, 200]
