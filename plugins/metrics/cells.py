"""Numbers under labels, with a bound on how many there are.

prometheus-client finds the child of a set of labels in 1.5 us and takes a lock for every increment; one request makes
ten. Here a request costs plain dictionaries, and the client's own forms are made when somebody looks.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping
from typing import Any

from .families import FAMILIES, OTHER, Family

Labels = tuple[Any, ...]
SEPARATOR = "\n"
"""Between label values, in what processes tell one another; no name of the configuration holds one."""


class Cells:
    """The counters of one family."""

    __slots__ = ("cells", "family")

    def __init__(self, family: Family) -> None:
        self.family = family
        self.cells: dict[Labels, Any] = {} if family.labels else {(): self.zero()}

    def zero(self) -> Any:
        """Return what a new set of labels begins with."""
        return 0

    def add(self, labels: Labels, amount: float = 1) -> None:
        """Count `amount` under `labels`, or under what they fold to."""
        cells = self.cells
        if labels in cells:
            cells[labels] += amount
        else:
            labels = self.fold(labels)
            cells[labels] = cells.get(labels, 0) + amount

    def fold(self, labels: Labels) -> Labels:
        """Return the labels themselves while there is room for them, else with `other` in place of some."""
        count = len(self.cells)
        if labels in self.cells:
            return labels
        for most, places in self.family.folds:
            if count < most:
                return labels
            labels = tuple(OTHER if at in places else value for at, value in enumerate(labels))
            if labels in self.cells:
                return labels
        return labels

    def tell(self) -> dict[str, Any]:
        """Return the numbers as JSON has them."""
        return {SEPARATOR.join(map(str, labels)): value for labels, value in self.cells.items()}

    def take(self, told: Mapping[str, Any]) -> None:
        """Add what processes have told. Sorted, so that whoever sums folds the same."""
        for text in sorted(told):
            self.add(tuple(text.split(SEPARATOR)) if text else (), told[text])


class Buckets(Cells):
    """The histograms of one family: per set of labels a count for each bound and one above, then the sum."""

    __slots__ = ("bounds",)

    def __init__(self, family: Family) -> None:
        self.bounds = family.bounds
        super().__init__(family)

    def zero(self) -> list[float]:
        return [0] * (len(self.bounds) + 1) + [0.0]

    def observe(self, labels: Labels, value: float) -> None:
        """Count one observation."""
        cell = self.cells.get(labels)
        if cell is None:
            cell = self.cells.setdefault(self.fold(labels), self.zero())
        cell[bisect_left(self.bounds, value)] += 1
        cell[-1] += value

    def tell(self) -> dict[str, Any]:
        return {SEPARATOR.join(labels): list(cell) for labels, cell in self.cells.items()}

    def take(self, told: Mapping[str, Any]) -> None:
        for text in sorted(told):
            labels = self.fold(tuple(text.split(SEPARATOR)) if text else ())
            cell = self.cells.setdefault(labels, self.zero())
            self.cells[labels] = [have + more for have, more in zip(cell, told[text], strict=True)]


class Counts:
    """Every family that is counted as requests end; outlives reloads."""

    def __init__(self) -> None:
        self.families: dict[str, Cells] = {
            family.name: Buckets(family) if family.kind == "histogram" else Cells(family) for family in FAMILIES
        }

    def tell(self) -> dict[str, dict[str, Any]]:
        """Return all numbers as JSON has them."""
        return {name: cells.tell() for name, cells in self.families.items() if cells.family.kind != "gauge"}

    def take(self, told: Mapping[str, Mapping[str, Any]]) -> None:
        """Add what processes have told."""
        for name, numbers in told.items():
            if name in self.families:  # another version of this plugin may have known more
                self.families[name].take(numbers)
