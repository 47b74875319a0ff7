"""From a run's samples to the tables that pages show.

python -m benchmarks.report FILE [--publish]      make them again from a kept run, and put them into the pages
"""

from __future__ import annotations

import argparse
import statistics
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from benchmarks import about, bars, blocking, chains, kept, pages, peers
from benchmarks.footprint import Footprint
from benchmarks.load import Outcome
from benchmarks.medians import FLOOR, Medians, Sample, disturbed
from benchmarks.scenarios import Scenario


def table(samples: Sequence[Sample], suite: Sequence[Scenario], footprints: dict[str, Footprint]) -> str:
    """Return the result as a Markdown table, a column a system, the ratio to nginx in brackets."""
    medians = Medians(samples)
    systems = medians.systems
    rows: list[list[str]] = []
    for scenario in suite:
        if scenario.rate_per_s:
            rows += [_latency_row(medians, scenario, share) for share in ("p50", "p99")]
        elif scenario.name == "saturation":
            cells = (_speed_cell(medians, system, scenario) for system in systems)
            rows.append([f"requests a second, {scenario.title} (core busy)", *cells])
        else:
            rows.append([f"CPU µs per {scenario.title}", *(_cpu_cell(medians, system, scenario) for system in systems)])
            rows.append(
                [f"LiteLLM's, times this {scenario.title}", *(_share_cell(medians, s, scenario) for s in systems)]
            )
    shown: tuple[tuple[str, Callable[[Footprint], str]], ...] = (
        ("memory idle, MB", lambda f: f"{statistics.median(f.idle_rss_bytes) / 1e6:.0f}" if f.idle_rss_bytes else ""),
        ("memory after load, MB", lambda f: f"{f.loaded_rss_bytes / 1e6:.0f}" if f.loaded_rss_bytes else ""),
        ("memory per open stream, KiB", lambda f: f"{f.stream_bytes / 1024:.1f}" if f.streams else ""),
        ("start to ready, s", lambda f: f"{statistics.median(f.starts_s):.2f}" if f.starts_s else ""),
        (
            "installed, MB",
            lambda f: f"{f.size_bytes / 1e6:.{0 if f.size_bytes >= 1e7 else 1}f}" if f.size_bytes else "",
        ),
    )
    for title, figure in shown:
        rows.append([title, *(figure(footprints[system]) if system in footprints else "" for system in systems)])
    lines = [["", *systems], ["---", *["---:"] * len(systems)], *(row for row in rows if any(row[1:]))]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def disturbance(samples: Sequence[Sample]) -> str:
    """Return how busy the machine was with other work."""
    return disturbed([sample.outcome.others for sample in samples if sample.outcome.cpu_ns])


def parts(run: kept.Kept) -> dict[str, str]:
    """Return what pages can show of a run, by the name of their markers."""
    lines = bars.verdicts(run.samples, run.footprints, list(peers.PEERS))
    if run.held:
        lines += blocking.verdicts(run.held)
    lines += chains.verdicts(run.chains) if run.chains else []
    lines += [f"not measured: {which}: {why}" for which, why in run.failed.items()]
    facts = [disturbance([*run.samples, *run.chains]), about.told(run.about)]
    found = {
        "bench": table(run.samples, run.scenarios, run.footprints),
        "bench bars": "\n".join(f"- {line}" for line in lines),
        "bench facts": "\n".join(f"{fact}  " for fact in facts if fact).rstrip(),
    }
    return found | ({"bench chains": chains.table(run.chains)} if run.chains else {})


def publish(run: kept.Kept, path: Path) -> None:
    """Put a run's tables into the pages, with the name of the file that keeps its samples."""
    found = parts(run)
    found["bench facts"] += f"  \nevery sample: `benchmarks/data/{path.name}`"
    pages.publish(found)


def _cpu_cell(medians: Medians, system: str, scenario: Scenario) -> str:
    cpu_us = medians.cpu_us(system, scenario.name)
    if not cpu_us:
        return ""
    ratio = None if system == FLOOR else medians.ratio(system, scenario.name)
    return f"{cpu_us:.1f}" + (f" ({ratio:.2f} ×)" if ratio else "")


def _share_cell(medians: Medians, system: str, scenario: Scenario) -> str:
    own, slowest = medians.cpu_us(system, scenario.name), medians.cpu_us(bars.SLOWEST, scenario.name)
    if not own or not slowest or system == bars.SLOWEST:
        return ""
    return f"{slowest / own:,.{0 if slowest / own >= 10 else 1}f}"


def _speed_cell(medians: Medians, system: str, scenario: Scenario) -> str:
    """A system that leaves its core idle here could do more: the generator, on its own core, was the limit."""
    speed = medians.of(system, scenario.name, lambda outcome: outcome.exchanges_per_s)
    busy = medians.of(system, scenario.name, lambda outcome: outcome.cpu_ns / outcome.elapsed_s / 1e9)
    return "" if speed is None else f"{speed:,.0f}" + (f" ({busy:.0%})" if busy else "")


def _latency_row(medians: Medians, scenario: Scenario, share: str) -> list[str]:
    def figure(outcome: Outcome) -> float:
        return outcome.p50_us if share == "p50" else outcome.p99_us

    cells = []
    for system in medians.systems:
        own, added = medians.of(system, scenario.name, figure), medians.added_ms(system, share, scenario.name)
        text = "" if own is None else f"{own / 1000:.2f}"
        cells.append(text if added is None or system == "direct" else f"{text} ({added:+.2f})")
    return [f"{share} ms, {scenario.title} (added over direct)", *cells]


def main(argv: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.report", description=__doc__.split("\n")[0])
    parser.add_argument("file", type=Path, help="a run that was kept: benchmarks/data/*.json")
    parser.add_argument("--publish", action="store_true", help="put the tables into the pages")
    options = parser.parse_args(argv)
    try:
        run = kept.load(options.file)
    except (OSError, KeyError, TypeError, ValueError) as error:
        sys.stderr.write(f"bench: {options.file}: not a run that was kept: {error!r}\n")
        return 1
    print(*parts(run).values(), sep="\n\n")
    if options.publish:
        publish(run, options.file)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
