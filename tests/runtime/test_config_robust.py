"""Whatever stands in gateway.yaml, the loader reads it or refuses it."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.errors import ConfigErrors
from gateway.runtime.home import STANDARD
from gateway.runtime.load import load_config
from gateway.runtime.surface import sections
from tests.runtime.configuration import ENVIRON, FixedCatalog, errors, load, write

WORDS = ["", "echo/echo", "x", "1s", "off", "${NUMBER}", "${SECRET}", "x${SECRET}[", "${UNSET}", "*", "[", "timeouts"]
KEYS = [
    *("name", "match", "model", "targets", "target", "fallbacks", "any", "retry", "on", "backoff", "plugins"),
    *("timeouts", "listen", "base_url", "dialect", "api_key", "api_keys", "headers", "tls", "given", "expect"),
    *("down", "use", "limits", "x"),
]
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 500) | st.sampled_from(WORDS),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(
        st.sampled_from(KEYS),
        inner,
        max_size=4,
    ),
    max_leaves=12,
)  # fmt: skip
ENTRY = JSON | st.fixed_dictionaries(
    {"name": st.just("a"), "targets": st.just(["echo/echo"])},
    optional={"plugins": JSON, "retry": JSON, "match": JSON, "fallbacks": JSON},
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.dictionaries(st.sampled_from(sorted(sections())), JSON, max_size=4),
    st.lists(ENTRY, max_size=2),
    st.dictionaries(st.sampled_from(["openai", "echo", "mine"]), JSON, max_size=2),
)
def test_whatever_stands_where_it_is_read_or_refused_and_shows_no_secret(
    tmp_path: Path, document: dict[str, Any], routes: list[Any], providers: dict[str, Any]
) -> None:
    whole = {"routes": routes, "providers": providers, **document, "include": []}
    try:
        config = load(tmp_path, json.dumps(whole))
    except ConfigErrors as error:
        assert ENVIRON["SECRET"] not in str(error)
        assert all(one.line for one in error.errors)
    else:
        assert ENVIRON["SECRET"] not in repr([dataclasses.asdict(one) for one in config.providers])


def test_a_file_that_cannot_be_read_says_so(tmp_path: Path) -> None:
    home = write(tmp_path, "version: 1")
    home.file.unlink()
    home.file.mkdir()
    with pytest.raises(ConfigErrors, match=r"gateway\.yaml:1:1: cannot be read: Is a directory"):
        load_config(home, {}, FixedCatalog())


def test_a_thousand_routes_are_read_in_order(tmp_path: Path) -> None:
    text = "version: 1\nroutes:\n" + "".join(
        f"  - {{name: r{i}, match: {{model: m{i}}}, targets: [echo/m{i}]}}\n" for i in range(1000)
    )
    assert [route.name for route in load(tmp_path, text).routes] == [f"r{i}" for i in range(1000)]


OWN = (STANDARD / "gateway.yaml").read_text()


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(0, len(OWN)), st.integers(0, 40), st.text(alphabet=" \n\t-:{}[],&*!|>'\"#%$@`abc019", max_size=6))
def test_a_half_written_file_is_read_or_refused(tmp_path: Path, start: int, length: int, instead: str) -> None:
    try:
        load(tmp_path, OWN[:start] + instead + OWN[start + length :])
    except ConfigErrors as error:
        assert all(one.file and one.line for one in error.errors)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            'plugins: ["${SECRET}"]',
            '2:11: plugins[0]: unknown plugin "…"; found: access_log, cors, limits, request_id, timeouts',
        ),
        (
            'plugins: [{use: "x:${WORD}"}]',
            '2:11: plugins[0]: no class "…"; name one that exists',
        ),
        (
            'routes: [{name: "${WORD}", targets: [echo/x]}, {name: "${WORD}", targets: [echo/x]}]',
            "2:55: routes[1].name: route the value of ${WORD} is named twice; "
            "rename one; the first is at gateway.yaml:2:17",
        ),
        (
            'routes: [{name: a, match: {model: "${WORD}["}, targets: [echo/x]}]',
            "2:35: routes[0].match.model: the glob the value of ${WORD} has a [ without its ]; "
            "close it, or write [[] for the character itself",
        ),
        (
            'checks: [{given: {down: ["${WORD}"]}, expect: {route: a}}]',
            "2:26: checks[0].given.down[0]: unknown provider the value of ${WORD}; declared: echo",
        ),
        (
            'include: ["${WORD}.yaml"]',
            "2:11: include[0]: this include matches no file; a relative path starts at the file it stands in",
        ),
        (
            'checks: {x: "${UNSET}"}',
            "2:9: checks: must be a list, not a mapping; write a list (Proved by `gateway check`)",
        ),
    ],
)
def test_a_value_out_of_an_expansion_is_called_by_its_variable(text: str, expected: str, tmp_path: Path) -> None:
    assert f"gateway.yaml:{expected}" in errors(tmp_path, f"version: 1\n{text}")


@pytest.mark.parametrize(
    "text",
    [
        "".join(f"k{i}: 1\n" for i in range(1000)),
        "plugins: [" + ",".join(f"p{i}" for i in range(1000)) + "]",
        "providers: {openai: {headers: {" + ",".join(f"h{i}: 1" for i in range(1000)) + "}}}",
        "checks: [" + ",".join(f'"${{A{i}}}"' for i in range(1000)) + "]",
    ],
    ids=["keys", "plugins", "headers", "variables"],
)
def test_of_a_thousand_mistakes_a_hundred_are_told(text: str, tmp_path: Path) -> None:
    said = errors(tmp_path, f"version: 1\n{text}")
    assert len(said) == 101
    assert said[-1] == "more than 100 errors; mend these first"
