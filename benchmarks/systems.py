"""What stands between generator and mock: nothing, nginx, or the gateway, each its own process on its own core."""

from __future__ import annotations

import contextlib
import getpass
import http.client
import json
import os
import re
import shutil
import signal
import socket
import string
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import IO

from benchmarks.clocks import rss_bytes, split_cpus, tree
from benchmarks.load import Outcome
from benchmarks.medians import Sample
from benchmarks.scenarios import Scenario

HERE = Path(__file__).parent
HOST = "127.0.0.1"
START_LIMIT_S = 20.0
READY = re.compile(r"^ready: http://127\.0\.0\.1:(\d+)", re.MULTILINE)


class BenchError(Exception):
    """The bench cannot go on; the message says what to do."""


@dataclass(frozen=True, slots=True)
class System:
    """A running system under test. `root_pid` None: the direct line, which has no process of its own.

    `start_s` is from exec to the first moment it can be asked; memory is resident, taken before any load. `client` is
    the dialect it is asked in, `headers` and `exact` are the scenario's; `size_bytes` is what it takes on disk.
    `slower`: one that takes milliseconds for what others do in microseconds is asked so many times less, or a round
    would take minutes.
    """

    name: str
    port: int
    root_pid: int | None = None
    start_s: float = 0.0
    idle_rss_bytes: int = 0
    log_path: Path | None = None
    client: str = "openai_chat"
    headers: tuple[tuple[str, str], ...] = ()
    exact: bool = True
    size_bytes: int = 0
    slower: int = 1

    def asked(self, scenario: Scenario) -> Scenario:
        """Return the scenario as this system is asked: in its dialect, and so many times fewer."""
        count = max(scenario.connections, scenario.exchanges // self.slower)
        return replace(scenario, client=self.client, headers=self.headers, exact=self.exact, exchanges=count)

    def pids(self) -> list[int]:
        return tree(self.root_pid) if self.root_pid else []

    def rss_bytes(self) -> int:
        return rss_bytes(self.pids())


class Mock:
    """The mock upstream's process, seen from the driver."""

    def __init__(self, port: int, pid: int) -> None:
        self.port, self.pid = port, pid

    def counts(self) -> dict[str, int]:
        """Return what the mock has answered so far: proof that the proxy did not answer by itself."""
        connection = http.client.HTTPConnection(HOST, self.port, timeout=10)
        with contextlib.closing(connection):
            connection.request("GET", "/counts")
            return dict(json.load(connection.getresponse()))


@contextlib.contextmanager
def process(
    command: list[str],
    cpus: set[int],
    *,
    env: dict[str, str] | None = None,
    stdout: int | IO[bytes] | None = None,
    log: IO[bytes] | None = None,
) -> Iterator[subprocess.Popen[bytes]]:
    """Yield a process bound to `cpus` from its first instruction; it is ended with the block."""
    own = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cpus)  # inherited: every thread the child ever starts is on these cores
    try:
        child = subprocess.Popen(
            command,
            cwd=HERE.parent,
            env={**os.environ, **(env or {})},
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=log,
        )
    finally:
        os.sched_setaffinity(0, own)
    try:
        yield child
    finally:
        child.send_signal(signal.SIGINT if "gateway" in command else signal.SIGTERM)
        try:
            child.wait(5)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()


