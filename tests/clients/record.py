"""Write down what Claude Code and Codex send: `python -m tests.clients.record`, after `make test-real` installed them.

Each program asks the scripted model itself, with no gateway between. Ids, dates and paths are replaced and long texts
cut, so that the recording is small and says nothing of the machine; every field, header and order is kept.
"""

from __future__ import annotations

import asyncio
import json
import re
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from gateway.testing import ReceivedRequest, ScriptedUpstream
from tests.clients.programs import Ran, claude_code, codex
from tests.clients.turns import QUESTION, read_calls, shell_calls, turn, write_files

FOLDER = Path(__file__).parent / "recorded"
LONGEST = 72
NEVER = {"host", "content-length", "connection"}
CHANGING = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}|[0-9a-f]{40,}")
DAYS = re.compile(r"\b20\d\d-\d\d-\d\d\b(?!T)")
KEPT_TOOLS = 3


def cleaned(value: Any, folder: str, key: str = "") -> Any:
    """Return JSON without what names a machine, a run or a person; long texts cut."""
    if isinstance(value, dict):
        return {name: cleaned(one, folder, name) for name, one in value.items()}
    if isinstance(value, list):
        return [cleaned(one, folder, key) for one in value]
    if isinstance(value, float):
        return 1.5
    if not isinstance(value, str):
        return value
    value = CHANGING.sub("0", value.replace(folder, "folder"))
    if key not in {"anthropic-beta", "name", "type"}:
        value = DAYS.sub("2026-01-01", value)
    cut = key in {"text", "description", "instructions", "content"} or len(value) > 4 * LONGEST
    return value[:LONGEST] if cut and "password" not in value else value


def kept(tools: list[Any]) -> list[Any]:
    """Return a few tools: all that are no plain function, and the first that are."""
    odd = [tool for tool in tools if tool.get("type", "function") not in {"function", "custom"}]
    plain = [tool for tool in tools if tool not in odd]
    few = plain[:KEPT_TOOLS] + [tool for tool in plain[KEPT_TOOLS:] if tool.get("name") in {"Read", "exec_command"}]
    return [tool for tool in tools if tool in odd or tool in few]


def written(request: ReceivedRequest, folder: str) -> dict[str, Any]:
    headers = {name: value for name, value in request.headers if name.lower() not in NEVER}
    headers = {
        name: "Bearer KEY" if name.lower() == "authorization" else "KEY" if name.lower() == "x-api-key" else value
        for name, value in headers.items()
    }
    out: dict[str, Any] = {
        "method": request.method,
        "path": request.path,
        "headers": {name: cleaned(value, folder, name.lower()) for name, value in headers.items()},
    }
    if request.body:
        body = request.json()
        if "tools" in body:
            body["tools"] = kept(body["tools"])
        out["body"] = cleaned(body, folder)
    return out


async def record(name: str, run: Callable[[str, Path], Awaitable[Ran]], calls: Callable[[Path], Any]) -> None:
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        write_files(folder)
        async with ScriptedUpstream(turn(calls(folder))) as upstream:
            ran = await run(upstream.url, folder)
            assert ran.code == 0, ran.err
            found = [written(request, made) for request in upstream.requests]
    FOLDER.mkdir(exist_ok=True)
    (FOLDER / f"{name}.json").write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n", "utf-8")
    print(f"{name}: {len(found)} requests")  # noqa: T201


async def main() -> None:
    await record("claude_code", lambda url, at: claude_code(url, at, QUESTION), read_calls)
    await record("claude_code_adaptive", lambda url, at: claude_code(url, at, QUESTION, "claude-opus-4-7"), read_calls)
    await record("codex", lambda url, at: codex(url, at, QUESTION), shell_calls)


if __name__ == "__main__":
    asyncio.run(main())
