"""Numbers under labels, with a bound on how many there are.

prometheus-client finds the child of a set of labels in 1.5 us and takes a lock for every increment; one request makes
ten. Here a request costs plain dictionaries, and the client's own forms are made when somebody looks.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from .families import DURATIONS_S, FAMILIES, OTHER, OVERHEADS_S, Family

MOST_ALIKE = 1000
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
        cell = self.cell(labels)
        cell[bisect_left(self.bounds, value)] += 1
        cell[-1] += value

    def cell(self, labels: Labels) -> list[float]:
        """Return the numbers of `labels`, or of what they fold to; they are the same list ever after."""
        cell: list[float] | None = self.cells.get(labels)
        return self.cells.setdefault(self.fold(labels), self.zero()) if cell is None else cell

    def tell(self) -> dict[str, Any]:
        return {SEPARATOR.join(labels): list(cell) for labels, cell in self.cells.items()}

    def take(self, told: Mapping[str, Any]) -> None:
        for text in sorted(told):
            cell = self.cell(tuple(text.split(SEPARATOR)) if text else ())
            cell[:] = [have + more for have, more in zip(cell, told[text], strict=True)]


class Alike:
    """Plain requests that came to their end in the same way: one route, one target, one status. What is the same for
    all of them is counted once here, and under every family's labels when somebody asks."""

    __slots__ = ("answer_tokens", "cost_usd", "count", "durations", "latencies", "overheads", "prompt_tokens")

    def __init__(self, durations: list[float], overheads: list[float], latencies: list[float]) -> None:
        self.durations, self.overheads, self.latencies = durations, overheads, latencies
        self.count = self.prompt_tokens = self.answer_tokens = 0
        self.cost_usd = Decimal(0)

    def add(self, duration_s: float, latency_s: float) -> None:
        """Count one, of which `latency_s` were spent waiting for its upstream."""
        self.count += 1
        cell = self.durations
        cell[bisect_left(DURATIONS_S, duration_s)] += 1
        cell[-1] += duration_s
        cell = self.latencies
        cell[bisect_left(DURATIONS_S, latency_s)] += 1
        cell[-1] += latency_s
        overhead_s = duration_s - latency_s if duration_s > latency_s else 0.0
        cell = self.overheads
        cell[bisect_left(OVERHEADS_S, overhead_s)] += 1
        cell[-1] += overhead_s


AlikeKey = tuple[str, str, str, int, str, str]
"""What makes plain requests alike: method, endpoint, route, status, provider, target."""


class Counts:
    """Every family that is counted as requests end; outlives reloads."""

    def __init__(self) -> None:
        self.families: dict[str, Cells] = {
            family.name: Buckets(family) if family.kind == "histogram" else Cells(family) for family in FAMILIES
        }
        self.alike: dict[AlikeKey, Alike] = {}

    def begin_alike(self, key: AlikeKey) -> Alike:
        """Return where requests of a kind that is new are counted."""
        if len(self.alike) >= MOST_ALIKE:
            self.gather_up()
            self.alike.clear()
        cells: Any = self.families
        durations = cells["request_duration_seconds"].cell((key[2],))
        overheads = cells["overhead_seconds"].cell((key[2],))
        alike = self.alike[key] = Alike(durations, overheads, cells["provider_latency_seconds"].cell((key[4],)))
        return alike

    def gather_up(self) -> None:
        """Count under every family's labels what was counted for requests that are alike."""
        families = self.families
        for (method, endpoint, route, status, provider, target), alike in self.alike.items():
            if not alike.count:
                continue
            families["requests_total"].add((method, endpoint, route, status), alike.count)
            families["provider_requests_total"].add((provider,), alike.count)
            families["attempts_total"].add((target, "completed"), alike.count)
            if alike.prompt_tokens:
                families["tokens_total"].add((provider, "input"), alike.prompt_tokens)
            if alike.answer_tokens:
                families["tokens_total"].add((provider, "output"), alike.answer_tokens)
            if alike.cost_usd:
                families["cost_usd_total"].add((provider,), float(alike.cost_usd))
            alike.count = alike.prompt_tokens = alike.answer_tokens = 0
            alike.cost_usd = Decimal(0)

    def tell(self) -> dict[str, dict[str, Any]]:
        """Return all numbers as JSON has them."""
        self.gather_up()
        return {name: cells.tell() for name, cells in self.families.items() if cells.family.kind != "gauge"}

    def take(self, told: Mapping[str, Mapping[str, Any]]) -> None:
        """Add what processes have told."""
        for name, numbers in told.items():
            if name in self.families:  # another version of this plugin may have known more
                self.families[name].take(numbers)
