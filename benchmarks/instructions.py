"""How many instructions a request takes: a figure that no other work on the machine can change.

    python -m benchmarks.instructions [--home bare] [--requests 500]

The gateway runs under valgrind's callgrind (Debian: `valgrind`), which counts what its process executes in user space;
what the kernel does is not in it, so it does not replace CPU time, but a change of one percent shows in one run.
Requests go one at a time over one connection, the first ones unmeasured.
"""

from __future__ import annotations

import argparse
import asyncio
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from benchmarks.clocks import split_cpus
from benchmarks.load import Line, Phase
from benchmarks.scenarios import Scenario
from benchmarks.systems import HERE, HOST, READY, BenchError, Mock, mock, process, wait_until

WARM_UP = 300
START_LIMIT_S = 240.0
"""Everything is some fifty times slower there."""
SCENARIOS = (
    Scenario("plain-1k", "plain request, 1 KB", "plain", 1024),
    Scenario("plain-varied", "varied request, 1 KB", "plain", 1024, variants=61),
    Scenario("plain-20k", "plain request, 20 KB", "plain", 20 * 1024),
    Scenario("stream-1", "streamed event", "stream", events=100),
)


async def ask(port: int, scenario: Scenario, exchanges: int) -> None:
    """Ask so many times, one after the other. Raises: LoadError."""
    loop = asyncio.get_running_loop()
    phase = Phase(replace(scenario, exchanges=exchanges), f"{HOST}:{port}", loop)
    _, line = await loop.create_connection(Line, HOST, port)
    line.phase = phase
    try:
        await phase.run([line])
    finally:
        line.close()


def valgrind() -> str:
    """Return the program's path. Raises: BenchError naming the package."""
    found = shutil.which("valgrind")
    if found is None:
        raise BenchError("valgrind: not found on PATH; install the package valgrind")
    return found


def counted(
    home: Path,
    upstream: Mock,
    requests: int,
    folder: Path,
    *,
    scenarios: Sequence[Scenario] = SCENARIOS,
    warm_up: int = WARM_UP,
    streams: int = 0,
    env: Mapping[str, str] | None = None,
) -> dict[str, float]:
    """Return instructions per request, or per event, by scenario's name. Raises: BenchError.

    `streams` are measured of a streamed scenario; 0: one for 50 requests.
    """
    log_path, out = folder / "gateway.log", folder / "callgrind"
    shutil.copytree(home, folder / "home", ignore=shutil.ignore_patterns("var"))
    command = [
        valgrind(), "--tool=callgrind", "--instr-atstart=no", f"--callgrind-out-file={out}", "-q",
        sys.executable, "-m", "gateway", "serve", str(folder / "home"),
        "--listen", f"{HOST}:0", "--admin", "off", "--no-watch",
    ]  # fmt: skip
    own = {"BENCH_UPSTREAM": f"http://{HOST}:{upstream.port}", "PYTHONHASHSEED": "0", **(env or {})}
    found = {}
    with log_path.open("wb") as log, process(command, split_cpus()[0], env=own, stdout=log, log=log) as child:
        wait_until(lambda: READY.search(log_path.read_text()) is not None, child, "gateway", log_path, START_LIMIT_S)
        ready = READY.search(log_path.read_text())
        assert ready is not None
        port = int(ready[1])
        for number, scenario in enumerate(scenarios, start=1):
            asyncio.run(ask(port, scenario, warm_up if scenario.kind == "plain" else 3))
            _control(child.pid, "-i", "on")
            asyncio.run(ask(port, scenario, max(1, requests // 10)))  # what is translated here is not counted again
            _control(child.pid, "-z")
            exchanges = requests if scenario.kind == "plain" else streams or max(1, requests // 50)
            asyncio.run(ask(port, scenario, exchanges))
            _control(child.pid, "-d", scenario.name)
            _control(child.pid, "-i", "off")
            found[scenario.name] = _total(Path(f"{out}.{number}")) / (exchanges * (scenario.events or 1))
    return found


def program(arguments: Sequence[str], folder: Path) -> int:
    """Return how many instructions a Python program takes, from its first to its last. Raises: BenchError."""
    out = folder / "callgrind.program"
    command = [valgrind(), "--tool=callgrind", f"--callgrind-out-file={out}", "-q", sys.executable, *arguments]
    with process(command, split_cpus()[0], env={"PYTHONHASHSEED": "0"}, stdout=subprocess.DEVNULL) as child:
        if child.wait():
            raise BenchError(f"{' '.join(arguments)}: ended with {child.returncode} under valgrind")
    return _total(out)


def _total(file: Path) -> int:
    found = re.search(r"^(?:summary|totals): (\d+)", file.read_text(), re.MULTILINE)
    if found is None:
        raise BenchError("callgrind wrote no summary")
    return int(found[1])


def _control(pid: int, *words: str) -> None:
    done = subprocess.run(["callgrind_control", *words, str(pid)], check=False, capture_output=True, text=True)
    if done.returncode:
        raise BenchError(f"callgrind_control {' '.join(words)}: {done.stdout}{done.stderr}")


def main(argv: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.instructions", description=__doc__.split("\n")[0])
    parser.add_argument("--home", default="bare", help="a folder of benchmarks/homes (default: bare), or any home")
    parser.add_argument("--requests", type=int, default=500, metavar="N")
    options = parser.parse_args(argv)
    named = HERE / "homes" / options.home
    home = named if named.is_dir() else Path(options.home)
    try:
        with tempfile.TemporaryDirectory(prefix="bench-") as folder, mock(split_cpus()[1]) as upstream:
            found = counted(home, upstream, options.requests, Path(folder))
    except BenchError as error:
        sys.stderr.write(f"\nbench: {error}\n")
        return 1
    for scenario in SCENARIOS:
        print(f"{scenario.title}: {found[scenario.name]:,.0f} instructions")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
