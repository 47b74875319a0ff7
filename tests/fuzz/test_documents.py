"""Whatever stands in gateway.yaml, reading it ends in a configuration or in an error at a place of the file."""

from __future__ import annotations

import tempfile
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import ConfigError, ConfigErrors
from gateway.runtime.document import Node, read_document
from gateway.runtime.home import Home
from gateway.runtime.load import load_config
from gateway.runtime.plugins import discover
from tests.imports import ROOT

LINES = (ROOT / "gateway.yaml").read_text("utf-8").splitlines()
SCRAPS = st.sampled_from(
    ["${X}", "${", "*a", "&a", "!!python/object:os.system", "? ", "|", "- ", "  ", "\t", "{", "}", "[", "]", ": ", "#",
     "null", "1e999", "0x10", "yes", "30s", "-1", '"', "'", "\\x00", "<<: *a", "---", "...", "é", "\u2028", "%YAML 1.1"]
)  # fmt: skip


@given(content=st.binary(max_size=200) | st.lists(SCRAPS, max_size=20).map(lambda parts: "".join(parts).encode()))
def test_any_bytes_are_a_document_or_refused_at_a_line(content: bytes) -> None:
    try:
        assert isinstance(read_document(content, "gateway.yaml"), Node)
    except ConfigError as error:
        assert error.file == "gateway.yaml"
        assert error.line >= 1


@st.composite
def edited(draw: st.DrawFn) -> str:
    """The repository's own file after a few clumsy edits."""
    lines = list(LINES)
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(lines) - 1))
        match draw(st.sampled_from(["drop", "twice", "swap", "insert", "cut", "indent"])):
            case "drop" if len(lines) > 1:
                del lines[at]
            case "twice":
                lines.insert(at, lines[at])
            case "swap":
                other = draw(st.integers(0, len(lines) - 1))
                lines[at], lines[other] = lines[other], lines[at]
            case "cut":
                lines[at] = lines[at][: draw(st.integers(0, len(lines[at])))]
            case "indent":
                lines[at] = " " * draw(st.integers(1, 6)) + lines[at]
            case _:
                column = draw(st.integers(0, len(lines[at])))
                lines[at] = lines[at][:column] + draw(SCRAPS) + lines[at][column:]
    return "\n".join(lines) + "\n"


@given(text=edited())
def test_an_edited_file_loads_or_names_every_error_and_its_line(text: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "gateway.yaml"
        file.write_text(text, "utf-8")
        home = Home(Path(folder), file)
        try:
            load_config(home, {}, discover(home))
        except ConfigErrors as error:
            assert error.errors
            for one in error.errors:
                assert one.file == "gateway.yaml"
                assert 1 <= one.line <= len(text.splitlines()) + 1
                assert str(one).startswith(f"gateway.yaml:{one.line}:")
