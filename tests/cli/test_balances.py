"""What `check`, `explain` and `routes` say of a route whose balance chooses: no more than the file tells."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from gateway.cli import gateway
from gateway.upstream.balance import DRAWN

BALANCES = sorted(DRAWN)


def home(tmp_path: Path, route: str, checks: str = "[]") -> str:
    (tmp_path / "gateway.yaml").write_text(
        "version: 1\n"
        "providers:\n"
        "  a: {dialect: openai, base_url: 'http://127.0.0.1:1/v1', api_key: key-of-a-0001}\n"
        "  b: {dialect: openai, base_url: 'http://127.0.0.1:1/v1', api_key: key-of-b-0001}\n"
        f"routes: [{{name: r, {route}}}]\n"
        f"checks: {checks}\n"
    )
    return str(tmp_path)


def run(*words: str) -> tuple[int, str]:
    got = CliRunner().invoke(gateway, list(words), prog_name="gateway")
    return got.exit_code, got.output


@pytest.mark.parametrize("balance", BALANCES)
def test_explain_names_every_target_that_may_be_first(tmp_path: Path, balance: str) -> None:
    where = home(tmp_path, f"targets: [a/x, b/y], fallbacks: [echo/echo], balance: {balance}")
    told = json.loads(run("explain", where, "--model", "m", "--json")[1])
    assert (told["first"], told["first_of"], told["balance"]) == (None, ["a/x", "b/y"], balance)
    lines = run("explain", where, "--model", "m")[1].splitlines()
    assert any(line.startswith("balance") and f"{balance}: one of 2 targets first" in line for line in lines)
    assert [line.split()[0] for line in lines if "a/x" in line or "b/y" in line or "echo/echo" in line] == ["any", "any", "3"]  # fmt: skip


@pytest.mark.parametrize("balance", BALANCES)
def test_with_one_target_left_the_first_is_known(tmp_path: Path, balance: str) -> None:
    where = home(tmp_path, f"targets: [a/x, b/y], balance: {balance}")
    told = json.loads(run("explain", where, "--model", "m", "--down", "a", "--json")[1])
    assert (told["first"], told["first_of"]) == ("b/y", ["b/y"])


def test_an_ordered_route_has_one_first_target(tmp_path: Path) -> None:
    told = json.loads(run("explain", home(tmp_path, "targets: [a/x, b/y]"), "--model", "m", "--json")[1])
    assert (told["first"], told["first_of"]) == ("a/x", ["a/x"])


@pytest.mark.parametrize("balance", BALANCES)
@pytest.mark.parametrize("expected", ["a/x", "b/y"])
def test_a_check_holds_for_each_target_that_may_be_chosen(tmp_path: Path, balance: str, expected: str) -> None:
    checks = f"[{{given: {{model: m}}, expect: {{target: {expected}}}}}]"
    code, output = run("check", home(tmp_path, f"targets: [a/x, b/y], balance: {balance}", checks))
    assert (code, "1 of 1 hold" in output) == (0, True), output


def test_a_check_fails_for_a_target_that_cannot_be_chosen(tmp_path: Path) -> None:
    checks = "[{given: {model: m}, expect: {target: echo/echo}}]"
    code, output = run(
        "check", home(tmp_path, "targets: [a/x, b/y], fallbacks: [echo/echo], balance: weighted", checks)
    )
    assert code == 2
    assert "expected target echo/echo, but it would go to a/x or b/y" in output


IDLE = [
    ("targets: [{target: a/x, weight: 3}]", "gateway.yaml:5:52: routes[0].targets[0].weight: weight has no meaning under balance ordered"),
    ("balance: fastest, targets: [b/y, {target: a/x, weight: 3}]", "routes[0].targets[1].weight: weight has no meaning under balance fastest"),
    ("targets: [b/y], fallbacks: [{target: a/x, weight: 3}]", "routes[0].fallbacks[0].weight: weight has no meaning under fallbacks"),
    ("targets: [b/y], fallbacks: {any: [{target: a/x, weight: 3}]}", "routes[0].fallbacks.any[0].weight: weight has no meaning under fallbacks"),
]  # fmt: skip


@pytest.mark.parametrize(("route", "warning"), IDLE)
def test_a_weight_that_changes_nothing_is_told_with_its_place_and_cure(
    tmp_path: Path, route: str, warning: str
) -> None:
    code, output = run("check", home(tmp_path, route))
    assert code == 0
    assert warning in output
    assert "; remove it" in output


@pytest.mark.parametrize("balance", ["weighted", "least_busy", "sticky"])
def test_a_weight_that_counts_is_no_warning(tmp_path: Path, balance: str) -> None:
    _, output = run("check", home(tmp_path, f"balance: {balance}, targets: [b/y, {{target: a/x, weight: 3}}]"))
    assert "has no meaning" not in output
