"""The grammar of an Ollama stream: lines that are not `done`, then one that is; or an error line, then nothing."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any

_COUNTS = (
    "total_duration",
    "load_duration",
    "prompt_eval_count",
    "prompt_eval_duration",
    "eval_count",
    "eval_duration",
)


def check(stream: bytes) -> list[dict[str, Any]]:
    """Return the lines. Raises: AssertionError where the stream leaves the grammar."""
    text = stream.decode()
    assert text == "" or text.endswith("\n"), "the last line has no newline"
    # splitlines, as httpx under the ollama package does: a raw U+2028 inside a string would end a line there.
    rows = text.splitlines()
    lines: list[dict[str, Any]] = [json.loads(row) for row in rows]
    for number, line in enumerate(lines):
        last = number == len(lines) - 1
        if "error" in line:
            assert last and isinstance(line["error"], str), "something follows the error"
            continue
        assert line["done"] is last, f"done is {line['done']} in line {number} of {len(lines)}"
        assert isinstance(line["model"], str)
        datetime.fromisoformat(line["created_at"])
        assert ("message" in line) != ("response" in line)
        said = line.get("message")
        if said is not None:
            assert said["role"] == "assistant" and isinstance(said["content"], str)
            for call in said.get("tool_calls", ()):
                assert isinstance(call["function"]["arguments"], dict) and call["function"]["name"]
        if last:
            assert line["done_reason"] in ("stop", "length")
            assert all(isinstance(line[key], int) and line[key] >= 0 for key in _COUNTS)
            assert line["eval_duration"] > 0
    return lines
