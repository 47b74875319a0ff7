"""What more processes and a shared state cost: workers on one port, and limits kept in Redis."""

from __future__ import annotations

import contextlib
import os
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path

from benchmarks.clocks import cpu_ns, split_cpus
from benchmarks.load import Outcome
from benchmarks.medians import Medians, Sample
from benchmarks.scale.homes import varied
from benchmarks.scale.part import Part, held
from benchmarks.scenarios import Scenario, suite
from benchmarks.systems import BenchError, Mock, System, checked, gateway
from tests.state.servers import Server, one_server

MOST_TRIPS, MOST_P99_MS = 1.0, 2.0
OWN_READS = 4
"""Between two looks at the server's counts it has read so often from those who look: two questions, two ends."""
TRIPS_SLACK = 0.05
"""The server is also asked whether it is there; that is no request's round trip."""
CHAINS = {"default chain": "default", "auth, rate_limit, budget": "limits"}
PLAIN = Scenario("saturation", "64 connections", "plain", connections=64, exchanges=12_000)


def workers(upstream: Mock, folder: Path, rounds: int, counts: Sequence[int] = (1, 2)) -> Part:
    """Measure the bare chain on a shared SQLite state, by one process and by several on as many cores."""
    cpus = sorted(os.sched_getaffinity(0))
    samples: list[Sample] = []
    with contextlib.ExitStack() as stack:
        systems: dict[str, System] = {}
        for count in counts:
            home = varied(folder / f"home-{count}", "bare", state="sqlite:var/state.db")
            name, on = f"workers: {count}", set(cpus[-count:])
            run = folder / f"workers-{count}"
            systems[name] = stack.enter_context(gateway(name, home, upstream, on, run, workers=count))
        for number in range(1, rounds + 1):
            for name, system in systems.items():
                sys.stderr.write(f"\rround {number}/{rounds}: {name:32}")
                samples.append(checked(system, PLAIN, upstream, number))
        sys.stderr.write("\n")
        memory = {name: system.rss_bytes() / 1e6 for name, system in systems.items()}
    medians = Medians(samples)

    def of(name: str, figure: Callable[[Outcome], float]) -> float:
        return medians.of(name, PLAIN.name, figure) or 0.0

    rows = [["", "CPU µs a request", "requests a second", "cores busy", "requests a second a core", "memory, MB"]]
    for name in systems:
        cost = of(name, lambda o: o.cpu_us_per_unit)
        cells = [f"{cost:.1f}", f"{of(name, lambda o: o.exchanges_per_s):,.0f}"]
        cells += [
            f"{of(name, lambda o: o.cpu_ns / o.elapsed_s / 1e9):.2f}",
            f"{1e6 / cost:,.0f}",
            f"{memory[name]:.0f}",
        ]
        rows.append([name, *cells])
    note = "generator and mock take part of the same cores" if len(cpus) < max(counts) + 2 else "on cores of their own"
    first, last = f"workers: {counts[0]}", f"workers: {counts[-1]}"
    gain = of(last, lambda o: o.exchanges_per_s) / of(first, lambda o: o.exchanges_per_s)
    dearer = of(last, lambda o: o.cpu_us_per_unit) / of(first, lambda o: o.cpu_us_per_unit)
    line = (
        f"{counts[-1]} workers: {gain:.2f} times the requests a second of {counts[0]}, {dearer:.2f} times the CPU a "
        f"request ({len(cpus)} cores, {note})"
    )
    return Part(rows, [line], [asdict(sample) for sample in samples])


