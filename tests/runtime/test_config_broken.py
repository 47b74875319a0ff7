"""Broken homes: each file of broken/ begins with what must be said of it, place, path, problem and cure."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.runtime.configuration import ENVIRON, errors

CORPUS = sorted((Path(__file__).parent / "broken").glob("*.yaml"))
_EXPECT = "# expect: "


@pytest.mark.parametrize("path", CORPUS, ids=[path.stem for path in CORPUS])
def test_broken_home_is_refused_with_place_problem_and_cure(path: Path, tmp_path: Path) -> None:
    text = path.read_text()
    expected = [line.removeprefix(_EXPECT) for line in text.splitlines() if line.startswith(_EXPECT)]
    assert expected, "the file does not say what it expects"
    assert errors(tmp_path, text) == expected


@pytest.mark.parametrize("path", CORPUS, ids=[path.stem for path in CORPUS])
def test_no_error_shows_a_value_from_the_environment_or_a_credential(path: Path, tmp_path: Path) -> None:
    said = "\n".join(errors(tmp_path, path.read_text()))
    assert "canary" not in said
    assert not any(value in said for value in (ENVIRON["SECRET"], ENVIRON["WORD"]))


def test_the_corpus_is_whole() -> None:
    assert len(CORPUS) >= 40
