"""Plain requests asked by a load generator that is not this project's: wrk, h2load or ab.

    python -m benchmarks --load wrk [--system NAME]…        (`make bench LOAD=wrk`)

CPU is read as everywhere here, from the kernel's clock of the system's processes. It is divided by what the mock
answered meanwhile, which must be what the generator says it got (wrk leaves up to a request a connection unfinished
when its time is over). The generator cannot compare bytes as load.py does; an answer that is no 2xx voids the run.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks.clocks import cpu_ns, split_cpus
from benchmarks.load import SETTLE_S
from benchmarks.medians import FLOOR
from benchmarks.scenarios import Scenario, suite
from benchmarks.systems import HOST, BenchError, Mock, System

PACKAGES = {"wrk": "wrk", "h2load": "nghttp2-client", "ab": "apache2-utils"}
PROGRAMS = tuple(PACKAGES)
SECONDS = 2
"""How long wrk asks; the others are told a number of requests."""
LIMIT_S = 180.0


@dataclass(frozen=True, slots=True)
class Ask:
    """One run of a generator: a scenario's request to an address, its head and body apart."""

    url: str
    scenario: Scenario
    headers: tuple[tuple[str, str], ...]
    body: Path


@dataclass(frozen=True, slots=True)
class Said:
    """What a generator reports: whole answers, those that were wrong, speed and latency (0: it does not tell)."""

    answers: int
    wrong: int
    per_s: float
    p50_ms: float = 0.0
    p99_ms: float = 0.0


@dataclass(frozen=True, slots=True)
class External:
    """One round of one system."""

    round: int
    system: str
    scenario: str
    cpu_us: float
    requests: int
    per_s: float
    p50_ms: float
    p99_ms: float


# --- the programs ----------------------------------------------------------------------------------


def wrk(ask: Ask) -> list[str]:
    """Return its command; what is asked stands in a script of Lua."""
    script = ask.body.with_suffix(".lua")
    text = ask.body.read_text()
    heads = "".join(f"wrk.headers[{json.dumps(name)}] = {json.dumps(value)}\n" for name, value in ask.headers)
    script.write_text(f'wrk.method = "POST"\nwrk.body = [==[{text}]==]\n{heads}')
    connections = str(ask.scenario.connections)
    return ["wrk", "-t", "1", "-c", connections, "-d", f"{SECONDS}s", "--latency", "-s", str(script), ask.url]


def wrk_said(text: str) -> Said:
    """Return wrk's report. Raises: ValueError."""
    sockets = re.search(r"Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)", text)
    wrong = [_number(r"Non-2xx or 3xx responses: (\d+)", text, 0), *(map(int, sockets.groups()) if sockets else ())]
    return Said(
        int(_number(r"(\d+) requests in", text)),
        int(sum(wrong)),
        _number(r"Requests/sec:\s+([\d.]+)", text),
        _time_ms(r"\s50%\s+([\d.]+)(us|ms|s)\b", text),
        _time_ms(r"\s99%\s+([\d.]+)(us|ms|s)\b", text),
    )


def h2load(ask: Ask) -> list[str]:
    """Return its command: HTTP/1.1, a number of requests."""
    heads = [part for name, value in ask.headers for part in ("-H", f"{name}: {value}")]
    counts = ["-n", str(ask.scenario.exchanges), "-c", str(ask.scenario.connections), "-t", "1"]
    return ["h2load", "--h1", *counts, "-d", str(ask.body), *heads, ask.url]


def h2load_said(text: str) -> Said:
    """Return h2load's report; this version tells no percentiles. Raises: ValueError."""
    good = int(_number(r"status codes: (\d+) 2xx", text))
    return Said(good, int(_number(r"requests: (\d+) total", text)) - good, _number(r"([\d.]+) req/s", text))


def ab(ask: Ask) -> list[str]:
    """Return its command: HTTP/1.0 with keep-alive is all it can."""
    counts = ["-n", str(ask.scenario.exchanges), "-c", str(ask.scenario.connections)]
    kind = dict(ask.headers)["Content-Type"]
    heads = [part for name, value in ask.headers if name != "Content-Type" for part in ("-H", f"{name}: {value}")]
    return ["ab", "-k", "-q", "-l", *counts, "-p", str(ask.body), "-T", kind, *heads, ask.url]


def ab_said(text: str) -> Said:
    """Return ab's report. Raises: ValueError."""
    wrong = _number(r"Failed requests:\s+(\d+)", text, 0) + _number(r"Non-2xx responses:\s+(\d+)", text, 0)
    return Said(
        int(_number(r"Complete requests:\s+(\d+)", text)),
        int(wrong),
        _number(r"Requests per second:\s+([\d.]+)", text),
        _number(r"\s50%\s+(\d+)", text),
        _number(r"\s99%\s+(\d+)", text),
    )


_KNOWN: dict[str, tuple[Callable[[Ask], list[str]], Callable[[str], Said]]] = {
    "wrk": (wrk, wrk_said),
    "h2load": (h2load, h2load_said),
    "ab": (ab, ab_said),
}


def _number(pattern: str, text: str, default: float | None = None) -> float:
    found = re.search(pattern, text)
    if found is None:
        if default is None:
            raise ValueError(f"no {pattern!r} in: {text[-600:]}")
        return default
    return float(found[1])


