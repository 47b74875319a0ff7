"""What growth costs: routes, keys, workers, Redis, ledgers, open streams.

    python -m benchmarks.scale [--only PART]… [--rounds N] [--publish]

`--publish` keeps every sample in benchmarks/data and puts the tables into the pages that have a place for them.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from benchmarks import pages
from benchmarks.about import about, told
from benchmarks.clocks import split_cpus
from benchmarks.kept import data_path
from benchmarks.scale.curves import keys, routes
from benchmarks.scale.fleet import redis, workers
from benchmarks.scale.part import Part
from benchmarks.scale.stores import ledger, streams
from benchmarks.systems import BenchError, Mock, mock

PARTS: dict[str, Callable[[Mock, Path, int], Part]] = {
    "routes": routes,
    "keys": keys,
    "workers": workers,
    "redis": redis,
    "ledger": ledger,
    "streams": streams,
}
ROUNDS = 5


def save(parts: dict[str, Part], facts: dict[str, str], path: Path) -> None:
    """Keep every sample, one a line."""
    path.parent.mkdir(parents=True, exist_ok=True)
    members = [f' "about": {json.dumps(facts, ensure_ascii=False)}']
    for name, part in parts.items():
        rows = ",\n".join(f"  {json.dumps(each, ensure_ascii=False)}" for each in part.samples)
        members.append(f' "{name}": [\n{rows}\n ]')
    path.write_text("{\n" + ",\n".join(members) + "\n}\n")


def main(argv: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scale", description=__doc__.split("\n")[0])
    parser.add_argument("--only", action="append", choices=list(PARTS), metavar="PART", help="%(choices)s; repeatable")
    parser.add_argument("--rounds", type=int, default=ROUNDS, metavar="N", help="default %(default)s")
    parser.add_argument("--publish", action="store_true", help="keep samples and put the tables into the pages")
    options = parser.parse_args(argv)
    if options.publish and options.only:
        parser.error("--publish wants every part: leave out --only")
    found: dict[str, Part] = {}
    try:
        _, away = split_cpus()
        with tempfile.TemporaryDirectory(prefix="scale-") as folder, mock(away) as upstream:
            for name in options.only or PARTS:
                found[name] = PARTS[name](upstream, Path(folder) / name, options.rounds)
                print(f"{name}:\n\n{found[name].text()}\n", flush=True)
    except BenchError as error:
        sys.stderr.write(f"\nscale: {error}\n")
        return 1
    facts = about(rounds=str(options.rounds))
    print(told(facts))
    if options.publish:
        path = data_path(facts, "-scale")
        save(found, facts, path)
        shown = {f"scale {name}": part.text() for name, part in found.items()}
        pages.publish({**shown, "scale facts": f"{told(facts)}  \nevery sample: `benchmarks/data/{path.name}`"})
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
