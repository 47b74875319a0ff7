"""From raw rounds to medians, ratios and the table that README.md shows."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from benchmarks.load import Outcome
from benchmarks.scenarios import Scenario

FLOOR = "nginx"
BARS = {"plain": 5.0, "stream": 3.0}  # at most so many times nginx's CPU, with the five plugins
VERBATIM, TRANSLATED = "gateway", "gateway translated"
TRANSLATED_BARS = {"plain": 1.5, "stream": 2.0}  # at most so many times what the verbatim relay costs
BEGIN, END = "<!-- bench: begin -->", "<!-- bench: end -->"


@dataclass(frozen=True, slots=True)
class Sample:
    """One system's one round of one scenario."""

    round: int
    system: str
    outcome: Outcome


@dataclass(frozen=True, slots=True)
class Footprint:
    """What a system takes beside CPU: seconds to start, resident bytes before and after all load."""

    start_s: float
    idle_rss_bytes: int
    loaded_rss_bytes: int
    size_bytes: int = 0


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


def table(samples: Sequence[Sample], suite: Sequence[Scenario], footprints: dict[str, Footprint]) -> str:
    """Return the result as a Markdown table, a column a system, the ratio to nginx in brackets."""
    medians = Medians(samples)
    systems = medians.systems
    rows: list[list[str]] = []
    for scenario in suite:
        if scenario.rate_per_s:
            rows += [_latency_row(medians, scenario, share) for share in ("p50", "p99")]
            continue
        rows.append([f"CPU µs per {scenario.title}", *(_cpu_cell(medians, system, scenario) for system in systems)])
        if scenario.kind == "plain":
            rows.append(
                [
                    f"requests a second, {scenario.title.split(', ')[1]} (core busy)",
                    *(_speed_cell(medians, system, scenario) for system in systems),
                ]
            )
    shown: tuple[tuple[str, Callable[[Footprint], str]], ...] = (
        ("memory idle, MB", lambda f: f"{f.idle_rss_bytes / 1e6:.0f}"),
        ("memory after load, MB", lambda f: f"{f.loaded_rss_bytes / 1e6:.0f}"),
        ("start to first answer, s", lambda f: f"{f.start_s:.2f}"),
        ("installed, MB", lambda f: f"{f.size_bytes / 1e6:.0f}" if f.size_bytes else ""),
    )
    for title, figure in shown:
        rows.append([title, *(figure(footprints[system]) if system in footprints else "" for system in systems)])
    lines = [["", *systems], ["---", *["---:"] * len(systems)], *(row for row in rows if any(row[1:]))]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def verdicts(samples: Sequence[Sample], suite: Sequence[Scenario]) -> list[str]:
    """Return a line for every bar: what was measured, what was promised, whether it holds."""
    medians, lines = Medians(samples), []
    for system, floor, bars in ((VERBATIM, FLOOR, BARS), (TRANSLATED, VERBATIM, TRANSLATED_BARS)):
        said, against = ("", floor) if floor == FLOOR else (", translated", "verbatim")
        for scenario in suite:
            ratio = medians.ratio(system, scenario.name, floor)
            if scenario.rate_per_s or ratio is None:
                continue
            bar = bars[scenario.kind]
            lines.append(
                f"{scenario.title}{said}: {ratio:.2f} × {against}; bar {bar:g} × {against}: "
                f"{'holds' if ratio <= bar else 'MISSED'}"
            )
    return lines


def disturbance(samples: Sequence[Sample]) -> str:
    """Return how busy the machine was with other work; above a few percent of a core the figures say little."""
    return disturbed([sample.outcome.others for sample in samples if sample.outcome.cpu_ns])


def disturbed(shares: Sequence[float]) -> str:
    """Return the same of what each round counted, of one core; nothing when none did."""
    if not shares:
        return ""
    middle, worst = statistics.median(shares), max(shares)
    warning = (
        " (the machine was not quiet: expect figures that are too high, and ratios that waver)" if middle > 0.05 else ""
    )
    return f"other work on the machine, of one core: median {middle:.0%}, worst round {worst:.0%}{warning}"


def published(page: str, text: str, name: str = "bench") -> str:
    """Return `page` with what stands between the two markers of `name` replaced. Raises: ValueError without them."""
    first, last = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
    before, begin, rest = page.partition(first)
    _, end, after = rest.partition(last)
    if not begin or not end:
        raise ValueError(f"no place for the table; put {first} and {last} where it goes")
    return f"{before}{first}\n{text}\n{last}{after}"


def _cpu_cell(medians: Medians, system: str, scenario: Scenario) -> str:
    cpu_us = medians.cpu_us(system, scenario.name)
    if not cpu_us:
        return ""
    ratio = None if system == FLOOR else medians.ratio(system, scenario.name)
    return f"{cpu_us:.1f}" + (f" ({ratio:.2f} ×)" if ratio else "")


def _speed_cell(medians: Medians, system: str, scenario: Scenario) -> str:
    """A system that leaves its core idle here could do more: the generator, on its own core, was the limit."""
    speed = medians.of(system, scenario.name, lambda outcome: outcome.exchanges_per_s)
    busy = medians.of(system, scenario.name, lambda outcome: outcome.cpu_ns / outcome.elapsed_s / 1e9)
    return "" if speed is None else f"{speed:,.0f}" + (f" ({busy:.0%})" if busy else "")


def _latency_row(medians: Medians, scenario: Scenario, share: str) -> list[str]:
    def figure(outcome: Outcome) -> float:
        return outcome.p50_us if share == "p50" else outcome.p99_us

    direct = medians.of("direct", scenario.name, figure)
    cells = []
    for system in medians.systems:
        own = medians.of(system, scenario.name, figure)
        text = "" if own is None else f"{own / 1000:.2f}"
        cells.append(
            text if own is None or direct is None or system == "direct" else f"{text} ({(own - direct) / 1000:+.2f})"
        )
    return [f"{share} ms, {scenario.title} (added over direct)", *cells]
