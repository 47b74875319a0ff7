"""What a start loads: what its configuration asks for, and no more."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.serving import serving

HEAVY = {
    "aiosqlite", "anthropic", "asyncpg", "cryptography", "genai_prices", "httpx", "jinja2", "jsonschema", "jwt",
    "langgraph", "openai", "opentelemetry", "prometheus_client", "pydantic", "redis", "referencing", "rich",
    "sqlalchemy", "watchfiles",
}  # fmt: skip
"""Packages that some configuration needs; each takes milliseconds and megabytes."""
HOME = """
version: 1
ledger: sqlite:var/ledger.db
plugins: [request_id, access_log, security_headers, metrics, rate_limit: {limits: [{per: ip, requests: 60/min}]},
  timeouts, circuit_breaker, auth: {keys: [{name: ann, hash: "sha256:%s"}]}]
providers: {echo: {}}
routes: [{name: all, targets: [echo/echo]}]
"""


@pytest.mark.parametrize(
    ("admin", "known"), [("off", {"gateway.admin"}), ("127.0.0.1:0", set())], ids=["alone", "with its dashboard"]
)
async def test_a_start_loads_no_more_than_its_configuration_asks_for(
    admin: str, known: set[str], tmp_path: Path
) -> None:
    (tmp_path / "gateway.yaml").write_text(HOME % ("0" * 64))
    command = (sys.executable, "-X", "importtime", "-m", "gateway")
    async with serving(tmp_path, command=command, admin=admin) as running:
        ready = next(number for number, line in enumerate(running.lines) if line.startswith("ready:"))
        loaded = {line.rpartition("|")[2].strip() for line in running.lines[:ready] if line.startswith("import time:")}
    assert {"aiohttp", "yaml"} <= loaded
    assert not loaded & (HEAVY | known)
