"""gateway.yaml as a Config: defaults, overrides, expansions, includes."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.runtime.config import AdminConfig, ServerConfig
from gateway.runtime.load import load_config
from tests.runtime.configuration import ENVIRON, FixedCatalog, errors, load, write


def test_the_least_file_has_every_default(tmp_path: Path) -> None:
    config = load(tmp_path, "version: 1")
    assert config.server == ServerConfig()
    assert config.admin == AdminConfig()
    assert (config.state.shown, config.ledger.url.reveal(), config.plugins, config.routes, config.checks) == (
        "memory:",
        "none",
        (),
        (),
        (),
    )
    assert [provider.name for provider in config.providers] == ["echo"]
    assert config.warnings == ()


def test_the_server_section_is_in_seconds_and_bytes(tmp_path: Path) -> None:
    text = """
    version: 1
    server:
      listen: "[::1]:0"
      max_body: 1MiB
      max_in_flight: 10
      timeouts: {headers: 1s, body: 2s, write: 3s, keep_alive: 4s}
      drain: {lame_duck: 0s, grace: 500ms}
      trusted_proxies: [10.0.0.0/8, "fd00::/8"]
    admin: {listen: off, token: abc, hosts: [gateway.example]}
    """
    config = load(tmp_path, text)
    assert config.server == ServerConfig(
        "[::1]:0", 1, 1_048_576, 10, 1.0, 2.0, 3.0, 4.0, 0.0, 0.5, ("10.0.0.0/8", "fd00::/8")
    )
    assert config.admin.listen is None
    assert config.admin.hosts == ("gateway.example",)
    assert config.admin.token is not None
    assert config.admin.token.reveal() == "abc"


@pytest.mark.parametrize("listen", ["unix:/run/gateway.sock", "localhost:8081", "127.0.0.9:1", '"[::1]:8081"'])
def test_an_admin_listener_of_this_machine_needs_no_token(listen: str, tmp_path: Path) -> None:
    assert load(tmp_path, f"version: 1\nadmin: {{listen: {listen}}}").admin.token is None


@pytest.mark.parametrize("token", ["", 'admin: {token: "${EMPTY:-}"}\n'])
def test_an_open_admin_listener_from_outside_the_file_needs_a_token_too(token: str, tmp_path: Path) -> None:
    said = errors(tmp_path, f"version: 1\n{token}", overrides={"admin": "0.0.0.0:8081"})
    assert said == [
        "admin.listen: the dashboard listens beyond this machine without a token; "
        "set admin.token, or listen on 127.0.0.1"
    ]


@pytest.mark.parametrize("token", ['"   "', '"secret "', '"\\tsecret"'])
def test_a_token_that_nobody_could_show_is_refused(token: str, tmp_path: Path) -> None:
    [said] = errors(tmp_path, f"version: 1\nadmin: {{listen: 0.0.0.0:1, token: {token}}}")
    assert said.startswith("gateway.yaml:2:") and "white space" in said and "secret" not in said


def test_flags_and_environment_win_over_the_file(tmp_path: Path) -> None:
    overrides = {"listen": "0.0.0.0:0", "admin": "off", "workers": "1"}
    config = load(
        tmp_path, "version: 1\nserver: {listen: 127.0.0.1:1}\nadmin: {listen: 127.0.0.1:2}", overrides=overrides
    )
    assert (config.server.listen, config.admin.listen, config.server.workers) == ("0.0.0.0:0", None, 1)


def test_an_override_that_is_no_address_is_refused(tmp_path: Path) -> None:
    many = {"listen": "127.0.0.1:0", "workers": "100000"}
    assert errors(tmp_path, "version: 1", overrides=many) == [
        'server.workers: "100000" is not a number of workers; write 1, or as many as there are cores; at most 1024'
    ]
    assert errors(tmp_path, "version: 1", overrides={"listen": "nowhere", "workers": "2"}) == [
        'server.listen: "nowhere" is not an address; write host:port, [v6]:port or unix:/path, '
        'such as "127.0.0.1:8080"',
        "server.workers: several workers would each count alone: they need a state: that they share; "
        "write state: sqlite:var/state.db, or workers: 1",
    ]


def test_a_whole_expansion_is_typed_again_and_a_part_stays_text(tmp_path: Path) -> None:
    text = """
    version: 1
    server: {max_in_flight: "${NUMBER}", max_body: "${NUMBER}MiB", timeouts: {body: "${UNSET:-5s}"}}
    routes:
      - name: "r${NUMBER}"
        targets: [{target: echo/echo, params: {a: "${NUMBER}", b: "x${NUMBER}", c: "${UNSET:-true}"}}]
    """
    config = load(tmp_path, text)
    assert (config.server.max_in_flight, config.server.max_body_bytes, config.server.body_timeout_s) == (
        42,
        42 << 20,
        5.0,
    )
    assert config.routes[0].name == "r42"
    assert config.routes[0].targets[0].params == {"a": 42, "b": "x42", "c": True}


def test_what_comes_out_of_an_expansion_is_not_expanded_again(tmp_path: Path) -> None:
    home = write(tmp_path, 'version: 1\nproviders: {openai: {api_key: "${A}"}}')
    config = load_config(home, {"A": "${B}", "B": "x"}, FixedCatalog())
    assert config.providers[0].credentials[0].reveal() == "${B}"


def test_a_secret_file_is_relative_to_the_file_it_stands_in(tmp_path: Path) -> None:
    files = {
        "parts/more.yaml": 'providers: {openai: {api_key: "${file:secrets/openai}"}}',
        "parts/secrets/openai": "sk-from-file\n",
    }
    config = load(tmp_path, "version: 1\ninclude: [parts/more.yaml]", **files)
    assert config.providers[0].credentials[0].reveal() == "sk-from-file"
    assert tmp_path / "parts/secrets/openai" in config.files


def test_the_digest_changes_with_any_file_read(tmp_path: Path) -> None:
    text = 'version: 1\nproviders: {openai: {api_key: "${file:key}"}}'
    first = load(tmp_path, text, key="a").digest
    assert load(tmp_path, text, key="a").digest == first
    assert load(tmp_path, text, key="b").digest != first
    assert load(tmp_path, text + " ", key="a").digest != first
    assert len(first) == 12


def test_no_secret_is_in_the_repr_of_a_configuration(tmp_path: Path) -> None:
    text = """
    version: 1
    admin: {token: "${SECRET}"}
    plugins: [{limits: {limits: [], secret: "${SECRET}-and-then-thirty-two-more"}}]
    providers:
      openai: {api_keys: ["${SECRET}"], headers: {x-key: "${SECRET}"}, proxy: "http://u:${SECRET}@127.0.0.1:1"}
    """
    assert ENVIRON["SECRET"] not in repr(load(tmp_path, text))


def test_the_redactor_gets_every_credential(tmp_path: Path) -> None:
    text = """
    version: 1
    server: {max_in_flight: "${NUMBER}"}
    admin: {token: in-the-file}
    plugins: [{limits: {limits: [], secret: "${SECRET}-and-then-thirty-two-more"}}]
    providers: {openai: {api_key: "${EMPTY}", headers: {x-team: "Bearer ${WORD}"}}, anthropic: {api_key: k}}
    """
    assert {secret.reveal() for secret in load(tmp_path, text).secrets} == {
        "in-the-file", f"{ENVIRON['SECRET']}-and-then-thirty-two-more", "Bearer canary", "k",
    }  # fmt: skip


def test_includes_are_appended_in_order(tmp_path: Path) -> None:
    files = {
        "routes/b.yaml": "routes: [{name: b, targets: [ours/b]}]",
        "routes/a.yaml": "routes: [{name: a, targets: [echo/a]}]\nplugins: [cors]",
        "more.yaml": "providers: {ours: {dialect: anthropic, base_url: http://127.0.0.1:1}}",
    }
    config = load(
        tmp_path,
        "version: 1\ninclude: [more.yaml, routes/*.yaml]\nplugins: [request_id]\n"
        "routes: [{name: m, targets: [echo/m]}]",
        **files,
    )
    assert [route.name for route in config.routes] == ["m", "a", "b"]
    assert [plugin.name for plugin in config.plugins] == ["request_id", "cors"]
    assert [path.name for path in config.files][:4] == ["gateway.yaml", "more.yaml", "a.yaml", "b.yaml"]
    assert config.routes[2].place.file == "routes/b.yaml"


def test_the_same_name_in_two_files_is_an_error_that_names_both_places(tmp_path: Path) -> None:
    files = {
        "more.yaml": (
            "providers:\n  openai: {api_key: k}\nroutes:\n  - {name: a, targets: [echo/echo]}\nplugins: [cors]\n"
        )
    }
    said = errors(
        tmp_path,
        "version: 1\ninclude: [more.yaml]\nproviders: {openai: {api_key: k}}\n"
        "routes: [{name: a, targets: [echo/echo]}]\nplugins: [cors]",
        **files,
    )
    assert said == [
        'more.yaml:2:3: providers.openai: provider "openai" is named twice; '
        "rename one; the first is at gateway.yaml:3:13",
        'more.yaml:4:12: routes[0].name: route "a" is named twice; rename one; the first is at gateway.yaml:4:17',
        'more.yaml:5:11: plugins[0]: plugin "cors" stands in this chain twice; '
        "keep one; the first is at gateway.yaml:5",
    ]


def test_an_include_may_hold_nothing_but_its_three_sections(tmp_path: Path) -> None:
    said = errors(tmp_path, "version: 1\ninclude: [a.yaml]", **{"a.yaml": "server: {}\ninclude: [b.yaml]\nrouts: []\n"})
    assert said == [
        'a.yaml:1:1: an included file may not hold "server"; it may hold providers, routes, plugins',
        'a.yaml:2:1: an included file may not hold "include"; it may hold providers, routes, plugins',
        'a.yaml:3:1: unknown key "routs"; did you mean "routes"?',
    ]


@pytest.mark.parametrize("again", ["gateway.yaml", "a.yaml", "./x/../a.yaml"])
def test_no_file_is_read_twice(again: str, tmp_path: Path) -> None:
    said = errors(tmp_path, f"version: 1\ninclude: [a.yaml, {again}]", **{"a.yaml": "routes: []", "x/y": ""})
    assert len(said) == 1
    assert said[0].startswith("gateway.yaml:2:19: include[1]: ")
    assert said[0].endswith("is already read; include each file once")


def test_a_broken_include_is_told_at_its_own_place_and_blames_no_target(tmp_path: Path) -> None:
    said = errors(
        tmp_path,
        "version: 1\ninclude: [a.yaml]\nroutes: [{name: a, targets: [theirs/x]}]",
        **{"a.yaml": "providers: [\n"},
    )
    assert len(said) == 1
    assert said[0].startswith("a.yaml:2:1: not valid YAML")
