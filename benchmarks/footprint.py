"""What a system takes beside CPU: time to start, memory idle and for each open stream, room on the disk.

Each is started alone, on its own core, with nothing else running: several starts make a median.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import re
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from benchmarks.clocks import split_cpus
from benchmarks.scenarios import Scenario
from benchmarks.systems import HERE, HOST, BenchError, Mock, System, checked, nginx_program

STREAMS = 1000
STARTS = 5
FEWEST = 100
"""Streams of a system that is slow: fewer would drown in what the first ones load."""
WATCHED_S = 2.0
PEERS_STARTS = 1
Start = Callable[[Path], AbstractContextManager[System]]


@dataclass(frozen=True, slots=True)
class Footprint:
    """One system's. Seconds from exec to ready and idle memory of each start; memory after the rounds' load;
    `streams_rss_bytes` is what resident memory grew by while `streams` stood open, each sending a word a second."""

    starts_s: tuple[float, ...] = ()
    idle_rss_bytes: tuple[int, ...] = ()
    loaded_rss_bytes: int = 0
    streams: int = 0
    streams_rss_bytes: int = 0
    size_bytes: int = 0

    @property
    def stream_bytes(self) -> float:
        """Return memory per open stream; 0 when it was not measured."""
        return self.streams_rss_bytes / self.streams if self.streams else 0.0


def alone(start: Start, upstream: Mock, folder: Path, *, starts: int, streams: int) -> tuple[Footprint, str]:
    """Start a system several times, the last time open streams through it; return with it why streams failed, if so.

    Raises: BenchError when it does not start.
    """
    took: list[float] = []
    idle: list[int] = []
    grown, count, size, failed = 0, 0, 0, ""
    for number in range(1, starts + 1):
        with start(folder / f"start-{number}") as system:
            took.append(system.start_s)
            idle.append(system.idle_rss_bytes)
            size = system.size_bytes
            if number == starts and streams:
                count = max(FEWEST, streams // system.slower)
                try:
                    grown = _grown(system, count, upstream)
                except BenchError as error:
                    count, failed = 0, str(error).partition("\n")[0]
    return Footprint(tuple(took), tuple(idle), 0, count, grown, size), failed


def _grown(system: System, count: int, upstream: Mock) -> int:
    """Return by how many bytes resident memory grows while `count` streams stand open."""
    warm = Scenario("warm", "warm", "plain", connections=4, exchanges=200)
    few = Scenario("warm", "warm", "stream", events=10, connections=4, exchanges=20)
    for scenario in (warm, few):  # what the first request loads is no stream's
        checked(system, scenario, upstream, 0)
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    held = Scenario("held", "open streams", "stream", events=120, pace_ms=1000, at_once=3, connections=count)
    asked = replace(held, client=system.client, headers=system.headers, exact=system.exact)
    before = system.rss_bytes()
    own = os.sched_getaffinity(0)
    os.sched_setaffinity(0, split_cpus()[1])
    try:
        crowd = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.crowd"], cwd=HERE.parent, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip
    finally:
        os.sched_setaffinity(0, own)
    with crowd:
        assert crowd.stdin and crowd.stdout and crowd.stderr
        try:
            crowd.stdin.write(json.dumps({"scenario": asdict(asked), "host": HOST, "port": system.port}) + "\n")
            crowd.stdin.flush()
            if not crowd.stdout.readline():
                raise BenchError(f"{system.name}: {count} open streams: {crowd.stderr.read().strip()[-500:]}")
            until, peak = time.monotonic() + WATCHED_S, 0
            while time.monotonic() < until:
                peak = max(peak, system.rss_bytes())
                time.sleep(0.05)
            crowd.stdin.write("\n")
            crowd.stdin.flush()
            still = json.loads(crowd.stdout.readline())["open"]
        finally:
            crowd.kill()
    if still != count:
        raise BenchError(f"{system.name}: of {count} open streams {count - still} ended too early")
    return peak - before


# --- on the disk -----------------------------------------------------------------------------------


def gateway_bytes() -> int:
    """Return what `pip install .` brings into an empty environment: the locked requirements and the project itself."""
    root = HERE.parent
    total = sum(_size(root / name) for name in ("gateway", "plugins", "config"))
    for line in (root / "requirements" / "run.txt").read_text().splitlines():
        if pinned := re.match(r"([A-Za-z0-9._-]+)==", line):
            try:
                files = importlib.metadata.files(pinned[1]) or []
            except importlib.metadata.PackageNotFoundError:  # pinned for another platform or Python
                continue
            total += sum(path.stat().st_size for path in {Path(str(file.locate())) for file in files} if path.exists())
    return total


def nginx_bytes() -> int:
    """Return what nginx's own packages hold (Debian's tell); elsewhere its program alone."""
    program = nginx_program()
    try:
        said = subprocess.run(
            ["dpkg-query", "-W", "-f", "${Package} ${db:Status-Abbrev}\n", "nginx*", "libnginx*"],
            capture_output=True, text=True, check=False,
        ).stdout  # fmt: skip
        names = [line.split()[0] for line in said.splitlines() if line.split()[1:2] == ["ii"]]
        listed = subprocess.run(["dpkg-query", "-L", *names], capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return Path(program).stat().st_size
    files = {Path(line) for line in listed.splitlines()}
    return sum(path.stat().st_size for path in files if path.is_file() and not path.is_symlink())


def _size(path: Path) -> int:
    return sum(each.stat().st_size for each in path.rglob("*") if each.is_file() and not each.is_symlink())
