"""The files of a new home, and how they get to the disk: all of them, or none."""

from __future__ import annotations

import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

from gateway.cli.imports.draft import Draft
from gateway.errors import ConfigError

CHAIN: Final = (
    "request_id", "access_log", "security_headers", "cors", "metrics", "tracing", "auth", "session", "timeouts",
    "circuit_breaker",
)  # fmt: skip
"""The plugins a new home begins with, as far as this version has them."""
OPTIONS: Final[Mapping[str, Mapping[str, Any]]] = {
    "tracing": {"endpoint": "${OTEL_EXPORTER_OTLP_ENDPOINT:-}"},
    "auth": {"jwt": {"secret": "${JWT_SECRET_KEY:-}"}, "anonymous": "when_unconfigured"},
}
"""What they are told: a new home answers before it has a key."""

_HEAD: Final = """# yaml-language-server: $schema=config/schema.json
# `gateway check` proves this file, `gateway explain --model smart` says what a request would meet.
version: 1
"""
_STORES: Final = """
# What limits and sessions count with; sqlite:var/state.db for several workers, redis://… for a fleet.
state: %s
# A row for every request: who, what, how long, at what cost. `gateway keys new NAME --save` keeps keys there.
ledger: sqlite:var/ledger.db
"""
_PROVIDERS: Final = """
# A provider without its key is disabled; echo needs none, so this home answers at once.
providers:
  openai: {api_key: "${OPENAI_API_KEY:-}"}
  anthropic: {api_key: "${ANTHROPIC_API_KEY:-}"}
  echo: {}

# First match wins. Targets are tried in order, then the fallbacks.
routes:
  - name: smart
    match: {model: smart}
    targets: [anthropic/claude-sonnet-4-5, openai/gpt-5]
    fallbacks: [echo/echo]
  - {name: claude, match: {model: "claude-*"}, targets: ["anthropic/*"]}
  - {name: gpt, match: {model: ["gpt-*", "o[0-9]*", "text-embedding-*"]}, targets: ["openai/*"]}
  - {name: echo, match: {model: ["echo", "echo/*"]}, targets: [echo/echo]}

checks:
  - {given: {model: smart}, expect: {route: smart, target: anthropic/claude-sonnet-4-5}}
  - {given: {model: smart, down: [anthropic]}, expect: {target: openai/gpt-5}}
"""
_EXAMPLE: Final = '''"""An example: a header on every answer.

A file in plugins/ is a plugin of the file's name, and `from gateway.plugin import ...` is all that it needs. To use
this one, add `- stamp: {value: hello}` to `plugins:` in gateway.yaml.
"""

from gateway.plugin import Plugin


class Stamp(Plugin):
    """Option `value`: what the header says."""

    options_schema = {
        "type": "object",
        "properties": {"value": {"type": "string", "default": "hello", "description": "What x-stamp says."}},
        "additionalProperties": False,
    }

    async def handle(self, exchange, call_next):
        exchange.headers["x-stamp"] = self.options["value"]
        return await call_next(exchange)
'''
_ENV: Final = """# Credentials, kept out of gateway.yaml. Copy to .env, fill in, and: set -a; . ./.env; set +a
"""
_JWT: Final = "# 32 characters or more: then `gateway token` mints tokens.\nJWT_SECRET_KEY=\n"
_PLAIN = re.compile(r"[A-Za-z_/][A-Za-z0-9_./-]*|[0-9]+(ms|s|m|h|d|xx)")
_RESERVED: Final = {"null", "true", "false"}
_WIDTH: Final = 120


def files_of(draft: Draft | None, plugins: Iterable[str], source: str = "") -> dict[str, str]:
    """Return a new home's files by path, config/schema.json apart; `draft` is what was imported from `source`."""
    available = set(plugins)
    chain: dict[str, Mapping[str, Any]] = {name: OPTIONS.get(name, {}) for name in CHAIN if name in available}
    files = {
        "plugins/stamp.py": _EXAMPLE,
        ".gitignore": ".env\nvar/\n",
    }
    if draft is None:
        files["gateway.yaml"] = _HEAD + _stores("memory:") + _chain_text(chain) + _PROVIDERS
        files[".env.example"] = _ENV + "OPENAI_API_KEY=\nANTHROPIC_API_KEY=\n" + _JWT
        return files
    for name, options in draft.plugins.items():
        chain[name] = {**chain.get(name, {}), **options}
    chain = {name: options for name, options in chain.items() if name not in draft.without}
    head = _HEAD + _imported_note(draft, source) + _stores(draft.state or "memory:")
    files["gateway.yaml"] = head + _chain_text(chain) + _sections(draft)
    files[".env.example"] = _ENV + "".join(f"{name}=\n" for name in draft.variables) + _JWT
    if draft.known:
        lines = "".join(f"{name}: {flow(facts)}\n" for name, facts in draft.known.items())
        files["config/providers.yaml"] = (
            "# Further providers like one that is known: each at its own place or with its own key.\n" + lines
        )
    return files


