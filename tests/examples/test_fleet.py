"""examples/fleet: two gateways of two workers each, over one real server of the Redis protocol."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tests.examples.readme import blocks
from tests.imports import ROOT
from tests.serving import run, serving
from tests.state.servers import Server

HOME = ROOT / "examples" / "fleet"
SECOND = "http://127.0.0.1:8090"


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[str]:
    server = Server(tmp_path / "redis")
    try:
        yield f"redis://127.0.0.1:{server.port}"
    finally:
        server.kill()


async def test_two_gateways_count_together_and_share_conversations(tmp_path: Path, redis: str) -> None:
    home = Path(shutil.copytree(HOME, tmp_path / "home", ignore=shutil.ignore_patterns("var")))
    [block] = blocks(home / "README.md", "bash")
    environ = {"STATE_URL": redis}
    async with serving(home, environ=environ) as first, serving(home, environ=environ) as second:
        made = json.loads(await run("curl", "-sSf", "-X", "POST", f"{first.url}/v1/sessions"))
        said = json.dumps({"model": "m", "session_id": made["id"], "messages": [{"role": "user", "content": "hi"}]})
        await run("curl", "-sSf", f"{second.url}/v1/chat/completions", "-d", said)
        session = json.loads(await run("curl", "-sSf", f"{first.url}/v1/sessions/{made['id']}"))
        printed = await run("bash", "-euo", "pipefail", "-c", block.at(first.url).replace(SECOND, second.url))
    assert [message["role"] for message in session["messages"]] == ["user", "assistant"]
    counts = {status: int(count) for count, status in re.findall(r"(\d+) (\d{3})", printed)}
    assert set(counts) == {"200", "429"}
    # One of the twenty went to the conversation; a machine under load lets one come back every 3 s.
    assert 16 <= counts["200"] <= 24
    assert sum(counts.values()) == 30


async def test_without_a_server_the_workers_of_one_machine_count_together(tmp_path: Path) -> None:
    home = Path(shutil.copytree(HOME, tmp_path / "home", ignore=shutil.ignore_patterns("var")))
    async with serving(home) as gateway:
        await run("curl", "-sSf", f"{gateway.url}/v1/chat/completions", "-d", '{"model": "m", "messages": []}')
    assert {"state.db", "ledger.db"} <= {path.name for path in (home / "var").iterdir()}


def test_the_compose_file_names_what_it_has() -> None:
    whole = yaml.safe_load((HOME / "compose.yaml").read_text("utf-8"))
    services = whole["services"]
    assert set(services) == {"gateway-1", "gateway-2", "redis", "postgres"}
    ports = [service["ports"] for service in services.values() if "ports" in service]
    assert len({port for each in ports for port in each}) == 2
    for name in ("gateway-1", "gateway-2"):
        environ = services[name]["environment"]
        assert environ["STATE_URL"] == "redis://redis:6379"
        assert environ["LEDGER_URL"].endswith("@postgres/gateway")
        assert set(services[name]["depends_on"]) == {"redis", "postgres"}
    assert all("healthcheck" in services[name] for name in ("redis", "postgres"))
    given = set(re.findall(r"\$\{([A-Z_]+)", (HOME / "gateway.yaml").read_text("utf-8")))
    assert given <= set(services["gateway-1"]["environment"])
