"""The bench's command: start everything, run interleaved rounds, print the tables, keep every sample.

python -m benchmarks [--short] [--peers] [--rounds N] [--only SCENARIO]… [--system NAME]… [--publish]
python -m benchmarks --load wrk|h2load|ab [--system NAME]…
python -m benchmarks --profile [--native] [--seconds N] [--only SCENARIO]… [--system NAME]…
"""

from __future__ import annotations

import argparse
import contextlib
import re
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path

from benchmarks import blocking, chains, external, hotspots, pages, peers, report
from benchmarks.about import about
from benchmarks.bars import BARE, DEFAULT, FIVE, TRANSLATED
from benchmarks.clocks import split_cpus
from benchmarks.footprint import PEERS_STARTS, STARTS, STREAMS, Footprint, alone, gateway_bytes, nginx_bytes
from benchmarks.kept import RESULTS, Kept, data_path, save
from benchmarks.scenarios import Scenario, suite
from benchmarks.systems import HERE, BenchError, Mock, System, checked, gateway, mock, nginx

HOMES = {
    BARE: HERE / "homes" / "bare",
    FIVE: HERE / "homes" / "five",
    DEFAULT: HERE / "homes" / "default",
    TRANSLATED: HERE / "homes" / "five",
}
SYSTEMS = ("direct", "nginx", *HOMES, *peers.PEERS)
OURS = tuple(name for name in SYSTEMS if name not in peers.PEERS)


def arguments(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description="What the gateway costs, beside nginx in the same run."
    )
    parser.add_argument("--short", action="store_true", help="a few minutes; the figures waver more")
    parser.add_argument(
        "--rounds", type=int, default=0, metavar="N", help="interleaved rounds (default 9; 3 with --short)"
    )
    parser.add_argument(
        "--only",
        action="append",
        choices=[s.name for s in suite(short=False)],
        metavar="SCENARIO",
        help="%(choices)s; may be repeated",
    )
    parser.add_argument(
        "--system", action="append", choices=SYSTEMS, metavar="NAME", help="%(choices)s; may be repeated"
    )
    parser.add_argument("--peers", action="store_true", help="other gateways too (`make peers` installs them)")
    parser.add_argument("--chains", action="store_true", help="with --only or --system: what each plugin adds, too")
    parser.add_argument("--footprint", action="store_true", help="with --only or --system: start and memory, too")
    parser.add_argument(
        "--json", type=Path, metavar="FILE", help="every sample (default: benchmarks/results/TIME.json)"
    )
    parser.add_argument("--publish", action="store_true", help="keep the samples in benchmarks/data, tables in pages")
    parser.add_argument("--load", choices=external.PROGRAMS, help="plain requests, asked by a generator not our own")
    parser.add_argument("--profile", action="store_true", help="no table: sample the gateway under load with py-spy")
    parser.add_argument("--native", action="store_true", help="with --profile: C functions too (slower sampling)")
    parser.add_argument("--seconds", type=int, default=10, help="with --profile: how long to sample each scenario")
    options = parser.parse_args(argv)
    if options.publish and (options.only or options.system):
        parser.error("--publish wants the whole table: leave out --only and --system")
    return options


def started(name: str, upstream: Mock, folder: Path) -> AbstractContextManager[System]:
    """Return a system that begins with its block."""
    on, _ = split_cpus()
    if name == "direct":
        return contextlib.nullcontext(System(name, upstream.port))
    if name == "nginx":
        return nginx(upstream, on, folder)
    if name in peers.PEERS:
        return peers.PEERS[name](upstream, on, folder)
    return gateway(name, HOMES[name], upstream, on, folder, "anthropic" if name == TRANSLATED else "openai_chat")


@contextlib.contextmanager
def running(names: Sequence[str], upstream: Mock, folder: Path) -> Iterator[list[System]]:
    """Yield the systems asked for, all of them up: idle ones cost nothing, and no round waits for a start."""
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(started(name, upstream, folder / slug(name))) for name in names]


def slug(name: str) -> str:
    return re.sub(r"\W+", "-", name.lower())


