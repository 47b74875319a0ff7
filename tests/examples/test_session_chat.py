"""examples/session_chat: exactly what its README says."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from tests.examples.readme import blocks
from tests.imports import ROOT
from tests.serving import run, serving

HOME = ROOT / "examples" / "session_chat"


async def test_its_commands_go_on_with_one_session_in_two_dialects(tmp_path: Path) -> None:
    [block] = blocks(HOME / "README.md", "bash")
    (tmp_path / "gateway.yaml").write_text((HOME / "gateway.yaml").read_text("utf-8"))
    command = tmp_path / "gateway"
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m gateway "$@"\n')
    command.chmod(0o755)
    async with serving(tmp_path) as gateway:
        environ = {"PATH": f"{tmp_path}:/usr/local/bin:/usr/bin:/bin", "PYTHONPATH": str(ROOT)}
        printed = await run("bash", "-euo", "pipefail", "-c", block.at(gateway.url), environ=environ)
    assert printed.startswith("my name is Ann\nand what is my name?\n")
    shown = json.loads(printed[printed.index('{"id": "sess_') :])
    assert [message["role"] for message in shown["messages"]] == ["user", "assistant"] * 3
    assert [message["content"] for message in shown["messages"]][::2] == [
        "my name is Ann", "and what is my name?\n", "a third turn",
    ]  # fmt: skip
    assert shown["context"] == {"customer": 7}
