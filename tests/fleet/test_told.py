"""What the commands say of limits, budgets and sessions, and what they refuse."""

from __future__ import annotations

import asyncio
import json
import sys
from hashlib import sha256
from pathlib import Path

import pytest

from tests.fleet.kit import fleet, write_home
from tests.imports import ROOT

KEY = "somebodys-key"
HASH = f"sha256:{sha256(KEY.encode()).hexdigest()}"
REST = """
providers: {echo: {}}
routes:
  - {name: all, match: {model: "echo*"}, targets: [echo/echo]%s}
"""
HOME = f"""\
version: 1
plugins:
  - rate_limit: {{limits: [{{per: key, requests: 2/day}}, {{per: model, concurrency: 7}}]}}
  - auth:
      keys:
        - {{name: ann, hash: "{HASH}", models: [echo], budget: $5/day, limits: {{requests: 10/min, burst: 3}}}}
  - budget: {{limits: [{{per: team, cost: $50/month}}]}}
  - session
  - cache
"""


async def gateway(*words: str) -> tuple[int, str]:
    running = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "gateway", *words,
        cwd=ROOT, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    out, _ = await running.communicate()
    assert running.returncode is not None
    return running.returncode, out.decode()


@pytest.mark.parametrize(
    ("chain", "on_route", "told"),
    [
        (
            ["session", f'auth: {{keys: [{{name: a, hash: "{HASH}"}}]}}'],
            "",
            'gateway.yaml:3:5: plugins[0]: "session" stands before "auth": its paths would be open to everybody; '
            "list auth before it",
        ),
        (
            ["cache", "session"],
            ", plugins: [{cache: {ttl: 1m}}]",
            'gateway.yaml:3:5: plugins[0]: "cache" stands before "session": an answer would be given again whatever '
            "the turns before it, and no turn be kept; list session before it",
        ),
        (
            ["cache"],
            ", plugins: [session]",
            'gateway.yaml:7:74: routes[0].plugins[0]: "session" of this route stands after "cache": an answer would '
            "be given again whatever the turns before it, and no turn be kept; list session globally, before cache",
        ),
    ],
)
async def test_an_order_that_would_do_harm_is_refused_once(
    chain: list[str], on_route: str, told: str, tmp_path: Path
) -> None:
    plugins = "".join(f"  - {each}\n" for each in chain)
    home = write_home(tmp_path, f"version: 1\nplugins:\n{plugins}{REST % on_route}")
    code, said = await gateway("check", str(home))
    assert code == 2
    assert said.count("stands") == 1
    assert told in said


async def test_limits_count_keys_wherever_auth_stands(tmp_path: Path) -> None:
    """Who asks is known before the chain is gone through, so a limit outside of auth counts callers all the same."""
    async with fleet(write_home(tmp_path, HOME + REST % ""), 1) as gateways:
        headers = {"authorization": f"Bearer {KEY}"}
        for _ in range(5):
            assert (await gateways.ask("echo")).status == 401
        said = [await gateways.ask("echo", headers=headers) for _ in range(3)]
        assert [each.status for each in said] == [200, 200, 429]
        assert (await gateways.ask("echo-2", headers=headers)).status == 403


async def test_explain_tells_the_limits_of_the_route_and_of_the_key(tmp_path: Path) -> None:
    home = write_home(tmp_path, HOME + REST % "")
    code, said = await gateway("explain", str(home), "--model", "echo", "--key", "ann", "--json")
    told = json.loads(said)
    assert code == 0
    assert told["limits"]["rate_limit"]["limits"] == [
        {"per": "key", "requests": "2/day"},
        {"per": "model", "concurrency": 7},
    ]
    assert told["limits"]["budget"]["limits"] == [{"per": "team", "cost": "$50/month"}]
    assert told["limits"]["key"] == {"limits": {"requests": "10/min", "burst": 3}, "budget": "$5/day"}
    assert [each["name"] for each in told["plugins"]] == ["rate_limit", "auth", "budget", "session", "cache"]
    code, said = await gateway("explain", str(home), "--model", "echo", "--key", "ann")
    assert "key: {limits: {requests: 10/min, burst: 3}, budget: $5/day}" in said
    code, said = await gateway("explain", str(home), "--model", "echo-2", "--key", "ann")
    assert code == 2
    assert 'this key may not use the model "echo-2": the answer would be 403' in said


async def test_plugins_and_check_show_the_chain(tmp_path: Path) -> None:
    home = write_home(tmp_path, HOME + REST % "")
    for command in ("plugins", "check"):
        code, said = await gateway(command, str(home))
        assert code == 0
        for name in ("rate_limit", "auth", "budget", "session", "cache"):
            assert any({name, "standard"} <= set(line.split()) for line in said.splitlines()), name
        assert KEY not in said
        assert HASH not in said
