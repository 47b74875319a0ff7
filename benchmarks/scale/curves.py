"""Do many routes and many keys make a request dearer? Instructions and CPU at ten, a hundred, a thousand …

With keys every caller asks in turn, so that each request is another key's, with a bucket of its own: no cache of the
last caller helps. What the first request of a caller makes is made before anything is measured.
"""

from __future__ import annotations

import contextlib
import shutil
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from benchmarks.clocks import split_cpus
from benchmarks.instructions import counted
from benchmarks.medians import Medians, Sample
from benchmarks.scale.homes import with_keys, with_routes
from benchmarks.scale.part import Part, held
from benchmarks.scenarios import Scenario
from benchmarks.systems import Mock, System, checked, gateway

FLAT = 1.10
"""The most may cost so many times the least and the curve still counts as flat."""
REQUESTS = 200
EXCHANGES = 12_000


@dataclass(frozen=True, slots=True)
class Point:
    """One size on a curve: how many, the home that has them, and how many callers ask."""

    count: int
    home: Path
    keys: int = 1


def routes(upstream: Mock, folder: Path, rounds: int, sizes: Sequence[int] = (10, 100, 1000)) -> Part:
    """Measure routes by name and by glob, the last one asked for."""
    curves = {
        "routes by name": [Point(n, with_routes(folder / f"names-{n}", n, globs=False)) for n in sizes],
        "routes by glob": [Point(n, with_routes(folder / f"globs-{n}", n, globs=True)) for n in sizes],
    }
    return _measured(curves, upstream, folder, rounds)


def keys(upstream: Mock, folder: Path, rounds: int, sizes: Sequence[int] = (10, 1000, 10_000)) -> Part:
    """Measure keys, each with a limit, all asking in turn."""
    points = [Point(n, with_keys(folder / f"keys-{n}", n), n) for n in sizes]
    return _measured({"keys, asking in turn": points}, upstream, folder, rounds)


def _measured(curves: dict[str, list[Point]], upstream: Mock, folder: Path, rounds: int) -> Part:
    plain = Scenario("plain-1k", "plain request, 1 KB", "plain", connections=16, exchanges=EXCHANGES)
    samples: list[Sample] = []
    started: dict[str, System] = {}
    points = {f"{name}: {point.count:,}": point for name, curve in curves.items() for point in curve}
    on, _ = split_cpus()
    with contextlib.ExitStack() as stack:
        for number, (name, point) in enumerate(points.items()):
            started[name] = stack.enter_context(gateway(name, point.home, upstream, on, folder / f"cpu-{number}"))
        for number in range(rounds + 1):
            for name, point in points.items():
                sys.stderr.write(f"\rround {number}/{rounds}: {name:32}")
                found = checked(started[name], replace(plain, keys=point.keys), upstream, number)
                samples += [found] if number else []  # in the first each caller's bucket is made
        sys.stderr.write("\n")
    counts = _instructions(points, upstream, folder) if shutil.which("valgrind") else {}
    cpu = {name: Medians(samples).cpu_us(name, plain.name) or 0.0 for name in points}
    rows: list[list[str]] = [["", "instructions a request", "CPU µs a request", "start, s", "memory idle, MB"]]
    for name in points:
        shown = f"{counts[name]:,.0f}" if name in counts else ""
        system = started[name]
        rows.append([name, shown, f"{cpu[name]:.1f}", f"{system.start_s:.2f}", f"{system.idle_rss_bytes / 1e6:.0f}"])
    lines = [flat(title, [f"{title}: {p.count:,}" for p in curve], counts, cpu) for title, curve in curves.items()]
    kept: list[dict[str, Any]] = [
        {"round": s.round, "system": s.system, "cpu_us": s.outcome.cpu_us_per_unit, "others": s.outcome.others}
        for s in samples
    ]
    return Part(rows, lines, [*kept, *({"system": name, "instructions": n} for name, n in counts.items())])


def flat(title: str, names: Sequence[str], counts: dict[str, float], cpu: dict[str, float]) -> str:
    """Return whether a curve is flat: by instructions where they were counted."""
    figures: Callable[[str], float] = counts.__getitem__ if counts else cpu.__getitem__
    ratio = figures(names[-1]) / figures(names[0])
    by = "instructions" if counts else "CPU"
    return f"{title}: the most cost {ratio:.2f} times the fewest, by {by}; bar {FLAT:g}: {held(ratio <= FLAT)}"


def _instructions(points: dict[str, Point], upstream: Mock, folder: Path) -> dict[str, float]:
    """Return instructions a request at each point; every caller has asked once before."""
    found = {}
    for number, (name, point) in enumerate(points.items()):
        sys.stderr.write(f"\rinstructions: {name:32}")
        plain = Scenario("plain-1k", "plain request, 1 KB", "plain", keys=point.keys)
        at, warm_up = folder / f"count-{number}", max(300, point.keys)
        counts = counted(point.home, upstream, REQUESTS, at, scenarios=[plain], warm_up=warm_up)
        found[name] = counts[plain.name]
    sys.stderr.write("\n")
    return found
