"""`gateway keys` and `gateway token`."""

from __future__ import annotations

import re
from hashlib import sha256

import jwt
import pytest
import yaml

from gateway.testing import running_gateway
from tests.cli.conftest import Command

SECRET = "s" * 32
ROUTES = "routes: [{name: e, match: {model: [echo, gpt-x]}, targets: [echo/echo]}]\n"
LEDGER = "version: 1\nledger: sqlite:var/ledger.db\nplugins: [{auth: {}}]\n" + ROUTES
TOKENS = f"version: 1\nplugins: [{{auth: {{jwt: {{secret: {SECRET}, issuer: me, audience: [a, b]}}}}}}]\n" + ROUTES


def made(output: str) -> tuple[str, dict[str, object]]:
    key, line = output.splitlines()
    (entry,) = yaml.safe_load(line)
    return key, entry


def test_new_prints_the_key_once_and_the_line_for_the_file(command: Command) -> None:
    result = command("keys", "new", "team-a")
    assert result.exit_code == 0
    key, entry = made(result.stdout)
    assert re.fullmatch(r"gw-[\w-]{43}", key) and key not in result.stderr
    assert entry == {"name": "team-a", "hash": "sha256:" + sha256(key.encode()).hexdigest()}
    assert key != made(command("keys", "new", "team-a").stdout)[0]


async def test_the_line_pasted_into_the_file_lets_the_key_in_with_its_bounds(command: Command) -> None:
    result = command(
        "keys", "new", "123", "--models", "gpt-*,smart", "--models", "x", "--budget", "$5/day", "--expires-in", "2w"
    )
    key, entry = made(result.stdout)
    assert entry["name"] == "123" and entry["models"] == ["gpt-*", "smart", "x"] and entry["budget"] == "$5/day"
    line = result.stdout.splitlines()[1]
    async with running_gateway(f"plugins:\n  - auth:\n      keys:\n        {line}\n{ROUTES}") as gateway:
        for model, status in (("gpt-x", 200), ("echo", 403)):
            body = {"model": model, "messages": [{"role": "user", "content": "hi"}]}
            answer = await gateway.post("/v1/chat/completions", body, headers={"x-api-key": key})
            assert answer.status == status


def test_saved_keys_are_listed_and_revoked_and_the_key_itself_is_kept_nowhere(command: Command) -> None:
    home = command.write(
        LEDGER.replace("{auth: {}}", f"{{auth: {{keys: [{{name: filed, hash: 'sha256:{'a' * 64}'}}]}}}}")
    )
    result = command("keys", "new", "team-a", home, "--save", "--budget", "$9.50/month", "--models", "gpt-*")
    assert result.exit_code == 0, result.output
    assert "the plugin budget is in no chain, so nothing holds the key's budget" in result.stderr
    assert "the plugin auth" not in result.stderr
    key, _ = made(result.stdout)
    listed = command("keys", "list", home)
    assert listed.exit_code == 0 and key not in listed.output
    assert re.search(r"gateway\.yaml +filed +active +sha256:a{12}… +all", listed.stdout)
    assert re.search(r"ledger +team-a +active +sha256:\w{12}… +gpt-\* +\$9\.50/month", listed.stdout)
    assert command("keys", "revoke", "team-a", home).stdout == "revoked 1 key of team-a\n"
    assert "revoked" in command("keys", "list", home).stdout
    for name, said in (("team-a", 'no saved key is called "team-a"'), ("filed", "stands in gateway.yaml")):
        again = command("keys", "revoke", name, home)
        assert again.exit_code == 2 and said in again.stderr
    assert not any(key.encode() in file.read_bytes() for file in command.folder.rglob("*") if file.is_file())


def test_saving_and_revoking_need_a_ledger_and_listing_does_not(command: Command) -> None:
    home = command.write(TOKENS)
    for arguments in (("new", "a", home, "--save"), ("revoke", "a", home)):
        result = command("keys", *arguments)
        assert result.exit_code == 2 and "no ledger" in result.stderr and not result.stdout
    assert command("keys", "list", home).stdout == "keys: none\n"


@pytest.mark.parametrize(
    "arguments",
    [
        ("new", "two words"), ("new", ""), ("new", "ä"), ("new", "a", "--budget", "5"), ("new", "a", "--models", ","),
        ("new", "a", "--expires-in", "soon"), ("new", "a", "--expires-in", "0s"), ("new", "a", "--expires-in", "999999w"),
        ("new",), ("revoke",), ("renew", "a"), ("list", "/no/such/home"),
    ],
)  # fmt: skip
def test_wrong_usage_is_2_and_makes_no_key(command: Command, arguments: tuple[str, ...]) -> None:
    result = command("keys", *arguments)
    assert result.exit_code == 2 and "gw-" not in result.output


@pytest.mark.parametrize(
    ("given", "seconds"), [("30s", 30), ("15m", 900), ("12h", 43_200), ("7d", 604_800), ("2w", 1_209_600)]
)
def test_token_mints_what_the_gateway_takes(command: Command, given: str, seconds: int) -> None:
    result = command("token", command.write(TOKENS), "--sub", "alice", "--expires-in", given)
    assert result.exit_code == 0, result.output
    claims = jwt.decode(result.stdout.strip(), SECRET, ["HS256"], audience="a", issuer="me")
    assert claims["sub"] == "alice" and claims["exp"] - claims["iat"] == seconds and claims["jti"]


async def test_a_minted_token_gets_in_and_holds_a_week_unless_told_otherwise(command: Command) -> None:
    minted = command("token", command.write(TOKENS)).stdout.strip()
    claims = jwt.decode(minted, options={"verify_signature": False})
    assert claims["exp"] - claims["iat"] == 7 * 86_400
    async with running_gateway(TOKENS) as gateway:
        assert (await gateway.get("/v1/models", headers={"authorization": f"Bearer {minted}"})).status == 200


@pytest.mark.parametrize(
    ("config", "arguments", "said"),
    [
        (TOKENS, ("--expires-in", "31d"), "max_lifetime allows"),
        (TOKENS, ("--expires-in", "7"), "is not a duration"),
        (TOKENS, ("--sub", "two words"), "visible ASCII"),
        (LEDGER, (), "no jwt.secret is configured"),
        (LEDGER.replace("{auth: {}}", ""), (), "auth is not in the chain"),
        (TOKENS.replace(SECRET, "short"), (), "32 characters or more"),
    ],
)  # fmt: skip
def test_a_token_that_could_not_be_used_is_not_minted(
    command: Command, config: str, arguments: tuple[str, ...], said: str
) -> None:
    result = command("token", command.write(config), *arguments)
    assert result.exit_code == 2 and said in result.stderr and not result.stdout
