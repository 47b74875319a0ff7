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
from collections.abc import Sequence
from pathlib import Path

from benchmarks.clocks import split_cpus
from benchmarks.load import Line, Phase
from benchmarks.scenarios import Scenario
from benchmarks.systems import HERE, HOST, READY, BenchError, Mock, mock, process, wait_until

WARM_UP = 300
START_LIMIT_S = 120.0
"""Everything is some fifty times slower there."""
SCENARIOS = (
    Scenario("plain-1k", "plain request, 1 KB", "plain", 1024),
    Scenario("plain-20k", "plain request, 20 KB", "plain", 20 * 1024),
    Scenario("stream-1", "streamed event", "stream", events=100),
)


async def ask(port: int, scenario: Scenario, exchanges: int) -> None:
    """Ask so many times, one after the other. Raises: LoadError."""
    loop = asyncio.get_running_loop()
    phase = Phase(Scenario(**{**_fields(scenario), "exchanges": exchanges}), f"{HOST}:{port}", loop)
    _, line = await loop.create_connection(Line, HOST, port)
    line.phase = phase
    try:
        await phase.run([line])
    finally:
        line.close()


def counted(home: Path, upstream: Mock, requests: int, folder: Path) -> dict[str, float]:
    """Return instructions per request, or per event, by scenario."""
    valgrind = shutil.which("valgrind")
    if valgrind is None:
        raise BenchError("valgrind: not found on PATH; install the package valgrind")
    log_path, out = folder / "gateway.log", folder / "callgrind"
    command = [
        valgrind, "--tool=callgrind", "--instr-atstart=no", f"--callgrind-out-file={out}", "-q",
        sys.executable, "-m", "gateway", "serve", str(home), "--listen", f"{HOST}:0", "--admin", "off", "--no-watch",
    ]  # fmt: skip
    env = {"BENCH_UPSTREAM": f"http://{HOST}:{upstream.port}", "PYTHONHASHSEED": "0"}
    found = {}
    with log_path.open("wb") as log, process(command, split_cpus()[0], env=env, stdout=log, log=log) as child:
        wait_until(lambda: READY.search(log_path.read_text()) is not None, child, "gateway", log_path, START_LIMIT_S)
        ready = READY.search(log_path.read_text())
        assert ready is not None
        port = int(ready[1])
        for number, scenario in enumerate(SCENARIOS, start=1):
            asyncio.run(ask(port, scenario, WARM_UP if scenario.kind == "plain" else 3))
            _control(child.pid, "-i", "on")
            asyncio.run(ask(port, scenario, max(1, requests // 10)))  # what is translated here is not counted again
            _control(child.pid, "-z")
            exchanges = requests if scenario.kind == "plain" else max(1, requests // 50)
            asyncio.run(ask(port, scenario, exchanges))
            _control(child.pid, "-d", scenario.name)
            _control(child.pid, "-i", "off")
            summary = re.search(r"^summary: (\d+)", Path(f"{out}.{number}").read_text(), re.MULTILINE)
            assert summary is not None
            found[scenario.title] = int(summary[1]) / (exchanges * (scenario.events or 1))
    return found


def _control(pid: int, *words: str) -> None:
    subprocess.run(["callgrind_control", *words, str(pid)], check=True, capture_output=True)


def _fields(scenario: Scenario) -> dict[str, object]:
    return {name: getattr(scenario, name) for name in scenario.__dataclass_fields__}


def main(argv: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.instructions", description=__doc__.split("\n")[0])
    parser.add_argument("--home", default="bare", help="a folder of benchmarks/homes (default: bare), or any home")
    parser.add_argument("--requests", type=int, default=500, metavar="N")
    options = parser.parse_args(argv)
    named = HERE / "homes" / options.home
    home = named if named.is_dir() else Path(options.home)
    try:
        with tempfile.TemporaryDirectory(prefix="bench-") as folder, mock(split_cpus()[1]) as upstream:
            for title, count in counted(home, upstream, options.requests, Path(folder)).items():
                print(f"{title}: {count:,.0f} instructions")
    except BenchError as error:
        sys.stderr.write(f"\nbench: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
