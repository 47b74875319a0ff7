"""Routes and chains: conditions, targets, options laid over one another."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from gateway.errors import ConfigError, ConfigErrors
from gateway.runtime.load import load_config
from gateway.runtime.options import lay_over
from gateway.runtime.text import MoneyRate, Rate
from tests.runtime.configuration import FixedCatalog, errors, load, write


def test_a_route_has_every_condition_and_target_of_the_file(tmp_path: Path) -> None:
    text = """
    version: 1
    providers: {openai: {api_key: k}}
    routes:
      - name: all
        match: {model: ["a", "b-*"], path: "/x/**", header: {X-Team: [red, "bl*"]}, key: team-*, tags: {team: a}}
        targets:
          - openai/org/model:free
          - {target: "openai/*", weight: 3, params: {temperature: 0.2}, override: {stop: [x]}}
        fallbacks: {any: [echo/echo], context_length: [openai/long]}
        retry: {attempts: 5, on: [429, broken], backoff: 1s..2s}
        on_unsupported: error
        model_echo: upstream
    """
    route = load(tmp_path, text).routes[0]
    assert (route.model, route.path, route.key) == (("a", "b-*"), ("/x/**",), ("team-*",))
    assert route.header == {"x-team": ("red", "bl*")}
    assert route.tags == {"team": ("a",)}
    first, second = route.targets
    assert (first.provider, first.model, first.weight) == ("openai", "org/model:free", 1)
    assert (second.model, second.weight, second.params, second.override) == (
        "*",
        3,
        {"temperature": 0.2},
        {"stop": ["x"]},
    )
    assert {cause: [target.model for target in targets] for cause, targets in route.fallbacks.items()} == {
        "any": ["echo"],
        "context_length": ["long"],
    }
    assert (route.retry_attempts, route.retry_on, route.backoff_min_s, route.backoff_max_s) == (
        5,
        {"429", "broken"},
        1.0,
        2.0,
    )
    assert (route.on_unsupported, route.model_echo, route.balance) == ("error", "upstream", "ordered")
    assert (route.place.line, route.place.path) == (5, "routes[0]")


def test_a_route_without_match_takes_everything_and_retries_as_the_example_says(tmp_path: Path) -> None:
    route = load(tmp_path, "version: 1\nroutes: [{name: a, targets: [echo/echo], fallbacks: [echo/other]}]").routes[0]
    assert (route.model, route.path, route.header, route.key, route.tags) == (None, None, None, None, None)
    assert route.fallbacks["any"][0].model == "other"
    assert (route.retry_attempts, route.backoff_min_s, route.backoff_max_s) == (3, 0.2, 5.0)
    assert route.retry_on == {"connect", "timeout", "429", "5xx", "broken"}


def test_options_are_converted_and_defaults_filled_in(tmp_path: Path) -> None:
    config = load(tmp_path, "version: 1\nplugins:\n  - request_id\n  - timeouts: {connect: 250ms}\n  - cors:\n")
    assert [plugin.name for plugin in config.plugins] == ["request_id", "timeouts", "cors"]
    assert config.plugins[1].options == {"connect": 0.25, "first_token": 30.0, "idle": 60.0, "total": 600.0}
    assert config.plugins[2].options == {"origins": []}


def test_text_forms_are_read_at_every_depth(tmp_path: Path) -> None:
    text = """
    version: 1
    plugins:
      - limits:
          limits:
            - {per: key, requests: 60/min, burst: 10}
            - {per: model, cost: $50/month, share: 5%, burst: 64KiB, window: 5m}
          sizes: {a: 1KiB}
    """
    options = load(tmp_path, text).plugins[0].options
    assert options == {
        "limits": [
            {"per": "key", "requests": Rate(60, 60), "burst": 10, "window": 60.0},
            {"per": "model", "cost": MoneyRate(Decimal(50), "month"), "share": 0.05, "burst": 65_536, "window": 300.0},
        ],
        "sizes": {"a": 1024},
    }


def test_a_choice_is_told_by_the_branch_that_was_meant(tmp_path: Path) -> None:
    entries = "{per: key, burst: 0}, {per: key, burst: many}, {per: key, burst: []}"
    text = f"version: 1\nplugins:\n  - limits: {{limits: [{entries}]}}\n"
    assert errors(tmp_path, text) == [
        "gateway.yaml:3:41: plugins[0].limits.limits[0].burst: must be 1 or more, not 0; raise it",
        'gateway.yaml:3:63: plugins[0].limits.limits[1].burst: "many" is not a size; '
        'write a number with B, KB, MB, GB, KiB, MiB or GiB, such as "20MiB"',
        "gateway.yaml:3:88: plugins[0].limits.limits[2].burst: must be a whole number or text, not a list; "
        "see `gateway schema`",
    ]


def test_a_secret_option_is_never_shown(tmp_path: Path) -> None:
    said = errors(tmp_path, "version: 1\nplugins:\n  - limits: {limits: [], secret: canary}\n")
    assert said == [
        "gateway.yaml:3:34: plugins[0].limits.secret: must be 32 or more characters long, not 6; write more"
    ]


def test_a_plugin_named_again_on_a_route_keeps_only_what_it_names(tmp_path: Path) -> None:
    text = """
    version: 1
    plugins: [{timeouts: {connect: 1s, idle: 2s}}, cors]
    routes:
      - {name: a, targets: [echo/echo], plugins: [{timeouts: {idle: 9s}}, {cors: off}, access_log]}
    """
    config = load(tmp_path, text)
    timeouts, cors, access_log = config.routes[0].plugins
    assert timeouts.options == {"idle": 9.0}
    assert cors.options is None
    assert access_log.options == {"format": "json"}
    assert config.plugins[0].options is not None
    assert lay_over(config.plugins[0].options, timeouts.options or {}) == {
        "connect": 1.0, "first_token": 30.0, "idle": 9.0, "total": 600.0,
    }  # fmt: skip


def test_what_a_route_leaves_out_may_stand_in_the_global_options(tmp_path: Path) -> None:
    text = """
    version: 1
    plugins: [{limits: {limits: [{per: key}]}}]
    routes:
      - {name: a, targets: [echo/echo], plugins: [{limits: {sizes: {a: 1B}}}]}
    """
    assert load(tmp_path, text).routes[0].plugins[0].options == {"sizes": {"a": 1}}


def test_laying_over_replaces_whole_options() -> None:
    assert lay_over({"a": {"x": 1}, "b": [1, 2], "c": 3}, {"a": {"y": 2}, "b": []}) == {"a": {"y": 2}, "b": [], "c": 3}


@pytest.mark.parametrize(
    "entry",
    [
        '{use: "mine.py:Mine", mine: {colour: red}}',
        '{use: "mine.py:Mine", options: {colour: red}}',
        '{name: mine, use: "mine.py:Mine", options: {colour: red}}',
        '{mine: {use: "mine.py:Mine", colour: red}}',
    ],
)
def test_a_plugin_of_ones_own_is_named_by_use(entry: str, tmp_path: Path) -> None:
    plugin = load(tmp_path, f"version: 1\nplugins:\n  - {entry}\n").plugins[0]
    assert (plugin.name, plugin.use, plugin.options) == ("mine", "mine.py:Mine", {"colour": "red"})


def test_a_route_may_name_a_plugin_that_use_brought_in(tmp_path: Path) -> None:
    text = """
    version: 1
    plugins: [{use: "mine.py:Mine"}]
    routes:
      - {name: a, targets: [echo/echo], plugins: [{mine: {colour: red}}]}
    """
    plugin = load(tmp_path, text).routes[0].plugins[0]
    assert (plugin.use, plugin.options) == ("mine.py:Mine", {"colour": "red"})


class BrokenFile(FixedCatalog):
    """A catalog whose `cors` is a file with a mistake in it."""

    def options_schema(self, name: str, use: str | None) -> Mapping[str, Any]:
        if name == "cors":
            raise ConfigError("invalid syntax", file="plugins/cors.py", line=3, column=7)
        return super().options_schema(name, use)


def test_a_plugin_file_that_is_wrong_is_told_once_and_there(tmp_path: Path) -> None:
    text = "version: 1\nplugins: [cors]\nroutes: [{name: a, targets: [echo/echo], plugins: [{cors: {origins: []}}]}]"
    with pytest.raises(ConfigErrors) as caught:
        load_config(write(tmp_path, text), {}, BrokenFile())
    assert str(caught.value) == "plugins/cors.py:3:7: invalid syntax"