def _time_ms(pattern: str, text: str) -> float:
    found = re.search(pattern, text)
    return float(found[1]) * {"us": 0.001, "ms": 1.0, "s": 1000.0}[found[2]] if found else 0.0


def version(program: str) -> str:
    """Return `wrk 4.1.0`, as the program says it."""
    flag = {"wrk": "-v", "h2load": "--version", "ab": "-V"}[program]
    said = subprocess.run([_path(program), flag], capture_output=True, text=True, check=False)
    number = re.search(r"(\d+\.[\w.]+)", said.stdout + said.stderr)
    return f"{program} {number[1] if number else ''}".strip()


def _path(program: str) -> str:
    found = shutil.which(program)
    if found is None:
        raise BenchError(f"{program}: not found on PATH; install the package {PACKAGES[program]}")
    return found


# --- measuring -------------------------------------------------------------------------------------


def measure(program: str, systems: Sequence[System], upstream: Mock, folder: Path, count: int) -> list[External]:
    """Return every round of plain requests, systems taking turns. Raises: BenchError."""
    samples = []
    scenarios = [s for s in suite(short=True) if s.kind == "plain" and not s.rate_per_s and s.variants == 1]
    for number in range(count + 1):
        for scenario in scenarios:
            for system in systems:
                sys.stderr.write(f"\r{program}, round {number}/{count}: {scenario.name:12} {system.name:24}")
                found = once(program, system, scenario, upstream, folder, number)
                samples += [found] if number else []  # the first opens pools and warms caches
    sys.stderr.write("\n")
    return samples


def once(program: str, system: System, scenario: Scenario, upstream: Mock, folder: Path, number: int) -> External:
    """Return one round. Raises: BenchError when an answer was wrong or did not come through the system."""
    _path(program)
    asked = system.asked(scenario)
    head, _, body = asked.request(f"{HOST}:{system.port}").partition(b"\r\n\r\n")
    request_line, *lines = head.decode().split("\r\n")
    pairs = [tuple(line.split(": ", 1)) for line in lines]
    headers = tuple((name, value) for name, value in pairs if name not in ("Host", "Content-Length"))
    file = folder / "body.json"
    file.write_bytes(body)
    command, said = _KNOWN[program]
    ask = Ask(f"http://{HOST}:{system.port}{request_line.split()[1]}", asked, headers, file)
    before, cpu_before, own = upstream.counts()["plain"], cpu_ns(system.pids()), os.sched_getaffinity(0)
    os.sched_setaffinity(0, split_cpus()[1])
    try:
        run = subprocess.run(command(ask), capture_output=True, text=True, timeout=LIMIT_S, check=False)
    finally:
        os.sched_setaffinity(0, own)
    time.sleep(SETTLE_S)
    used_ns, came = cpu_ns(system.pids()) - cpu_before, upstream.counts()["plain"] - before
    if run.returncode:
        raise BenchError(f"{system.name}: {program} ended with {run.returncode}: {run.stderr.strip()[-500:]}")
    try:
        report = said(run.stdout)
    except ValueError as error:
        raise BenchError(f"{system.name}: {program}'s report cannot be read: {error}") from error
    unfinished = came - report.answers
    if report.wrong or not 0 <= unfinished <= (asked.connections if program == "wrk" else 0):
        raise BenchError(
            f"{system.name}: {program} got {report.answers} answers, {report.wrong} of them wrong; the mock sent {came}"
        )
    return External(
        number, system.name, scenario.name, used_ns / came / 1000, came, report.per_s, report.p50_ms, report.p99_ms
    )


def table(program: str, samples: Sequence[External]) -> str:
    """Return medians as a Markdown table, the ratio to nginx in brackets."""

    def median(system: str, scenario: str, figure: Callable[[External], float]) -> float:
        return statistics.median([figure(s) for s in samples if (s.system, s.scenario) == (system, scenario)])

    systems = list(dict.fromkeys(sample.system for sample in samples))
    lines = [[f"asked by {program}", *systems], ["---", *["---:"] * len(systems)]]
    for scenario in dict.fromkeys(sample.scenario for sample in samples):
        costs = {system: median(system, scenario, lambda s: s.cpu_us) for system in systems}
        cells = []
        for system, cost in costs.items():
            is_floor = system == FLOOR or FLOOR not in costs
            cells.append(f"{cost:.1f}" if is_floor else f"{cost:.1f} ({cost / costs[FLOOR]:.2f} ×)")
        lines.append([f"CPU µs per request, {scenario}", *cells])
        speeds = (f"{median(system, scenario, lambda s: s.per_s):,.0f}" for system in systems)
        lines.append([f"requests a second, {scenario}", *speeds])
        for share, figure in LATENCIES.items():
            if any(figure(sample) for sample in samples):
                lines.append(
                    [f"{share} ms, {scenario}", *(f"{median(system, scenario, figure):.2f}" for system in systems)]
                )
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


LATENCIES: dict[str, Callable[[External], float]] = {"p50": lambda s: s.p50_ms, "p99": lambda s: s.p99_ms}


def save(samples: Sequence[External], facts: dict[str, str], path: Path) -> None:
    """Keep every sample."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = ",\n".join(f"  {json.dumps(asdict(each), ensure_ascii=False)}" for each in samples)
    path.write_text(f'{{\n "about": {json.dumps(facts, ensure_ascii=False)},\n "samples": [\n{rows}\n ]\n}}\n')
