"""CPU time and memory of a running process, read from the kernel, and what machine this is."""

from __future__ import annotations

import contextlib
import os
import platform
import time
from collections.abc import Iterable
from pathlib import Path


def tree(pid: int) -> list[int]:
    """Return `pid` and all its living descendants: nginx is a master and a worker, a gateway may have workers too."""
    found = [pid]
    for parent in found:
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # it has ended meanwhile
            for task in Path(f"/proc/{parent}/task").iterdir():
                found += [int(child) for child in (task / "children").read_text().split()]
    return found


def cpu_ns(pids: Iterable[int]) -> int:
    """Return the CPU time, user and system, that all threads of `pids`, ended ones too, have used, in nanoseconds.

    Linux gives every process a clock (clock_getcpuclockid(3)) whose id is computed from the pid: it counts what
    the scheduler charged, where /proc/PID/stat counts ticks of 10 ms.
    """
    return sum(time.clock_gettime_ns((~pid << 3) | 2) for pid in pids)


def ticks(pids: list[int]) -> tuple[int, int]:
    """Return the same time split into user and kernel, in ticks of 10 ms: for shares over seconds, not for figures."""
    fields = [Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split() for pid in pids]
    return sum(int(field[11]) for field in fields), sum(int(field[12]) for field in fields)


def machine_busy_s() -> float:
    """Return how long all cores together have worked for anyone since boot, stolen time included (resolution 10 ms)."""
    user, nice, system, _, _, irq, softirq, steal = map(int, Path("/proc/stat").read_text().split()[1:9])
    return (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")


def rss_bytes(pids: list[int]) -> int:
    """Return resident memory, summed; pages that processes of one system share are counted in each."""
    page = os.sysconf("SC_PAGE_SIZE")
    return sum(int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * page for pid in pids)


def split_cpus() -> tuple[set[int], set[int]]:
    """Return the core for the system under test and those for generator and mock; the same one when there is one."""
    cpus = sorted(os.sched_getaffinity(0))
    return {cpus[-1]}, set(cpus[:-1]) or {cpus[0]}


def machine() -> dict[str, str]:
    """Return what a reader needs to compare: processor, cores, kernel, Python."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    model = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())
    return {
        "cpu": model,
        "cores": str(len(os.sched_getaffinity(0))),
        "kernel": platform.release(),
        "python": platform.python_version(),
    }
