from __future__ import annotations

import pytest

from tests.cli.conftest import Command

BASE = """version: 1
providers:
  anthropic: {api_key: ""}
  openai: {api_key: ""}
routes:
  - {name: smart, match: {model: smart}, targets: [anthropic/claude-x, openai/gpt-5], fallbacks: [echo/echo]}
  - {name: claude, match: {model: "claude-*"}, targets: ["anthropic/*"]}
checks:
"""


def test_check_prints_what_was_resolved(command: Command, home: str) -> None:
    result = command("check", home)
    assert result.exit_code == 0, result.output
    out = result.stdout
    assert f"home    {home}" in out
    assert "files   gateway.yaml" in out
    assert "anthropic  anthropic  enabled" in out
    assert "openai     openai     disabled  no key: set OPENAI_API_KEY" in out
    assert "smart  model smart; tag team=blue" in out
    assert "shout  plugins/shout.py  handle" in out
    assert "warnings:" in out
    assert out.endswith("\nok\n")
    assert "canary" not in result.output
    assert "tok-visible-never" not in result.output


@pytest.mark.parametrize(
    "given",
    [
        "{given: {model: smart}, expect: {route: smart, target: anthropic/claude-x}}",
        "{given: {model: smart, down: [anthropic]}, expect: {target: openai/gpt-5}}",
        "{given: {model: smart, down: [anthropic, openai]}, expect: {target: echo/echo}}",
        "{given: {model: claude-9}, expect: {target: anthropic/claude-9}}",
        '{given: {model: claude-9}, expect: {target: "anthropic/*"}}',
    ],
)
def test_checks_that_hold_count_disabled_providers_as_enabled(command: Command, given: str) -> None:
    result = command("check", command.write(BASE + f"  - {given}\n"))
    assert result.exit_code == 0, result.output
    assert "checks  1 of 1 hold" in result.stdout


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (
            "{given: {model: smart}, expect: {target: openai/gpt-5}}",
            "expected target openai/gpt-5, but it would go to anthropic/claude-x; see gateway explain --model smart",
        ),
        (
            "{given: {model: claude-9}, expect: {route: smart}}",
            "expected route smart, but route claude takes the request (model claude-9 fits claude-*)",
        ),
        (
            "{given: {model: zzz}, expect: {route: smart}}",
            "expected route smart, but no route takes the request (smart: model zzz is not smart;",
        ),
        (
            "{given: {model: claude-9, down: [anthropic]}, expect: {target: anthropic/claude-9}}",
            "expected target anthropic/claude-9, but no target could be used",
        ),
    ],
)
def test_failing_check_says_what_was_expected_and_what_would_happen(command: Command, given: str, said: str) -> None:
    result = command("check", command.write(BASE + f"  - {given}\n"))
    assert result.exit_code == 2
    assert result.stdout == ""
    assert result.stderr.startswith("gateway.yaml:9:5: checks[0]: ")
    assert said in result.stderr


def test_every_error_is_printed_with_its_place(command: Command) -> None:
    folder = command.write(
        "version: 1\nproviders:\n  opnai: {}\nroutes:\n  - {name: a, targets: [nope/x]}\n  - {nam: b}\n"
    )
    result = command("check", folder)
    assert result.exit_code == 2
    assert result.stdout == ""
    places = [line.split(": ")[0] for line in result.stderr.splitlines()]
    assert {place.split(":")[1] for place in places} == {"3", "5", "6"}
    assert all(place.startswith("gateway.yaml:") for place in places)


def test_option_that_only_the_plugin_itself_refuses_is_found_at_its_entry(command: Command, home: str) -> None:
    text = (command.folder / "gateway.yaml").read_text().replace("words: [a, b]", "words: [bad]")
    result = command("check", command.write(text))
    assert result.exit_code == 2
    assert result.stderr.startswith("gateway.yaml:3:5: plugins[0]")
    assert "words may not hold bad; take it out" in result.stderr


def test_plugin_that_breaks_while_it_is_made_is_told_at_its_entry(command: Command, home: str) -> None:
    text = (command.folder / "plugins/quiet.py").read_text()
    command.write(text.replace('if "bad" in', "if 1 / 0 in"), "plugins/quiet.py")
    result = command("check", home)
    assert result.exit_code == 2
    assert result.stderr.startswith("gateway.yaml:4:5: plugins[1]: ")
    assert 'plugin "quiet" could not be made: ZeroDivisionError: division by zero' in result.stderr


def test_plugin_that_cannot_be_loaded_is_told_with_its_own_line(command: Command, home: str) -> None:
    command.write("x = (\n", "plugins/quiet.py")
    result = command("check", home)
    assert result.exit_code == 2
    assert "plugins/quiet.py:1:5: not valid Python: '(' was never closed" in result.stderr


def test_unknown_plugin_is_told_with_a_suggestion(command: Command) -> None:
    result = command("check", command.write("version: 1\nplugins: [request_ids]\nroutes: []\n"))
    assert result.exit_code == 2
    assert 'unknown plugin "request_ids"; did you mean "request_id"?' in result.stderr
