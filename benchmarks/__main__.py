"""The bench's command: start everything, run interleaved rounds, print the table, keep the raw figures.

python -m benchmarks [--short] [--rounds N] [--only SCENARIO]… [--system NAME]… [--json FILE]
python -m benchmarks --profile [--native] [--seconds N] [--only SCENARIO]… [--system NAME]…
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.metadata
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

from benchmarks import blocking, chains, hotspots, peers
from benchmarks.clocks import machine, split_cpus
from benchmarks.report import TRANSLATED, VERBATIM, Footprint, Sample, disturbance, published, table, verdicts
from benchmarks.scenarios import Scenario, suite
from benchmarks.systems import HERE, BenchError, Mock, System, checked, gateway, mock, nginx, nginx_program

FIVE = HERE / "homes" / "five"
HOMES = {"gateway bare": HERE / "homes" / "bare", VERBATIM: FIVE, TRANSLATED: FIVE}
SYSTEMS = ("direct", "nginx", *HOMES, *peers.PEERS)
OURS = tuple(name for name in SYSTEMS if name not in peers.PEERS)


def arguments(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description="What the gateway costs, beside nginx in the same run."
    )
    parser.add_argument("--short", action="store_true", help="about a minute, for CI; the figures waver more")
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
    parser.add_argument("--json", type=Path, metavar="FILE", help="raw figures (default: benchmarks/results/TIME.json)")
    parser.add_argument("--publish", action="store_true", help="put the table into benchmarks/README.md")
    parser.add_argument("--profile", action="store_true", help="no table: sample the gateway under load with py-spy")
    parser.add_argument("--native", action="store_true", help="with --profile: C functions too (slower sampling)")
    parser.add_argument("--seconds", type=int, default=10, help="with --profile: how long to sample each scenario")
    return parser.parse_args(argv)


@contextlib.contextmanager
def running(names: Sequence[str], upstream: Mock, folder: Path) -> Iterator[list[System]]:
    """Yield the systems asked for, all of them up: idle ones cost nothing, and no round waits for a start."""
    on, _ = split_cpus()
    with contextlib.ExitStack() as stack:
        systems: list[System] = []
        for name in names:
            if name == "direct":
                systems.append(System(name, upstream.port))
            elif name == "nginx":
                systems.append(stack.enter_context(nginx(upstream, on, folder / "nginx")))
            elif name in peers.PEERS:
                systems.append(stack.enter_context(peers.PEERS[name](upstream, on, folder / name)))
            else:
                own, client = folder / name.replace(" ", "-"), "anthropic" if name == TRANSLATED else "openai_chat"
                systems.append(stack.enter_context(gateway(name, HOMES[name], upstream, on, own, client)))
        yield systems


def versions() -> dict[str, str]:
    """Return what was measured: the commit, nginx, and the libraries on the hot path."""
    found = {name: importlib.metadata.version(name) for name in ("aiohttp", "uvloop", "httptools", "msgspec")}
    with contextlib.suppress(BenchError):
        said = subprocess.run([nginx_program(), "-v"], capture_output=True, text=True, check=False).stderr
        found["nginx"] = said.strip().rpartition("/")[2]
    commit = subprocess.run(
        ["git", "describe", "--always", "--dirty"], cwd=HERE, capture_output=True, text=True, check=False
    )
    found["commit"] = commit.stdout.strip() or "unknown"
    return found


def compare(
    options: argparse.Namespace, scenarios: Sequence[Scenario], names: Sequence[str], upstream: Mock, folder: Path
) -> None:
    rounds = options.rounds or (3 if options.short else 9)
    samples: list[Sample] = []
    failed: dict[tuple[str, str], str] = {}
    with running(names, upstream, folder) as systems:
        for number in range(1, rounds + 1):
            for scenario in scenarios:
                for system in systems:
                    if system.root_pid is None and scenario.kind == "stream":
                        continue  # nothing to charge, and no latency asked for
                    if system.name in peers.PEERS:
                        if number <= peers.ROUNDS and (system.name, scenario.name) not in failed:
                            try:
                                samples.append(checked(system, scenario, upstream, number))
                            except BenchError as error:  # a peer's: told beside the table, and the others go on
                                failed[system.name, scenario.name] = str(error).partition("\n")[0]
                    else:
                        samples.append(checked(system, scenario, upstream, number))
                    sys.stderr.write(f"\rround {number}/{rounds}: {scenario.name:12} {system.name:14}")
        sys.stderr.write("\n")
        footprints = {
            s.name: Footprint(s.start_s, s.idle_rss_bytes, s.rss_bytes(), s.size_bytes)
            for s in systems
            if s.root_pid is not None
        }
    about = {
        **machine(),
        **versions(),
        **(peers.versions() if any(name in peers.PEERS for name in names) else {}),
        "rounds": str(rounds),
        "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }
    raw = options.json or HERE / "results" / f"{time.strftime('%Y%m%d-%H%M%S', time.gmtime())}.json"
    raw.parent.mkdir(parents=True, exist_ok=True)
    kept = {
        "about": about,
        "scenarios": [asdict(scenario) for scenario in scenarios],
        "footprints": {name: asdict(footprint) for name, footprint in footprints.items()},
        "failed": {" ".join(which): why for which, why in failed.items()},
        "samples": [asdict(sample) for sample in samples],
    }
    raw.write_text(json.dumps(kept, indent=1))
    shown = table(samples, scenarios, footprints)
    lines = [*verdicts(samples, scenarios), *(f"not measured: {why}" for why in failed.values())]
    if not options.only and TRANSLATED in names:
        lines += blocking.verdicts(blocking.measure(2 if options.short else 5))
    if options.chains or not (options.only or options.system):
        on, _ = split_cpus()
        added = chains.measure(upstream, on, folder / "chains", options.rounds or (3 if options.short else 7))
        kept["chains"] = [asdict(sample) for sample in added]
        raw.write_text(json.dumps(kept, indent=1))
        shown += f"\n\nCPU added per request by each plugin:\n\n{chains.table(added)}"
        lines += chains.verdicts(added)
        samples += added
    facts = [disturbance(samples), " · ".join(f"{key} {value}" for key, value in about.items())]
    print(shown, "", *lines, "", *facts, f"raw figures: {raw}", sep="\n")
    if options.publish:
        readme = HERE / "README.md"
        text = "\n".join([shown, "", *(f"- {line}" for line in lines), "", *(f"{fact}  " for fact in facts)])
        readme.write_text(published(readme.read_text(), text.rstrip()))


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


def main(argv: Sequence[str]) -> int:
    options = arguments(argv)
    scenarios = [s for s in suite(short=options.short) if not options.only or s.name in options.only]
    names = options.system or list(SYSTEMS if options.peers else OURS)
    try:
        _, away = split_cpus()
        with tempfile.TemporaryDirectory(prefix="bench-") as folder, mock(away) as upstream:
            (show_profile if options.profile else compare)(options, scenarios, names, upstream, Path(folder))
    except BenchError as error:
        sys.stderr.write(f"\nbench: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
