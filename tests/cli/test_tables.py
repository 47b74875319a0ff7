from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import pytest

from tests.cli.conftest import Command


def test_routes_are_shown_in_order_and_aligned(command: Command, home: str) -> None:
    result = command("routes", home)
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    assert lines[0] == "routes:"
    assert [line.split()[0] for line in lines[1:]] == ["name", "smart", "gpt", "files", "env"]
    assert "model smart; tag team=blue" in lines[2]
    assert "anthropic/claude-x, openai/gpt-5 ×3" in lines[2]
    assert "any: echo/echo; context_length: openai/gpt-long" in lines[2]
    assert lines[2].endswith("shout, quiet: off, extra")
    assert "path /openai/**" in lines[4]
    assert "header x-env=prod*" in lines[5]


def test_plugins_are_shown_with_origin_hooks_and_place(command: Command, home: str) -> None:
    result = command("plugins", home)
    assert result.exit_code == 0
    rows = [line.split(maxsplit=4) for line in result.stdout.splitlines()[2:]]
    assert rows[0] == ["chain", "shout", "plugins/shout.py", "handle", "words: [a, b], api_token: ***, limit: 90s"]
    assert rows[1][:2] == ["chain", "quiet"]
    assert result.stdout.splitlines()[4].startswith("  route smart  extra")
    assert "  available    spare" in result.stdout


def test_a_broken_plugin_that_nothing_uses_is_shown_as_such(command: Command, home: str) -> None:
    command.write("import no_such_package\n", "plugins/broken.py")
    result = command("plugins", home)
    assert result.exit_code == 0
    assert 'cannot be loaded: plugins/broken.py:1:1: needs the module "no_such_package"' in result.stdout


def test_schema_is_valid_and_holds_the_options_of_the_homes_plugins(command: Command, home: str) -> None:
    result = command("schema", home)
    assert result.exit_code == 0
    schema = json.loads(result.stdout)
    jsonschema.Draft202012Validator.check_schema(schema)
    assert "words" in json.dumps(schema["$defs"])


def test_no_home_is_told_with_a_cure(command: Command) -> None:
    command.folder.mkdir()
    result = command("routes", str(command.folder))
    assert result.exit_code == 2
    assert "is a folder without gateway.yaml" in result.stderr
    assert "gateway init" in result.stderr


def test_gateway_home_names_the_home_when_the_current_folder_is_none(
    command: Command, home: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown = command("routes", home).stdout
    monkeypatch.chdir(tmp_path)
    assert command("routes", env={"GATEWAY_HOME": home}).stdout == shown
    monkeypatch.chdir(home)
    assert command("routes", env={"GATEWAY_HOME": "/nowhere"}).stdout == shown


def test_unknown_command_and_option_exit_2_with_a_suggestion(command: Command, home: str) -> None:
    result = command("chek")
    assert result.exit_code == 2
    assert 'no command "chek"; did you mean "check"?' in result.stderr
    result = command("explain", home, "--modle", "x")
    assert result.exit_code == 2
    assert "--model" in result.stderr


def test_version_and_help(command: Command) -> None:
    assert command("--version").stdout == "gateway 0.1.0\n"
    helped = command("--help")
    assert helped.exit_code == 0
    for name in ("serve", "check", "explain", "routes", "plugins", "init", "schema"):
        assert f"\n  {name} " in helped.stdout