def rounds(kept: Kept, count: int, names: Sequence[str], upstream: Mock, folder: Path) -> dict[str, int]:
    """Fill in every system's samples, and return what memory each has taken after its load."""
    with running(names, upstream, folder) as systems:
        for number in range(1, count + 1):
            for scenario in kept.scenarios:
                for system in systems:
                    if system.root_pid is None and scenario.kind == "stream":
                        continue  # nothing to charge, and no latency asked for
                    sys.stderr.write(f"\rround {number}/{count}: {scenario.name:12} {system.name:24}")
                    which = f"{system.name}, {scenario.name}"
                    if system.name not in peers.PEERS:
                        kept.samples.append(checked(system, scenario, upstream, number))
                    elif number <= peers.ROUNDS and which not in kept.failed:
                        try:
                            kept.samples.append(checked(system, scenario, upstream, number))
                        except BenchError as error:  # a peer's: told beside the table, and the others go on
                            kept.failed[which] = str(error).partition("\n")[0]
        sys.stderr.write("\n")
        return {system.name: system.rss_bytes() for system in systems if system.root_pid is not None}


def footprint(kept: Kept, name: str, upstream: Mock, folder: Path, *, short: bool) -> Footprint:
    """Return what a system takes when it is alone. Of a peer, what fails is told beside the table."""
    starts = PEERS_STARTS if name in peers.PEERS else 2 if short else STARTS
    sys.stderr.write(f"\rstarts and open streams: {name:24}")
    try:
        found, failed = alone(lambda at: started(name, upstream, at), upstream, folder, starts=starts, streams=STREAMS)
    except BenchError as error:
        found, failed = Footprint(), str(error).partition("\n")[0]
    if failed:
        if name not in peers.PEERS:
            raise BenchError(failed)
        kept.failed[f"{name}, alone"] = failed
    if name not in peers.PEERS:
        found = replace(found, size_bytes=nginx_bytes() if name == "nginx" else gateway_bytes())
    return found


def compare(
    options: argparse.Namespace, scenarios: Sequence[Scenario], names: Sequence[str], upstream: Mock, folder: Path
) -> None:
    whole = not (options.only or options.system)
    count = options.rounds or (3 if options.short else 9)
    more = peers.versions() if any(name in peers.PEERS for name in names) else {}
    kept = Kept(about(**more, rounds=str(count)), list(scenarios))
    raw = options.json or RESULTS / f"{kept.about['time'].replace(':', '')}.json"
    loaded = rounds(kept, count, names, upstream, folder)
    save(kept, raw)
    if whole or options.footprint:
        for name in loaded:
            own = footprint(kept, name, upstream, folder / f"alone-{slug(name)}", short=options.short)
            kept.footprints[name] = replace(own, loaded_rss_bytes=loaded[name])
        sys.stderr.write("\n")
    if not options.only and TRANSLATED in names:
        kept.held = blocking.measure(2 if options.short else 5)
    if whole or options.chains:
        on, _ = split_cpus()
        kept.chains = chains.measure(upstream, on, folder / "chains", options.rounds or (3 if options.short else 7))
    save(kept, raw)
    print(*report.parts(kept).values(), f"every sample: {raw}", sep="\n\n")
    if options.publish:
        save(kept, data_path(kept.about))
        report.publish(kept, data_path(kept.about))


def show_profile(
    options: argparse.Namespace, scenarios: Sequence[Scenario], names: Sequence[str], upstream: Mock, folder: Path
) -> None:
    with running([name for name in names if name in HOMES], upstream, folder) as systems:
        for system in systems:
            for scenario in scenarios:
                found = hotspots.profile(
                    system, scenario, upstream, folder, seconds=options.seconds, native=options.native
                )
                print(f"\n{system.name}: {scenario.title}: {found.cpu_us:.1f} µs, {found.kernel_us:.1f} in the kernel")
                print(hotspots.table(found.hotspots))


def show_external(options: argparse.Namespace, names: Sequence[str], upstream: Mock, folder: Path) -> None:
    count = options.rounds or (3 if options.short else 5)
    with running([name for name in names if name not in ("direct", TRANSLATED)], upstream, folder) as systems:
        samples = external.measure(options.load, systems, upstream, folder, count)
    found = {f"bench {options.load}": external.table(options.load, samples)}
    print(*found.values(), sep="\n\n")
    if options.publish:
        facts = about(generator=external.version(options.load), rounds=str(count))
        external.save(samples, facts, data_path(facts, f"-{options.load}"))
        pages.publish(found)


def main(argv: Sequence[str]) -> int:
    options = arguments(argv)
    scenarios = [s for s in suite(short=options.short) if not options.only or s.name in options.only]
    names = options.system or list(SYSTEMS if options.peers else OURS)
    try:
        _, away = split_cpus()
        with tempfile.TemporaryDirectory(prefix="bench-") as folder, mock(away) as upstream:
            if options.load:
                show_external(options, names, upstream, Path(folder))
            else:
                (show_profile if options.profile else compare)(options, scenarios, names, upstream, Path(folder))
    except BenchError as error:
        sys.stderr.write(f"\nbench: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
