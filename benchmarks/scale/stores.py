"""Do ledgers lose anything at full load, and what do they cost; how many streams may stand open."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import sqlite3
import statistics
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import asyncpg

from benchmarks.clocks import cpu_ns, split_cpus, tree
from benchmarks.medians import Sample
from benchmarks.scale.homes import varied
from benchmarks.scale.part import Part, held
from benchmarks.scenarios import CREDENTIAL, Scenario
from benchmarks.systems import HERE, HOST, BenchError, Mock, System, checked, gateway
from tests.postgres import Postgres, private_postgres

PLAIN = Scenario("saturation", "64 connections", "plain", connections=64, exchanges=12_000)
WARM_UP = PLAIN.connections * 4
COSTS = ("CPU µs a request", "added", "of the server itself")
BEHIND_S = 60.0
"""A store that cannot keep up is waited for so long: late is not lost."""


def ledger(upstream: Mock, folder: Path, rounds: int) -> Part:
    """Ask as fast as answers come, and count rows: by no ledger, by SQLite, by PostgreSQL where it is installed.

    CPU is read until the last row is written: what is put off is paid for too.
    """
    on, _ = split_cpus()
    samples: list[Sample] = []
    server_us: dict[str, list[float]] = {}
    late_s: dict[str, list[float]] = {}
    gateway_us: dict[str, list[float]] = {}
    there: dict[str, int] = {}
    with _postgres() as server, contextlib.ExitStack() as stack:
        urls = {"no ledger": "none", "SQLite": "sqlite:var/ledger.db"}
        if server is not None:
            urls["PostgreSQL"] = server.create("bench")
        systems: dict[str, System] = {}
        for number, (name, url) in enumerate(urls.items()):
            home = varied(folder / f"home-{number}", "default", ledger=url)
            systems[name] = stack.enter_context(gateway(name, home, upstream, on, folder / f"run-{number}"))
        for number in range(1, rounds + 1):
            for name, system in systems.items():
                sys.stderr.write(f"\rround {number}/{rounds}: {name:32}")
                pids = _processes(server) if server is not None and name == "PostgreSQL" else []
                used, own = cpu_ns(pids), cpu_ns(system.pids())
                samples.append(checked(system, PLAIN, upstream, number))
                if name != "no ledger":
                    where = folder / f"run-{list(urls).index(name)}" / "home" / "var" / "ledger.db"
                    wanted = number * (PLAIN.exchanges + WARM_UP)
                    there[name], after_s = _written(where if name == "SQLite" else urls[name], wanted)
                    late_s.setdefault(name, []).append(after_s)
                asked = PLAIN.exchanges + WARM_UP
                server_us.setdefault(name, []).append((cpu_ns(pids) - used) / asked / 1000)
                gateway_us.setdefault(name, []).append((cpu_ns(system.pids()) - own) / asked / 1000)
        sys.stderr.write("\n")
        sent = rounds * (PLAIN.exchanges + WARM_UP)
        costs = {name: statistics.median(each) for name, each in gateway_us.items()}
        rows = [["ledger", "requests", "rows", "all there after, s", "dropped", *COSTS]]
        lines = []
        for name, system in systems.items():
            cost, dropped = costs[name], _dropped(system)
            if name not in there:
                rows.append([name, f"{sent:,}", "", "", f"{dropped:,}", f"{cost:.1f}", "", ""])
                continue
            server_own = f"{min(server_us[name]):.1f}" if name == "PostgreSQL" else ""
            after = f"{max(late_s[name]):.1f}"
            cells = [
                f"{there[name]:,}",
                after,
                f"{dropped:,}",
                f"{cost:.1f}",
                f"{cost - costs['no ledger']:+.1f}",
                server_own,
            ]
            rows.append([name, f"{sent:,}", *cells])
            good = held(there[name] == sent and not dropped)
            lines.append(f"{name}: {there[name]:,} rows of {sent:,} requests at full load; bar all of them: {good}")
    if "PostgreSQL" not in urls:
        lines.append("PostgreSQL: not measured: initdb is not installed")
    return Part(
        rows,
        lines,
        [*(asdict(s) for s in samples), {"gateway_us": gateway_us, "server_us": server_us, "late_s": late_s}],
    )


@contextlib.contextmanager
def _postgres() -> Iterator[Postgres | None]:
    """Yield a server on the generator's core, None where the machine has none."""
    own = os.sched_getaffinity(0)
    os.sched_setaffinity(0, split_cpus()[1])
    try:
        server = private_postgres()
    finally:
        os.sched_setaffinity(0, own)
    try:
        yield server
    finally:
        if server is not None:
            server.remove()


def _processes(server: Postgres) -> list[int]:
    """Return the server's process and those it forked: one serves each connection, others write in the background."""
    return tree(int((server.folder / "data" / "postmaster.pid").read_text().split()[0]))


def _written(where: Path | str, wanted: int) -> tuple[int, float]:
    """Return how many rows there are, and after how long, as soon as all of them are."""
    began = time.monotonic()
    while True:
        if isinstance(where, Path):
            with contextlib.closing(sqlite3.connect(f"file:{where}?mode=ro", uri=True)) as db:
                found = int(db.execute("SELECT count(*) FROM ledger_rows").fetchone()[0])
        else:
            found = asyncio.run(_postgres_rows(where))
        if found >= wanted or time.monotonic() - began > BEHIND_S:
            return found, time.monotonic() - began
        time.sleep(0.1)


async def _postgres_rows(url: str) -> int:
    connection = await asyncpg.connect(url)
    try:
        return int(await connection.fetchval("SELECT count(*) FROM ledger_rows"))
    finally:
        await connection.close()


def _dropped(system: System) -> int:
    """Return the rows that found the queue full, as the gateway's metrics tell."""
    asked = urllib.request.Request(
        f"http://{HOST}:{system.port}/metrics", headers={"Authorization": f"Bearer {CREDENTIAL}"}
    )
    with urllib.request.urlopen(asked, timeout=10) as answer:
        text = answer.read().decode()
    found = re.search(r"^llm_gateway_ledger_dropped_total (\S+)", text, re.MULTILINE)
    if found is None:
        raise BenchError(f"{system.name}: /metrics does not tell how many rows were dropped")
    return int(float(found[1]))


def streams(_upstream: Mock, folder: Path, _rounds: int) -> Part:
    """Let the soak open its 9,000 streams, and show what it found."""
    file = folder / "soak.json"
    folder.mkdir(parents=True, exist_ok=True)
    done = subprocess.run(
        [sys.executable, "-m", "tests.soak", "--long", "--only", "streams", "--json", str(file)],
        cwd=HERE.parent, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if not file.exists():
        raise BenchError(f"open streams: {done.stderr.strip()[-500:]}")
    found = json.loads(file.read_text())["rows"]
    rows = [["open streams", "bar", "measured"], *([row["promise"], row["bar"], row["measured"]] for row in found)]
    return Part(rows, [f"{row['promise']}: {row['measured']}: {held(row['holds'] is True)}" for row in found], found)
