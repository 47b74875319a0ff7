from __future__ import annotations

import json

from tests.cli.conftest import Command

WITH_KEYS = """
  - auth:
      keys:
        - {name: team-blue, hash: "sha256:%s", tags: {team: blue}}
""" % ("0" * 64)


def blue(command: Command, home: str) -> str:
    """Give the home an auth plugin whose key team-blue has the tag that the route smart wants."""
    text = (command.folder / "gateway.yaml").read_text()
    command.write(text.replace("plugins:\n", "plugins:" + WITH_KEYS, 1))
    return home


def test_explain_says_route_targets_with_their_state_and_the_chain(command: Command, home: str) -> None:
    result = command("explain", blue(command, home), "--model", "smart", "--key", "team-blue", "--json")
    assert result.exit_code == 0, result.output
    report = json.loads(result.stdout)
    assert report["route"] == "smart"
    assert report["why"] == "model smart is smart; tag team blue is blue"
    assert [(each["target"], each["for"], each["state"], each["why"]) for each in report["targets"]] == [
        ("anthropic/claude-x", "target", "enabled", ""),
        ("openai/gpt-5", "target", "disabled", "no key: set OPENAI_API_KEY"),
        ("echo/echo", "any", "enabled", ""),
        ("openai/gpt-long", "context_length", "disabled", "no key: set OPENAI_API_KEY"),
    ]
    assert report["first"] == "anthropic/claude-x"
    assert [each["name"] for each in report["plugins"]] == ["auth", "shout", "extra"]
    assert report["plugins"][1]["options"]["words"] == ["c"]
    assert report["plugins"][1]["hooks"] == ["handle"]
    assert report["plugins"][2]["options"]["limit"] == "5m"
    assert report["timeouts"] == {"connect": "5s", "first_token": "30s", "idle": "1m", "total": "10m"}
    assert report["limits"] == {"max_body": "20MiB", "max_in_flight": 2000}


def test_explain_as_text_tells_the_same(command: Command, home: str) -> None:
    result = command("explain", home, "--model", "gpt-5")
    assert result.exit_code == 0
    assert "route     gpt (gateway.yaml:15)" in result.stdout
    assert "1  openai/*  gpt-5                disabled  no key: set OPENAI_API_KEY" in result.stdout
    assert "no target can be used: the answer would be 503" in result.stdout
    assert "smart  model gpt-5 is not smart" in result.stdout


def test_down_takes_a_provider_out_of_the_order(command: Command, home: str) -> None:
    result = command(
        "explain", blue(command, home), "--model", "smart", "--key", "team-blue", "--down", "anthropic", "--json"
    )
    report = json.loads(result.stdout)
    assert report["targets"][0]["state"] == "down"
    assert report["first"] == "echo/echo"


def test_explain_by_path_needs_no_model(command: Command, home: str) -> None:
    report = json.loads(command("explain", home, "--path", "/openai/v1/files/", "--json").stdout)
    assert (report["route"], report["first"]) == ("files", None)


def test_header_is_a_condition(command: Command, home: str) -> None:
    taken = command("explain", home, "--model", "special", "--header", "x-env=production", "--json")
    assert json.loads(taken.stdout)["route"] == "env"
    assert command("explain", home, "--model", "special", "--header", "x-env=dev").exit_code == 2


def test_request_that_no_route_takes_exits_2_and_says_why(command: Command, home: str) -> None:
    result = command("explain", home, "--model", "zzz")
    assert result.exit_code == 2
    assert result.stdout == ""
    assert 'no route takes model "zzz" on /v1/chat/completions: the answer would be 404' in result.stderr
    assert "gpt: model zzz is not one of gpt-*, o[0-9]*" in result.stderr
    as_json = command("explain", home, "--model", "zzz", "--json")
    assert (as_json.exit_code, json.loads(as_json.stdout)["route"]) == (2, None)


def test_explain_wants_a_model_or_a_path(command: Command, home: str) -> None:
    result = command("explain", home)
    assert result.exit_code == 2
    assert "--model M, --path P or both" in result.stderr


def test_unknown_provider_after_down_is_wrong_usage(command: Command, home: str) -> None:
    result = command("explain", home, "--model", "gpt-5", "--down", "opnai")
    assert result.exit_code == 2
    assert 'no provider "opnai"; there are: anthropic, echo, openai' in result.stderr


def test_credentials_are_never_printed(command: Command, home: str) -> None:
    blue(command, home)
    outputs = [
        command("explain", home, "--model", "gpt-5", "--json"),
        command("explain", home, "--model", "gpt-5"),
        command("plugins", home),
        command("routes", home),
    ]
    for result in outputs:
        assert result.exit_code == 0
        assert "canary" not in result.output
        assert "tok-visible-never" not in result.output
        assert "0" * 64 not in result.output
    assert '"api_token": "***"' in outputs[0].stdout