def _stores(state: str) -> str:
    return _STORES % json.dumps(state)


def _chain_text(chain: Mapping[str, Mapping[str, Any]]) -> str:
    lines = [f"  - {flow({name: options}) if options else name}\n" for name, options in chain.items()]
    own = "# The chain, outermost first. plugins/stamp.py is an example of one's own.\n"
    return "\n" + own + "plugins:" + ("\n" + "".join(lines) if lines else " []\n")


def _imported_note(draft: Draft, source: str) -> str:
    if not draft.lost:
        return f"# Imported from {source}; all of it was carried over.\n"
    lines = "".join(f"#   {path}: {why}\n" for path, why in draft.lost)
    return f"#\n# Imported from {source}. Not carried over:\n{lines}"


def _sections(draft: Draft) -> str:
    providers = "".join(f"  {flow(name)}: {flow(facts)}\n" for name, facts in draft.providers.items())
    routes = "".join(_entry(route) for route in draft.routes)
    text = "\n# A provider without its key is disabled.\nproviders:" + (f"\n{providers}" if providers else " {}\n")
    return text + "\n# First match wins.\nroutes:" + (f"\n{routes}" if routes else " []\n")


def _entry(route: Mapping[str, Any]) -> str:
    """Return a route on one line, or a line for each of its keys when it is long."""
    line = f"  - {flow(route)}\n"
    if len(line) <= _WIDTH:
        return line
    return "  - " + "\n    ".join(f"{key}: {flow(value)}" for key, value in route.items()) + "\n"


def flow(value: Any) -> str:
    """Return `value` as YAML on one line. Every JSON string is a YAML string, so quoting is JSON's."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{flow(str(key))}: {flow(item)}" for key, item in value.items()) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(flow(item) for item in value) + "]"
    if isinstance(value, str) and _PLAIN.fullmatch(value) and value.lower() not in _RESERVED:
        return value
    return json.dumps(value, ensure_ascii=False)


def refuse_unless_new(target: Path) -> None:
    """Raise ConfigError when `target` holds anything: nothing of an operator's is ever overwritten."""
    if target.is_symlink() and not target.exists():
        raise ConfigError("is a link to nowhere", file=str(target), cure="name another folder")
    if target.exists() and not target.is_dir():
        raise ConfigError("is a file", file=str(target), cure="name a folder that does not exist yet, or an empty one")
    if target.is_dir() and any(target.iterdir()):
        raise ConfigError(
            "is not empty, and nothing was changed", file=str(target), cure="name a new or an empty folder"
        )


class Staged:
    """A home being written beside its place; `finish` moves it there, leaving without it removes it.

    A folder that exists already stays the same folder (it may be somebody's current one, or a mounted volume) and
    gets the files moved in; a new one appears in one step.
    """

    def __init__(self, target: Path) -> None:
        self.target = target
        self.is_new = not target.exists()
        beside = target.parent if self.is_new else target
        beside.mkdir(parents=True, exist_ok=True)
        self.folder = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=beside))

    def __enter__(self) -> Staged:
        return self

    def __exit__(self, *_: object) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)

    def write(self, files: Mapping[str, str]) -> None:
        """Write files by their path in the home."""
        for name, text in files.items():
            path = self.folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")

    def finish(self) -> None:
        """Put the home in its place. Raises: ConfigError when something is there by now."""
        if self.is_new:
            self.folder.chmod(0o777 & ~_umask())
            try:
                # rename(2) fails on a folder that is not empty: what came to be there meanwhile is safe.
                self.folder.rename(self.target)
            except OSError as error:
                raise ConfigError(
                    f"cannot be made: {error.strerror}", file=str(self.target), cure="name a new folder"
                ) from None
            return
        if {path.name for path in self.target.iterdir()} - {self.folder.name}:
            raise ConfigError("is not empty any more", file=str(self.target), cure="name a new folder")
        for path in self.folder.iterdir():
            path.rename(self.target / path.name)


def _umask() -> int:
    current = os.umask(0o022)
    os.umask(current)
    return current
