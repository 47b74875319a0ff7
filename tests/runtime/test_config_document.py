"""One YAML file: YAML 1.2 core scalars, places, and what is refused before it costs anything."""

from __future__ import annotations

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import ConfigError
from gateway.runtime.document import MAX_NODES, core_scalar, read_document


def plain(text: str) -> object:
    return read_document(text.encode(), "gateway.yaml").plain()


def refusal(content: str | bytes) -> str:
    with pytest.raises(ConfigError) as caught:
        read_document(content.encode() if isinstance(content, str) else content, "gateway.yaml")
    return str(caught.value)


@pytest.mark.parametrize(
    "word", ["on", "off", "yes", "no", "On", "OFF", "y", "n", "2027-01-01", "1_000", "12:30:45", "0b1"]
)
def test_words_that_older_yaml_took_for_something_else_are_text(word: str) -> None:
    assert plain(f"a: {word}") == {"a": word}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("null", None), ("~", None), ("", None), ("true", True), ("False", False), ("12", 12), ("-7", -7), ("+3", 3),
        ("0o17", 15), ("0x1F", 31), ("017", 17), ("1.5", 1.5), (".5", 0.5), ("1e3", 1000.0), ("5.", 5.0),
        (".inf", math.inf), ("-.INF", -math.inf), ("'12'", "12"), ('"true"', "true"), ("!!str 12", "12"),
    ],
)  # fmt: skip
def test_plain_scalars_follow_the_core_schema(text: str, value: object) -> None:
    found = plain(f"a: {text}")
    assert found == {"a": value}
    assert isinstance(found, dict)
    assert type(found["a"]) is type(value)


def test_not_a_number_is_one() -> None:
    found = core_scalar(".nan")
    assert isinstance(found, float)
    assert math.isnan(found)


def test_every_value_and_key_knows_its_place() -> None:
    root = read_document("a:\n  - x\n  - {b: [1, ü, 3]}\n".encode(), "gateway.yaml")
    third = root.find(["a", 1, "b", 2])
    assert (third.line, third.column, third.file) == (3, 16, "gateway.yaml")
    assert root.find(["a", 1]).keys == {"b": (3, 6)}


def test_an_alias_is_the_value_it_names() -> None:
    assert plain("a: &x {b: [1]}\nc: *x\n") == {"a": {"b": [1]}, "c": {"b": [1]}}


def test_a_byte_order_mark_is_passed_over() -> None:
    assert plain("\ufeffversion: 1") == {"version": 1}


# YAML reads JSON but for surrogate escapes, and wants control characters and line separators escaped.
TEXT = st.text(
    st.characters(exclude_categories=("Cs", "Cc", "Cn", "Zl", "Zp"), exclude_characters="\ufeff"), max_size=8
)


@given(
    st.dictionaries(
        TEXT,
        st.recursive(
            st.none() | st.booleans() | st.integers() | TEXT,
            lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
            max_leaves=20,
        ),
        min_size=1,
    )
)
def test_json_reads_as_itself(value: object) -> None:
    assert plain(json.dumps(value, ensure_ascii=False)) == value


@given(st.binary(max_size=200) | st.text(alphabet="[]{}:,&*!|>'\"#%-? \n\tab1", max_size=80).map(str.encode))
def test_any_bytes_are_read_or_refused_with_a_place(content: bytes) -> None:
    try:
        read_document(content, "gateway.yaml")
    except ConfigError as error:
        assert error.file == "gateway.yaml"
        assert error.line >= 1
        assert error.column >= 1


def test_an_alias_bomb_is_refused_by_what_it_would_expand_to() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [" + ", ".join([f"*a{i - 1}"] * 9) + "]" for i in range(1, 12)]
    assert refusal("\n".join(lines)).startswith(f"gateway.yaml:6:10: a5[0]: more than {MAX_NODES} values once aliases")


def test_many_values_without_aliases_are_refused_too() -> None:
    assert "more than 100000 values" in refusal("[" + "1," * 100_001 + "]")
    assert "more than 100000 values" in refusal("[" + "[]," * 100_001 + "]")


def test_nesting_is_counted_through_aliases() -> None:
    text = "a: &a " + "[" * 20 + "]" * 20 + "\nb: " + "[" * 12 + "*a" + "]" * 12
    assert "nested more than 32 deep once the alias is expanded" in refusal(text)


def test_thirty_two_levels_are_read_and_one_more_is_not() -> None:
    assert plain("[" * 32 + "]" * 32)
    assert "nested more than 32 deep" in refusal("[" * 33 + "]" * 33)


def test_a_megabyte_of_brackets_is_refused_at_the_thirty_third() -> None:
    assert refusal("[" * 1_000_000).startswith("gateway.yaml:1:33:")


def test_more_than_a_mebibyte_is_refused() -> None:
    assert refusal(b"#" * (1024 * 1024 + 1)) == "gateway.yaml:1:1: larger than 1 MiB; split it with include:"


@pytest.mark.parametrize("content", [b"a: \xff", "a: ü".encode("latin-1"), "a: 1".encode("utf-16")])
def test_what_is_not_utf_8_is_refused(content: bytes) -> None:
    assert "not UTF-8" in refusal(content)


def test_the_place_of_a_byte_that_is_not_utf_8_is_told() -> None:
    assert refusal(b"a: 1\nb: \xfc") == "gateway.yaml:2:4: not UTF-8; save the file as UTF-8"


@pytest.mark.parametrize("content", ["", "\n\n", "# nothing\n", "---\n", "~"])
def test_an_empty_file_is_refused(content: str) -> None:
    assert refusal(content) == 'gateway.yaml:1:1: empty; begin with "version: 1"'


@pytest.mark.parametrize("tag", ["!!python/object/apply:os.system", "!custom", "!!timestamp", "!!binary", "!!set"])
def test_tags_are_refused(tag: str) -> None:
    assert "is not read" in refusal(f"a: {tag} x")