def redis(upstream: Mock, folder: Path, rounds: int) -> Part:
    """Measure what Redis adds to a request: CPU of both processes, commands, round trips, latency."""
    latency = replace(next(s for s in suite(short=True) if s.name == "latency"), exchanges=240)
    samples: list[Sample] = []
    asked: dict[str, list[dict[str, float]]] = {}
    server_us: dict[str, list[float]] = {}
    on, _ = split_cpus()
    with _redis(folder) as server, contextlib.ExitStack() as stack:
        systems = []
        for name, home in CHAINS.items():
            for kind, state in (("memory", "memory:"), ("Redis", f"redis://127.0.0.1:{server.port}/1")):
                made = varied(folder / f"{home}-{kind}", home, state=state)
                run = folder / f"run-{home}-{kind}"
                systems.append(stack.enter_context(gateway(f"{name}, {kind}", made, upstream, on, run)))
        for number in range(rounds + 1):
            for system in systems:
                for scenario in (PLAIN, latency):
                    sys.stderr.write(f"\rround {number}/{rounds}: {scenario.name:12} {system.name:36}")
                    before, used = _counts(server), cpu_ns([server.pid])
                    found = checked(system, scenario, upstream, number)
                    used, after = cpu_ns([server.pid]) - used, _counts(server)
                    if not number:
                        continue  # scripts are loaded, buckets made
                    samples.append(found)
                    sent = scenario.exchanges + scenario.connections * 4
                    if scenario is latency:
                        after["reads"] -= OWN_READS
                        each = {key: (after[key] - before.get(key, 0)) / sent for key in after}
                        asked.setdefault(system.name, []).append(each)
                    else:
                        server_us.setdefault(system.name, []).append(used / sent / 1000)
        sys.stderr.write("\n")
    return told(samples, asked, server_us)


def told(samples: list[Sample], asked: dict[str, list[dict[str, float]]], server_us: dict[str, list[float]]) -> Part:
    medians = Medians(samples)
    rows = [["", "CPU µs a request", "of Redis itself", "round trips", "commands", "p50 ms at 80/s", "p99 ms at 80/s"]]
    lines, kept = [], [asdict(sample) for sample in samples]

    def ms(name: str, figure: Callable[[Outcome], float]) -> float:
        return (medians.of(name, "latency", figure) or 0.0) / 1000

    for name in medians.systems:
        shared = name.endswith("Redis")
        counts = {key: _middle([each.get(key, 0.0) for each in asked[name]]) for key in asked[name][-1]}
        trips = counts.pop("reads")
        commands = ", ".join(f"{key} {n:.2f}" for key, n in sorted(counts.items()) if n >= 0.005)
        rows.append([
            name,
            f"{medians.cpu_us(name, PLAIN.name) or 0.0:.1f}",
            f"{_middle(server_us[name]):.1f}" if shared else "",
            f"{trips:.2f}" if shared else "",
            commands if shared else "",
            f"{ms(name, lambda o: o.p50_us):.2f}",
            f"{ms(name, lambda o: o.p99_us):.2f}",
        ])  # fmt: skip
        kept.append({"system": name, "asked": asked[name], "server_us": server_us[name]})
        if shared:
            alone = name.replace("Redis", "memory")
            added = ms(name, lambda o: o.p99_us) - ms(alone, lambda o: o.p99_us)
            good = held(trips <= MOST_TRIPS + TRIPS_SLACK)
            lines.append(f"{name}: {trips:.2f} round trips a request; bar {MOST_TRIPS:g}: {good}")
            good = held(added <= MOST_P99_MS)
            lines.append(
                f"{name}: p99 {added:+.2f} ms over memory at 80 requests a second; bar {MOST_P99_MS:g}: {good}"
            )
    return Part(rows, lines, kept)


@contextlib.contextmanager
def _redis(folder: Path) -> Iterator[Server]:
    """Yield a server that shares the generator's core: it is not what is measured."""
    own = os.sched_getaffinity(0)
    os.sched_setaffinity(0, split_cpus()[1])
    try:
        stack = contextlib.ExitStack()
        servers = stack.enter_context(one_server(folder / "redis"))
    finally:
        os.sched_setaffinity(0, own)
    with stack:
        yield servers.servers[0]


def _counts(server: Server) -> dict[str, float]:
    """Return how often each command ran so far (what scripts call included), and `reads`: how often the server read
    from a socket, which is once a round trip."""
    calls = re.findall(r"cmdstat_([^:]+):calls=(\d+)", server.info("commandstats"))
    read = re.search(r"total_reads_processed:(\d+)", server.info("stats"))
    if read is None:
        raise BenchError("the server does not count its reads")
    found = {name.replace("|", " "): float(count) for name, count in calls if name != "info"}
    return {**found, "reads": float(read[1])}


def _middle(values: Sequence[float]) -> float:
    return sorted(values)[len(values) // 2]
