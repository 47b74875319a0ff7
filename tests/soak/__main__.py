"""Measure the reliability figures: `python -m tests.soak [--long] [--only NAME]… [--json FILE] [--publish]`.

Prints a table: promise, bar, measured, whether it holds. Exits 1 when a bar does not hold or a figure could not be
measured. `--publish` keeps the table in docs/reliability.md.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import signal
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import uvloop

from tests.soak.figures import FIGURES
from tests.soak.report import PAGE, about, published, table, text_of, word
from tests.soak.row import Row, Size, progress

LIMIT_S: dict[Size, float] = {"tiny": 60.0, "short": 400.0, "long": 1200.0}
"""A figure that takes longer is stuck."""


def arguments(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description="The reliability figures, measured.")
    parser.add_argument("--long", action="store_true", help="the promises' own sizes: up to half an hour")
    parser.add_argument("--tiny", action="store_true", help="too small for a figure: does everything run?")
    parser.add_argument(
        "--only", action="append", choices=list(FIGURES), metavar="NAME", help="%(choices)s; repeatable"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="the bare numbers")
    parser.add_argument("--publish", action="store_true", help="put the table into docs/reliability.md")
    options = parser.parse_args(argv)
    if options.publish and (options.only or options.tiny):
        parser.error("--publish wants the whole table: leave out --only and --tiny")
    return options


async def one(name: str, size: Size) -> list[Row]:
    """Return a figure's rows; one that cannot be measured is a row that does not hold."""
    progress(f"{name} …")
    began = time.monotonic()
    try:
        async with asyncio.timeout(LIMIT_S[size]):
            rows = await FIGURES[name](size)
    except Exception as error:  # the other figures are still wanted
        rows = [Row(name, "can be measured", f"{type(error).__name__}: {error}"[:1000], False)]
    for row in rows:
        progress(f"{row.promise}: {row.measured}: {word(row)}")
    progress(f"{name} took {time.monotonic() - began:.1f} s")
    return rows


async def soak(names: Sequence[str], size: Size) -> list[Row]:
    """Measure one figure after the other. SIGTERM ends it as Ctrl-C does: with every process it started."""
    task = asyncio.current_task()
    assert task is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    return [row for name in names for row in await one(name, size)]


def main(argv: Sequence[str]) -> int:
    options = arguments(argv)
    size: Size = "long" if options.long else "tiny" if options.tiny else "short"
    began = time.monotonic()
    try:
        rows = uvloop.run(soak(options.only or list(FIGURES), size))
    except (KeyboardInterrupt, asyncio.CancelledError):
        return 130
    missed = [row for row in rows if row.holds is False]
    if options.json:
        options.json.write_text(json.dumps({"about": about(size), "rows": [asdict(row) for row in rows]}, indent=1))
    print(table(rows), "", f"{len(missed)} bars missed; {time.monotonic() - began:.0f} s", sep="\n")
    if options.publish:
        PAGE.write_text(published(PAGE.read_text(), text_of(rows, size)))
    return int(bool(missed))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
