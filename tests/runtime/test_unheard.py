"""What libraries log is a line like any other: JSON, without credentials, from any thread."""

from __future__ import annotations

import io
import json
import logging
import threading
from collections.abc import Iterator

import pytest

from gateway.telemetry import Logger, Unheard

LIBRARY = logging.getLogger("some.library")


@pytest.fixture
def heard() -> Iterator[tuple[Logger, io.StringIO]]:
    """A log, and where it is written; the library's lines go to it."""
    stream = io.StringIO()
    log = Logger("warning", stream=stream)
    handler = Unheard(log)
    LIBRARY.addHandler(handler)
    yield log, stream
    LIBRARY.removeHandler(handler)


def test_a_librarys_line_is_json_and_holds_no_credential(heard: tuple[Logger, io.StringIO]) -> None:
    log, stream = heard
    log.redactor.add(["rosebud-and-sled"])
    try:
        raise ValueError("of rosebud-and-sled\nand more")
    except ValueError:
        LIBRARY.exception("it %s", "broke with rosebud-and-sled")
    thread = threading.Thread(target=LIBRARY.warning, args=("from a thread",))
    thread.start()
    thread.join()
    LIBRARY.info("of no concern")
    first, second = map(json.loads, stream.getvalue().splitlines())
    assert (first["level"], first["event"], first["logger"]) == ("error", "library", "some.library")
    assert (first["message"], first["error"]) == ("it broke with ***", "ValueError: of ***\nand more")
    assert (second["level"], second["message"]) == ("warning", "from a thread")


def test_the_level_holds_for_libraries_too(heard: tuple[Logger, io.StringIO]) -> None:
    log, stream = heard
    log.set_level("error")
    LIBRARY.warning("of no concern")
    assert not stream.getvalue()