@contextlib.contextmanager
def mock(cpus: set[int]) -> Iterator[Mock]:
    """Yield the mock upstream, running."""
    with process([sys.executable, "-m", "benchmarks.upstream"], cpus, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        line = child.stdout.readline()
        if not line:
            raise BenchError("the mock upstream did not start; see its error above")
        yield Mock(json.loads(line)["port"], child.pid)


@contextlib.contextmanager
def nginx(upstream: Mock, cpus: set[int], folder: Path) -> Iterator[System]:
    """Yield nginx, proxying to the mock with a configuration and a prefix of its own."""
    folder.mkdir(parents=True)
    port = free_port()
    values = {
        # Started as root, the worker would give up its rights, and with them the private prefix.
        "USER_LINE": f"user {getpass.getuser()};" if os.geteuid() == 0 else "",
        "PREFIX": str(folder),
        "PORT": str(port),
        "UPSTREAM_PORT": str(upstream.port),
    }
    configuration = folder / "nginx.conf"
    configuration.write_text(string.Template((HERE / "nginx.conf").read_text()).substitute(values))
    command = [nginx_program(), "-p", str(folder), "-c", str(configuration), "-e", str(folder / "error.log")]
    began = time.monotonic()
    with process(command, cpus) as child:
        wait_until(lambda: accepts(port), child, "nginx", folder / "error.log")
        start_s = time.monotonic() - began
        wait_until(lambda: len(tree(child.pid)) > 1, child, "nginx", folder / "error.log")
        yield System("nginx", port, child.pid, start_s, rss_bytes(tree(child.pid)))


@contextlib.contextmanager
def gateway(
    name: str,
    home: Path,
    upstream: Mock,
    cpus: set[int],
    folder: Path,
    client: str = "openai_chat",
    env: dict[str, str] | None = None,
    workers: int = 1,
) -> Iterator[System]:
    """Yield the gateway serving a copy of `home`, its mock known to it: whatever it writes is in `folder`/home."""
    shutil.copytree(home, folder / "home", ignore=shutil.ignore_patterns("var"))
    own = {"BENCH_UPSTREAM": f"http://{HOST}:{upstream.port}", **(env or {})}
    with serving(name, folder / "home", own, cpus, folder, workers) as system:
        yield replace(system, client=client)


@contextlib.contextmanager
def serving(
    name: str, home: Path, env: dict[str, str], cpus: set[int], folder: Path, workers: int = 1
) -> Iterator[System]:
    """Yield the gateway serving `home`, its log in a file of `folder` as an operator's would be."""
    folder.mkdir(parents=True, exist_ok=True)
    log_path = folder / "gateway.log"
    command = [
        sys.executable, "-m", "gateway", "serve", str(home),
        "--listen", f"{HOST}:0", "--admin", "off", "--no-watch", "--workers", str(workers),
    ]  # fmt: skip
    lasting = 1 if workers == 1 else workers + 2  # with several: the supervisor and the hub too
    began = time.monotonic()
    with log_path.open("wb") as log, process(command, cpus, env=env, stdout=log, log=log) as child:
        wait_until(lambda: READY.search(log_path.read_text()) is not None, child, name, log_path)
        start_s = time.monotonic() - began
        ready = READY.search(log_path.read_text())
        assert ready is not None
        # The process that reads the published prices is part of the start, and gone when the load begins.
        wait_until(lambda: len(tree(child.pid)) == lasting, child, name, log_path)
        yield System(name, int(ready[1]), child.pid, start_s, rss_bytes(tree(child.pid)), log_path)


def drive(system: System, scenario: Scenario, upstream: Mock) -> Outcome:
    """Run the generator once, in a process of its own. Raises: BenchError with the generator's complaint."""
    order = {
        "scenario": asdict(scenario),
        "host": HOST, "port": system.port, "pids": system.pids(), "mock_pid": upstream.pid,
    }  # fmt: skip
    own = os.sched_getaffinity(0)
    os.sched_setaffinity(0, split_cpus()[1])
    try:
        run = subprocess.run(
            [sys.executable, "-m", "benchmarks.load"],
            cwd=HERE.parent,
            input=json.dumps(order),
            capture_output=True,
            text=True,
            check=False,
        )
    finally:
        os.sched_setaffinity(0, own)
    if run.returncode:
        raise BenchError(f"{system.name}: {run.stderr.strip()}{complaints(system)}")
    return Outcome(**json.loads(run.stdout))


def checked(system: System, scenario: Scenario, upstream: Mock, round_number: int) -> Sample:
    """Run one round and prove by the mock's own counts that all of it passed through. Raises: BenchError."""
    scenario = system.asked(scenario)
    before = upstream.counts()
    outcome = drive(system, scenario, upstream)
    after = upstream.counts()
    unit = "plain" if scenario.kind == "plain" else "events"
    warm_up = scenario.connections * 4 * (1 if scenario.kind == "plain" else 4)
    came, sent = after[unit] - before[unit], scenario.units + warm_up
    if came != sent:
        raise BenchError(
            f"{system.name}: {scenario.name}: {sent} {unit} arrived, but the mock answered {came}; "
            "something answers or retries in between"
        )
    return Sample(round_number, system.name, outcome)


def complaints(system: System) -> str:
    """Return the end of what the system logged beside its requests, for whoever has to find out why a run is void."""
    if system.log_path is None:
        return ""
    lines = [line for line in system.log_path.read_text().splitlines() if '"level":"info"' not in line]
    return "\nits log ends:\n" + "\n".join(lines[-12:])


def nginx_program() -> str:
    """Return nginx's path. Raises: BenchError naming the package."""
    found = shutil.which("nginx", path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/usr/local/sbin")
    if found is None:
        raise BenchError(
            "nginx: not found on PATH or in /usr/sbin; install the package nginx-light, "
            'or leave it out: --system direct --system "gateway bare" --system gateway'
        )
    return found


def free_port() -> int:
    """Return a port that was free a moment ago; nginx cannot be asked which one it picked."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


def accepts(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection((HOST, port), timeout=1):
        return True
    return False


def wait_until(
    is_ready: Callable[[], bool],
    child: subprocess.Popen[bytes],
    name: str,
    log_path: Path,
    limit_s: float = START_LIMIT_S,
) -> None:
    """Return once `is_ready()`. Raises: BenchError with the end of the log when the process ends or takes too long."""
    until = time.monotonic() + limit_s
    while not is_ready():
        if child.poll() is not None or time.monotonic() > until:
            tail = log_path.read_text("utf-8", "replace")[-2000:] if log_path.exists() else ""
            raise BenchError(f"{name}: did not start (exit code {child.poll()}); its log ends:\n{tail}")
        time.sleep(0.01)
