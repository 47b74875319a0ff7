"""A home in a temporary folder, and the command run on it in this process."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from gateway.cli import gateway

HOME = """version: 1
plugins:
  - shout: {words: [a, b], api_token: tok-visible-never}
  - quiet
providers:
  anthropic: {api_key: sk-ant-canary-0123456789}
  openai: {api_key: "${NO_SUCH_VARIABLE:-}"}
  echo: {}
routes:
  - name: smart
    match: {model: smart, tags: {team: blue}}
    targets: [anthropic/claude-x, {target: openai/gpt-5, weight: 3}]
    fallbacks: {any: [echo/echo], context_length: [openai/gpt-long]}
    plugins: [{shout: {words: [c]}}, {quiet: "off"}, {extra: {limit: 5m}}]
  - {name: gpt, match: {model: ["gpt-*", "o[0-9]*"]}, targets: ["openai/*"]}
  - {name: files, match: {path: "/openai/**"}, targets: ["openai/*"]}
  - {name: env, match: {model: special, header: {X-Env: "prod*"}}, targets: [echo/echo]}
"""
PLUGIN = """from gateway.plugin import ConfigError, Plugin


class A(Plugin):
    options_schema = {
        "type": "object",
        "properties": {
            "words": {"type": "array", "items": {"type": "string"}, "default": []},
            "limit": {"type": "string", "format": "duration", "default": "90s"},
            "api_token": {"type": "string", "default": ""},
        },
        "additionalProperties": False,
    }

    def __init__(self, options, services):
        super().__init__(options, services)
        if "bad" in options["words"]:
            raise ConfigError("words may not hold bad", cure="take it out")

    async def handle(self, exchange, call_next):
        return await call_next(exchange)
"""


class Command:
    """Runs `gateway …` in this process."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.env: dict[str, str | None] = {}

    def __call__(self, *args: str, env: Mapping[str, str] | None = None) -> Result:
        return CliRunner().invoke(gateway, list(args), env={**self.env, **(env or {})}, prog_name="gateway")

    def write(self, text: str, path: str = "gateway.yaml") -> str:
        file = self.folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        return str(self.folder)


@pytest.fixture
def command(tmp_path: Path) -> Command:
    """A command, and a folder to write a home into."""
    return Command(tmp_path / "home")


@pytest.fixture
def home(command: Command) -> str:
    """A home with a bit of everything."""
    for name in ("shout", "quiet", "extra", "spare"):
        command.write(PLUGIN, f"plugins/{name}.py")
    return command.write(HOME)
