"""Every promise about cost, held against what was measured: a line each, `holds` or `MISSED`.

What was not measured in a run (a peer that is not installed, a scenario left out) has no line.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.footprint import Footprint
from benchmarks.medians import FLOOR, Medians, Sample

BARE, FIVE, DEFAULT, TRANSLATED = "gateway bare", "gateway", "gateway, default chain", "gateway translated"
GATEWAYS = (BARE, FIVE, DEFAULT, TRANSLATED)
SLOWEST = "LiteLLM"
SLOWEST_SHARE = 100
"""The bare chain costs at most one part in so many of LiteLLM's request."""
ADDED_P50_MS, ADDED_P99_MS, ADDED_TIMES = 0.5, 2.0, 2.0
IDLE_MB, STREAM_KIB, START_S = 60.0, 48.0, 1.0


@dataclass(frozen=True, slots=True)
class Ratio:
    """CPU per unit of `system` in `scenario`: at most `most` times that of `floor`."""

    scenario: str
    title: str
    system: str
    most: float
    floor: str = FLOOR


RATIOS = (
    Ratio("plain-1k", "plain request, 1 KB, bare chain", BARE, 3.0),
    Ratio("plain-1k", "plain request, 1 KB, default chain with its ledger", DEFAULT, 6.0),
    Ratio("plain-1k", "plain request, 1 KB, five plugins", FIVE, 5.0),
    Ratio("plain-20k", "plain request, 20 KB, five plugins", FIVE, 5.0),
    Ratio("stream-1", "event, 1 stream, five plugins", FIVE, 3.0),
    Ratio("stream-200", "event, 200 streams, bare chain", BARE, 1.5),
    Ratio("stream-200", "event, 200 streams, five plugins", FIVE, 1.5),
    Ratio("stream-200", "event, 200 streams, default chain with its ledger", DEFAULT, 1.5),
    Ratio("plain-1k", "plain request, 1 KB, translated", TRANSLATED, 1.5, FIVE),
    Ratio("plain-20k", "plain request, 20 KB, translated", TRANSLATED, 1.5, FIVE),
    Ratio("stream-1", "event, 1 stream, translated", TRANSLATED, 2.0, FIVE),
    Ratio("stream-200", "event, 200 streams, translated", TRANSLATED, 2.0, FIVE),
)


def line(title: str, measured: float, unit: str, most: float, *, said: str = "") -> str:
    """Return one promise's line; `said` is put in brackets behind the figure."""
    more = f" ({said})" if said else ""
    return f"{title}: {measured:.2f} {unit}{more}; bar {most:g} {unit}: {'holds' if measured <= most else 'MISSED'}"


def verdicts(samples: Sequence[Sample], footprints: dict[str, Footprint], peers: Sequence[str] = ()) -> list[str]:
    """Return a line for every bar that this run can tell about."""
    medians, lines = Medians(samples), []
    for bar in RATIOS:
        ratio = medians.ratio(bar.system, bar.scenario, bar.floor)
        if ratio is not None:
            against = "verbatim" if bar.floor == FIVE else bar.floor
            lines.append(line(bar.title, ratio, f"× {against}", bar.most))
    return [*lines, *_peers(medians, peers), *_latency(medians), *_footprints(footprints)]


def _peers(medians: Medians, peers: Sequence[str]) -> list[str]:
    own, lines = medians.cpu_us(BARE, "plain-1k"), []
    costs = {name: cost for name in peers if (cost := medians.cpu_us(name, "plain-1k"))}
    if not own or not costs:
        return []
    title = "plain request, 1 KB, bare chain"
    if slowest := costs.get(SLOWEST):
        share, held = slowest / own, "holds" if slowest / own >= SLOWEST_SHARE else "MISSED"
        lines.append(f"{title}: 1/{share:.0f} of {SLOWEST}; bar 1/{SLOWEST_SHARE}: {held}")
    name = min(costs, key=lambda each: costs[each])
    held = "holds" if own < costs[name] else "MISSED"
    lines.append(f"{title}: {own:.1f} µs, the best peer ({name}) {costs[name]:.1f} µs; bar below every peer: {held}")
    return lines


def _latency(medians: Medians) -> list[str]:
    title, lines = "added at 80 requests a second, default chain", []
    p50, p99, floor = (
        medians.added_ms(DEFAULT, "p50"),
        medians.added_ms(DEFAULT, "p99"),
        medians.added_ms(FLOOR, "p50"),
    )
    if p50 is not None:
        lines.append(line(f"p50 {title}", p50, "ms", ADDED_P50_MS))
        if floor is not None and floor > 0:
            lines.append(line(f"p50 {title}", p50 / floor, f"× {FLOOR}", ADDED_TIMES))
    if p99 is not None:
        lines.append(line(f"p99 {title}", p99, "ms", ADDED_P99_MS))
    return lines


def _footprints(footprints: dict[str, Footprint]) -> list[str]:
    """Each figure is the worst of this gateway's configurations: the promise is made for all of them."""
    own = {name: found for name, found in footprints.items() if name in GATEWAYS}
    lines = []
    for title, unit, most, figures in (
        ("memory idle", "MB", IDLE_MB, {n: statistics.median(f.idle_rss_bytes) / 1e6 for n, f in own.items()}),
        ("memory per open stream", "KiB", STREAM_KIB, {n: f.stream_bytes / 1024 for n, f in own.items() if f.streams}),
        ("start, offline", "s", START_S, {n: statistics.median(f.starts_s) for n, f in own.items()}),
    ):
        if figures:
            worst = max(figures, key=lambda name: figures[name])
            lines.append(line(title, figures[worst], unit, most, said=worst))
    return lines
