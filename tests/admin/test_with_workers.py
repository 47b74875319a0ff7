"""The dashboard of several workers: what the hub tells is true of all of them, and a ticket is known to each."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.server.process import Process, process

HOME = """
version: 1
state: sqlite:state.db
ledger: sqlite:ledger.db
admin: {listen: "127.0.0.1:0"}
server: {drain: {lame_duck: 0s}}
plugins: [request_id]
routes:
- {name: r, match: {model: m}, targets: [echo/one, echo/two]}
"""


async def run(group: Process, **given: Any) -> dict[str, dict[str, Any]]:
    """Return what a prompt is told, by kind, the last of each."""
    body = {"model": "m", "user": "hello", **given}
    async with group.session.post(group.admin + "/api/playground", json=body) as answer:
        assert answer.status == 200
        told = [json.loads(line) for line in (await answer.text()).splitlines()]
        return {each["type"]: each for each in told}


async def test_every_worker_knows_a_ticket_and_the_row_of_any_is_found(tmp_path: Path) -> None:
    (tmp_path / "gateway.yaml").write_text(HOME)
    async with process(tmp_path, "--workers", "2", "--listen", "0.0.0.0:0") as group:
        for target in ("echo/two", "echo/one") * 3:
            told = await run(group, target=target)
            assert "error" not in told and told["head"]["target"] == told["row"]["target"] == target
        (tmp_path / "gateway.yaml").write_text(HOME.replace("name: r,", "name: changed,"))
        assert (await group.post("/api/reload", {}, group.admin))[0] == 200
        _, told_now = await group.get("/api/configuration", group.admin)
        assert [line[0] for line in told_now["previous"]["diff"][0]["lines"] if line[1:].startswith("- {name")] == [
            "-",
            "+",
        ]
        assert (await run(group))["head"]["route"] == "changed"
        _, route = await group.get("/api/routes/changed", group.admin)
        assert route["plugins"][0]["time"]["count"] == 1 and route["targets"][0]["state"] == "enabled"


async def test_the_playground_finds_a_data_listener_on_a_unix_socket(tmp_path: Path) -> None:
    (tmp_path / "gateway.yaml").write_text(HOME)
    async with process(tmp_path, "--listen", f"unix:{tmp_path}/data.sock") as single:
        told = await run(single, target="echo/two")
        assert told["head"]["target"] == "echo/two" and told["usage"]["completion_tokens"] > 0
        status, models = await single.post("/api/playground/models", {}, single.admin)
        assert (status, models) == (200, {"models": ["m"]})
