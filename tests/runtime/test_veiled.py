"""The text of a configuration without its secrets."""

from __future__ import annotations

import pytest

from gateway.runtime.veiled import veil
from gateway.secret import Secret
from gateway.telemetry import Redactor

SECRET = "hunter2-and-more"


def veiled(text: str, *known: str) -> str:
    shown = veil(text, map(Secret, known), Redactor().clean)
    assert shown.count("\n") == text.count("\n"), shown
    return shown


@pytest.mark.parametrize("text", [
    "providers: {a: {api_key: %s}}",
    "providers: {a: {api_keys: ['%s', \"%s\"]}}",
    "providers:\n  a:\n    api_keys:\n      - %s\n      - ${B}\n    headers: {x-team: %s}",
    "providers: {a: {headers: {Authorization: 'Bearer %s'}}}",
    "admin: {token: %s}",
    "admin:\n  token: >-\n    %s\n    and more\n",
    "admin: {token: \"%s\\\n    %s\"}",
    "plugins: [{auth: {jwt: {secret: %s}, keys: [{name: n, hash: %s}]}}]",
    "plugins: [{mine: {credentials: {user: %s, other: [%s]}}}]",
    "routes: [{name: r, plugins: [{mine: {db_password: %s}}]}]",
    "providers: {a: {api_key: '${A:-%s}'}}",
    "providers: {a: {api_key: '%s${A}'}}",
    "x: &a %s\nadmin: {token: *a}",
    "x: &a {b: [%s]}\nadmin: {secret: *a}",
    "admin: {listen: off} # token: %s",
    "# api_key: %s\nversion: 1",
    "#  password = \"%s\"\nversion: 1",
    "state: redis://user:%s@host/0",
    "state: redis://%s@host/0",
    "note: Bearer %s",
    "admin: {token: *%s}",
    "a: [\nadmin: {token: %s}",
    "a: [\napi_keys:\n  - %s\n  - {b: %s}\n",
    "a: [\ntoken: |\n  %s\n",
])  # fmt: skip
def test_a_literal_where_a_credential_stands_is_never_shown(text: str) -> None:
    shown = veiled(text.replace("%s", SECRET))
    assert SECRET not in shown and "***" in shown


def test_a_known_secret_is_taken_out_wherever_it_stands() -> None:
    text = "plugins:\n  - mine: {colour: %s, note: |\n}\n".replace("|\n", "'no'") + "    # was %s once\n"
    assert SECRET not in veiled(text.replace("%s", SECRET), SECRET)
    key = "first line of a key\nsecond line of a key"
    shown = veiled("a:\n  note: |\n    first line of a key\n    second line of a key\n", key)
    assert "line of a key" not in shown


def test_what_looks_like_a_credential_is_taken_out_of_any_place() -> None:
    assert veiled("note: sk-ant-0123456789abcdef") == "note: ***"


@pytest.mark.parametrize("text", [
    "providers: {a: {api_key: \"${A}\", api_keys: ['${B:-}', \"${file:/run/secrets/c}\"]}}",
    "state: redis://:${PASSWORD}@host:6379/0",
    "providers: {a: {base_url: \"https://${HOST:-127.0.0.1}/v1\"}}",
    "routes:\n- {name: r, match: {model: 'gpt-*', key: [team-a, team-b], header: {x-env: prod}}}",
    "checks: [{given: {model: m, key: team-a}, expect: {route: r}}]",
    "server: {timeouts: {headers: 10s}}",
    "plugins: [{timeouts: {first_token: 10s}}, {rate_limit: {limits: [{per: key, tokens: 100k/min}]}}]",
    "plugins: [{auth: {keys: [{name: team-a, models: ['gpt-*'], budget: $50/month}]}}]",
    "routes: [{name: r, targets: [{target: a/b, params: {max_tokens: 100}}]}] # the first one wins",
    "",
])  # fmt: skip
def test_what_is_no_secret_stays_as_written(text: str) -> None:
    assert veiled(text) == text


def test_lines_keep_their_numbers_whatever_ends_them() -> None:
    shown = veil(
        "version: 1\r\nadmin:\r\n  token: |\r\n    one-secret\r\n    two-secret\r\nroutes: []\r\n", (), Redactor().clean
    )
    assert shown.split("\n")[5] == "routes: []" and "-secret" not in shown
