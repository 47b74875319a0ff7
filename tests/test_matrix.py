"""Every row of the translation's specification is tried somewhere, and the page's matrix is current."""

from __future__ import annotations

import re

import pytest

from tests.clients.rows import SHOWN
from tests.imports import ROOT
from tests.matrix import PAGE, cases, golden, rows, table, written
from tests.wire.rows import ELSEWHERE, ROWS

GOLDEN = {case["row"] for case in golden()}


@pytest.mark.parametrize("row", ROWS)
def test_row_is_tried(row: str) -> None:
    assert row in GOLDEN or row in ELSEWHERE


@pytest.mark.parametrize("row", sorted(ELSEWHERE))
def test_what_is_tried_elsewhere_is_there(row: str) -> None:
    place = ELSEWHERE[row]
    if place.startswith("not here: "):
        return
    file, _, function = place.partition("::")
    text = (ROOT / file).read_text("utf-8")
    assert re.search(rf"^(?:async )?def {function or 'test_'}", text, re.MULTILINE)


def test_the_pages_matrix_is_current() -> None:
    assert written(PAGE.read_text("utf-8")) == table(rows(), cases()), "run `make matrix`"


def test_every_pair_is_tried_in_many_rows() -> None:
    found, tried = rows(), cases()
    for client in "CMRO":
        for target in "CMRO":
            assert len(found[client, target]) >= 20
            assert tried[client, target] >= 30


def test_what_acceptance_tests_show_are_rows_and_tests_that_exist() -> None:
    files = sorted((ROOT / "tests" / "clients").glob("test_*.py"))
    text = "".join(path.read_text("utf-8") for path in files)
    for test, listed in SHOWN.items():
        assert f"def {test}(" in text
        assert [word for word in listed.replace("·", " ").split() if len(word) > 2 and word not in ROWS] == []
