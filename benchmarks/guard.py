"""The guard: does a request still take what it took? `make guard`, in CI after the lint; less than a minute.

    python -m benchmarks.guard                      compare with guard.json; exit 1 on a clear regression
    python -m benchmarks.guard --accept             write today's figures into it, for this minor version of Python
    python -m benchmarks.guard --judge cpu          without valgrind; what is done anyway where that is missing

Each figure is a ratio: what a plain request of 1 KB, one whose head is new each time, or a streamed event takes of the
gateway's process, to what a round of calibration.py takes in the same run, by the same interpreter. Two judges:

- *instructions*, by valgrind: the same on a busy machine but for what is done by time; a fifth more is a regression.
  The ledger is left out there: rows are written by the batch every 50 ms, and under valgrind each would be a batch.
- *cpu*, user and system time of the process by the kernel's clock: figures and calibration take turns, the least of
  each counts (other work only ever adds), and a quarter more is a regression.

A figure beyond its limit is measured a second time, and the better of the two counts. A Python that has no figures yet
is compared with the nearest that has, and twice as much is let pass.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from benchmarks.clocks import split_cpus
from benchmarks.instructions import SCENARIOS, counted, program
from benchmarks.scale.homes import varied
from benchmarks.scenarios import Scenario, suite
from benchmarks.systems import HERE, BenchError, checked, gateway, mock

FIGURES = HERE / "guard.json"
LIMITS = {"instructions": 0.20, "cpu": 0.25}
"""So much more than the tracked figure is let pass, by judge."""
NO_LEDGER = "default chain without its ledger"
HOMES = {"bare chain": HERE / "homes" / "bare", "default chain": HERE / "homes" / "default"}
WARM_UP, REQUESTS, STREAMS = 80, 100, 6
CALIBRATION = ("-m", "benchmarks.calibration")
ROUNDS = 1000
REPEATS = 5
Figures = dict[str, float]
Measure = Callable[[], Figures]


# --- the judges ------------------------------------------------------------------------------------


def by_instructions() -> Figures:
    """Return instructions a unit as multiples of a calibration round. Raises: BenchError."""
    scenarios = [each for each in SCENARIOS if each.name in ("plain-1k", "plain-varied", "stream-1")]
    found: Figures = {}
    with tempfile.TemporaryDirectory(prefix="guard-") as name, mock(split_cpus()[1]) as upstream:
        folder = Path(name)
        once, twice = (program([*CALIBRATION, str(n * ROUNDS)], folder) for n in (1, 2))
        for chain, home in {
            "bare chain": HOMES["bare chain"],
            NO_LEDGER: varied(folder / "made", "default", ledger="none"),
        }.items():
            at = folder / chain.split()[0]
            counts = counted(home, upstream, REQUESTS, at, scenarios=scenarios, warm_up=WARM_UP, streams=STREAMS)
            found |= {f"{_unit(each)}, {chain}": counts[each.name] * ROUNDS / (twice - once) for each in scenarios}
    return found


def by_cpu(repeats: int = REPEATS, homes: Mapping[str, Path] = HOMES, requests: int = 2000) -> Figures:
    """Return CPU time a unit as multiples of a calibration round, the least of several. Raises: BenchError."""
    known = {each.name: each for each in suite(short=True)}
    scenarios = (
        replace(known["plain-1k"], exchanges=requests),
        replace(known["plain-varied"], exchanges=requests),
        replace(known["stream-200"], connections=100, exchanges=100, events=requests // 50),
    )
    least: Figures = {}
    base = float("inf")
    on, away = split_cpus()
    with tempfile.TemporaryDirectory(prefix="guard-") as name, mock(away) as upstream, contextlib.ExitStack() as stack:
        systems = [
            stack.enter_context(gateway(chain, home, upstream, on, Path(name) / chain.split()[0]))
            for chain, home in homes.items()
        ]
        for number in range(repeats):
            for system in systems:
                for scenario in scenarios:
                    base = min(base, _calibrated(on))
                    unit, outcome = f"{_unit(scenario)}, {system.name}", checked(system, scenario, upstream, number)
                    least[unit] = min(least.get(unit, float("inf")), outcome.outcome.cpu_us_per_unit)
    return {unit: cost / base for unit, cost in least.items()}


def _calibrated(cpus: set[int]) -> float:
    """Return the microseconds of a calibration round, on the gateway's core."""
    own, command = os.sched_getaffinity(0), [sys.executable, *CALIBRATION, str(10 * ROUNDS)]
    os.sched_setaffinity(0, cpus)
    try:
        done = subprocess.run(command, cwd=HERE.parent, capture_output=True, text=True, check=True)
    finally:
        os.sched_setaffinity(0, own)
    return int(done.stdout) / (10 * ROUNDS) / 1000


