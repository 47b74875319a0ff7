"""Samples, and the median over the rounds of any figure in them."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from benchmarks.load import Outcome

FLOOR = "nginx"


@dataclass(frozen=True, slots=True)
class Sample:
    """One system's one round of one scenario."""

    round: int
    system: str
    outcome: Outcome


class Medians:
    """All samples, asked for the median over the rounds of one figure."""

    def __init__(self, samples: Sequence[Sample]) -> None:
        self._samples = samples
        self.systems = list(dict.fromkeys(sample.system for sample in samples))

    def of(self, system: str, scenario: str, figure: Callable[[Outcome], float]) -> float | None:
        """Return the median of `figure`, None when this was not measured."""
        values = [figure(s.outcome) for s in self._samples if s.system == system and s.outcome.scenario == scenario]
        return statistics.median(values) if values else None

    def cpu_us(self, system: str, scenario: str) -> float | None:
        return self.of(system, scenario, lambda outcome: outcome.cpu_us_per_unit)

    def ratio(self, system: str, scenario: str, floor: str = FLOOR) -> float | None:
        """Return CPU per unit as a multiple of another system's, nginx's in the same run when none is named."""
        own, least = self.cpu_us(system, scenario), self.cpu_us(floor, scenario)
        return own / least if own is not None and least else None

    def added_ms(self, system: str, share: str, scenario: str = "latency") -> float | None:
        """Return what `system` adds to the direct line's `p50` or `p99`, in milliseconds."""

        def figure(outcome: Outcome) -> float:
            return outcome.p50_us if share == "p50" else outcome.p99_us

        own, direct = self.of(system, scenario, figure), self.of("direct", scenario, figure)
        return None if own is None or direct is None else (own - direct) / 1000


def disturbed(shares: Sequence[float]) -> str:
    """Return how busy the machine was with other work, of one core; above a few percent the figures say little."""
    if not shares:
        return ""
    middle, worst = statistics.median(shares), max(shares)
    warning = (
        " (the machine was not quiet: expect figures that are too high, and ratios that waver)" if middle > 0.05 else ""
    )
    return f"other work on the machine, of one core: median {middle:.0%}, worst round {worst:.0%}{warning}"
