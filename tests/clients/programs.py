"""Claude Code and Codex as a person runs them without a terminal: one question, one answer, everything on loopback.

Both come from npm into `.tools/clients` (`make test-real`), at the versions of `npm/package-lock.json`. What runs is the
native program in each platform package, so no Node is needed afterwards.
"""

from __future__ import annotations

import asyncio
import json
import os
import platform
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.imports import ROOT

INSTALLED = ROOT / ".tools" / "clients" / "node_modules"
PLATFORM = f"{sys.platform}-{ {'x86_64': 'x64', 'aarch64': 'arm64'}.get(platform.machine(), platform.machine()) }"
LIMIT_S = 90.0
QUIET = {
    "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1", "DISABLE_TELEMETRY": "1", "DISABLE_ERROR_REPORTING": "1",
    "DISABLE_AUTOUPDATER": "1", "NO_PROXY": "127.0.0.1", "HTTPS_PROXY": "http://127.0.0.1:9",
}  # fmt: skip
"""Nothing but the base URL is asked; whatever is tried beyond loopback meets a proxy that is not there."""


@dataclass(frozen=True, slots=True)
class Ran:
    """How a program ended. `events` are the JSON objects it printed."""

    code: int
    out: str
    err: str

    @property
    def events(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.out.splitlines() if line.startswith("{")]


def found(pattern: str) -> Path:
    """Return the program, or skip: it is large and not installed by `make test`."""
    program = next(iter(INSTALLED.glob(pattern)), None)
    if program is None:
        pytest.skip("the client programs are not installed: `make test-real` does that, with npm")
    return program


async def claude_code(url: str, folder: Path, question: str, model: str = "claude-sonnet-4-5") -> Ran:
    """Ask Claude Code in `folder`; it may read files and nothing else."""
    program = found(f"@anthropic-ai/claude-code-{PLATFORM}/claude")
    environ = {"ANTHROPIC_BASE_URL": url, "ANTHROPIC_API_KEY": "sk-any-client-key"}
    return await _run(
        program,
        ["-p", question, "--output-format", "json", "--model", model, "--allowedTools", "Read"],
        environ,
        folder,
    )


CODEX_CONFIG = {
    "openai_base_url": 'openai_base_url = "{url}/v1"\n',
    "model_providers": 'model_provider = "gateway"\n[model_providers.gateway]\nname = "gateway"\n'
    'base_url = "{url}/v1"\nwire_api = "responses"\nenv_key = "OPENAI_API_KEY"\n',
}
"""The two ways to name a server. The first tries a WebSocket before anything else."""


async def codex(url: str, folder: Path, question: str, way: str = "openai_base_url") -> Ran:
    """Ask Codex in `folder`. Its own sandbox needs a kernel that a container may not offer, so it is off."""
    program = found(f"@openai/codex-{PLATFORM}/vendor/*/bin/codex")
    home = folder / "home" / ".codex"
    home.mkdir(parents=True)
    text = 'model = "gpt-5-codex"\ncheck_for_update_on_startup = false\n' + CODEX_CONFIG[way].format(url=url)
    (home / "config.toml").write_text(text + "[analytics]\nenabled = false\n")
    environ = {"CODEX_HOME": str(home), "OPENAI_API_KEY": "sk-any-client-key", "CODEX_API_KEY": "sk-any-client-key"}
    arguments = ["exec", "--skip-git-repo-check", "--json", "--dangerously-bypass-approvals-and-sandbox", question]
    return await _run(program, arguments, environ, folder)


async def _run(program: Path, arguments: list[str], environ: dict[str, str], folder: Path) -> Ran:
    (folder / "home").mkdir(exist_ok=True)
    process = await asyncio.create_subprocess_exec(
        str(program), *arguments, cwd=folder,
        env={"PATH": os.environ["PATH"], "HOME": str(folder / "home"), **QUIET, **environ},
        stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        async with asyncio.timeout(LIMIT_S):
            out, err = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return Ran(process.returncode or 0, out.decode("utf-8", "replace"), err.decode("utf-8", "replace"))