def _unit(scenario: Scenario) -> str:
    return "event" if scenario.kind == "stream" else "plain request" if scenario.variants == 1 else "varied request"


JUDGES: dict[str, Measure] = {"instructions": by_instructions, "cpu": by_cpu}


# --- the verdict -----------------------------------------------------------------------------------


def python() -> str:
    """Return this interpreter's minor version, under which its figures stand."""
    return f"{sys.version_info.major}.{sys.version_info.minor}"


def tracked(kept: Mapping[str, Mapping[str, Figures]], version: str, judge: str) -> tuple[str, Figures]:
    """Return the figures to compare with, and whose they are. Raises: BenchError when there are none."""
    own = {each: by_judge[judge] for each, by_judge in kept.items() if judge in by_judge}
    if not own:
        raise BenchError(f"no tracked figures by {judge}; write them with `python -m benchmarks.guard --accept`")
    nearest = min(own, key=lambda each: abs(int(each.partition(".")[2]) - int(version.partition(".")[2])))
    return nearest, own[nearest]


def beyond(found: Figures, known: Figures, limit: float) -> Figures:
    """Return by what share each figure that is beyond its limit, or that nobody has accepted yet, is above it."""
    over = {unit: cost / known[unit] - 1 if unit in known else float("inf") for unit, cost in found.items()}
    return {unit: share for unit, share in over.items() if share > limit}


def judged(judge: str, measure: Measure, kept: Mapping[str, Mapping[str, Figures]], version: str) -> int:
    """Measure, compare, and when it looks bad measure again; print a line a figure and return the exit code."""
    whose, known = tracked(kept, version, judge)
    limit = LIMITS[judge] * (1 if whose == version else 2)
    if whose != version:
        print(f"guard: no figures for Python {version} yet: compared with {whose}'s, and {limit:.0%} is let pass")
    found = measure()
    if beyond(found, known, limit):
        print("guard: beyond the limit; measuring again", flush=True)
        again = measure()
        found = {unit: min(cost, again.get(unit, cost)) for unit, cost in found.items()}
    bad = beyond(found, known, limit)
    for unit, cost in found.items():
        against = f"{cost / known[unit] - 1:+.1%} of {known[unit]:.2f}" if unit in known else "not tracked yet"
        print(f"guard: {unit}: {cost:.2f} by {judge} ({against}): {'TOO MUCH' if unit in bad else 'holds'}")
    if bad:
        print(
            f"guard: {len(bad)} of {len(found)} figures are more than {limit:.0%} above what was accepted.\n"
            "Find out why: `python -m benchmarks.instructions`, `python -m benchmarks --profile`.\n"
            "A cost that is wanted is said in the commit and accepted: `python -m benchmarks.guard --accept`"
        )
    return int(bool(bad))


def accept(file: Path, version: str, measures: Mapping[str, Measure]) -> None:
    """Write new figures for this Python; those of others stay."""
    kept = read(file)
    found = {judge: measure() for judge, measure in measures.items()}
    fresh = {judge: {unit: round(cost, 3) for unit, cost in figures.items()} for judge, figures in found.items()}
    kept[version] = {**kept.get(version, {}), **fresh}
    file.write_text(json.dumps(dict(sorted(kept.items())), indent=2) + "\n")


def read(file: Path) -> dict[str, dict[str, Figures]]:
    """Return the tracked figures by Python and judge; none when there is no file."""
    return dict(json.loads(file.read_text())) if file.exists() else {}


def main(argv: Sequence[str], judges: Mapping[str, Measure] = JUDGES) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.guard", description=__doc__.split("\n")[0])
    parser.add_argument("--accept", action="store_true", help="write today's figures instead of comparing")
    parser.add_argument("--judge", choices=list(LIMITS), help="default: instructions where valgrind is installed")
    parser.add_argument("--figures", type=Path, default=FIGURES, metavar="FILE", help="default: benchmarks/guard.json")
    options = parser.parse_args(argv)
    can_count = shutil.which("valgrind") is not None
    judge = options.judge or ("instructions" if can_count else "cpu")
    try:
        if options.accept:
            chosen = [options.judge] if options.judge else [each for each in judges if can_count or each == "cpu"]
            accept(options.figures, python(), {each: judges[each] for each in chosen})
            return 0
        return judged(judge, judges[judge], read(options.figures), python())
    except BenchError as error:
        sys.stderr.write(f"guard: {error}\n")
        return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
