"""What a figure returns, and what all of them use to say it."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar

T = TypeVar("T")

Size = Literal["tiny", "short", "long"]
"""`tiny` is the test suite's: correct, but too small for a figure."""


class SoakError(Exception):
    """A figure could not be measured; the message says why."""


@dataclass(frozen=True, slots=True)
class Row:
    """One promise. `holds` is None for what is only compared with, or not there to be measured.

    `values` are the bare numbers, for the JSON file and for tests.
    """

    promise: str
    bar: str
    measured: str
    holds: bool | None
    values: dict[str, Any] = field(default_factory=dict)


def pick(size: Size, tiny: T, short: T, long: T) -> T:
    """Return what fits the size."""
    return {"tiny": tiny, "short": short, "long": long}[size]


def not_built(promise: str, bar: str, what: str) -> Row:
    """Return the row of a promise whose subject does not exist yet."""
    return Row(promise, bar, f"not built yet: {what}", None)


def percentile(values: Sequence[float], share: float) -> float:
    """Return the value below which `share` of all lie; 0 of none."""
    return sorted(values)[min(len(values) - 1, int(len(values) * share))] if values else 0.0


def progress(text: str) -> None:
    """Tell whoever waits what is going on."""
    sys.stderr.write(f"  {text}\n")
    sys.stderr.flush()
