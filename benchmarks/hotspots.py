"""Where the gateway's microseconds go: py-spy samples it under load, and shares become microseconds per request.

The shares come from the sampled run, the microseconds from a run without the sampler, which slows what it watches.
"""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from benchmarks.clocks import ticks
from benchmarks.scenarios import Scenario
from benchmarks.systems import BenchError, Mock, System, drive

SAMPLES_PER_S = 500


@dataclass(frozen=True, slots=True)
class Profile:
    """CPU microseconds per unit without the sampler, the kernel's part of them, and every function seen."""

    cpu_us: float
    kernel_us: float
    hotspots: list[Hotspot]


@dataclass(frozen=True, slots=True)
class Hotspot:
    """A function's part of one unit (request or event): its own lines, and with all that it calls."""

    function: str
    self_us: float
    total_us: float


def profile(system: System, scenario: Scenario, upstream: Mock, folder: Path, *, seconds: int, native: bool) -> Profile:
    """Return where one unit's time goes, most self time first. Raises: BenchError."""
    sampler = Path(sys.executable).with_name("py-spy")
    if not sampler.exists():
        raise BenchError(f"{sampler}: not found; install it with: pip install py-spy")
    user, kernel = ticks(system.pids())
    cpu_us = drive(system, system.asked(scenario), upstream).cpu_us_per_unit
    user, kernel = (after - before for after, before in zip(ticks(system.pids()), (user, kernel), strict=True))
    stacks = folder / f"{system.name.replace(' ', '-')}-{scenario.name}.stacks"
    command = [
        str(sampler),
        "record",
        "--pid",
        str(system.root_pid),
        "--duration",
        str(seconds),
        "--rate",
        str(SAMPLES_PER_S),
    ]
    command += ["--format", "raw", "--function", "--output", str(stacks), *(["--native"] if native else [])]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as child:
        while child.poll() is None:
            drive(system, system.asked(scenario), upstream)
        said = child.stdout.read() if child.stdout else ""
    if child.returncode or not stacks.exists():
        raise BenchError(
            f"py-spy: exit code {child.returncode} (it needs the right to trace the gateway):\n{said[-1000:]}"
        )
    kernel_us = cpu_us * kernel / max(1, user + kernel)
    return Profile(cpu_us, kernel_us, hotspots(stacks.read_text(), cpu_us))


def hotspots(stacks: str, cpu_us: float) -> list[Hotspot]:
    """Return functions from collapsed stacks (`outer;…;inner COUNT`), `cpu_us` shared out among them by samples."""
    own: Counter[str] = Counter()
    whole: Counter[str] = Counter()
    for line in stacks.splitlines():
        frames, _, count = line.rpartition(" ")
        functions = frames.split(";")
        own[functions[-1]] += int(count)
        for function in set(functions):
            whole[function] += int(count)
    each = cpu_us / max(1, own.total())
    return sorted((Hotspot(f, own[f] * each, whole[f] * each) for f in whole), key=lambda spot: -spot.self_us)


def table(spots: list[Hotspot], rows: int = 30) -> str:
    """Return the functions with most self time, then those of our own with most time in all."""
    lines = ["  self µs  total µs  function, most self time first"]
    lines += [f"{spot.self_us:9.2f} {spot.total_us:9.2f}  {spot.function}" for spot in spots[:rows]]
    ours = sorted(
        (s for s in spots if "gateway/" in s.function or "plugins/" in s.function), key=lambda spot: -spot.total_us
    )
    lines += ["", "  self µs  total µs  our own functions, most time in all first"]
    lines += [f"{spot.self_us:9.2f} {spot.total_us:9.2f}  {spot.function}" for spot in ours[:rows]]
    return "\n".join(lines)
