"""Several workers on one port: bind, fork, replace the dead, pass signals on.

The supervisor has no event loop and no thread, so that it may fork at any time. It forks a hub (admin listener, file
watcher; see there) and the workers, each of which inherits the listening socket. A child that dies is replaced, after a
pause that doubles while its like keep dying within seconds. A supervisor that is killed takes its workers with it: they
see their lifeline end.
"""

from __future__ import annotations

import contextlib
import gc
import os
import select
import shutil
import signal
import socket
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from gateway.errors import ConfigError
from gateway.runtime.reload import Source
from gateway.supervisor.front import Front
from gateway.supervisor.hub import Hub
from gateway.supervisor.life import CLEAN, FAILED, MISCONFIGURED, Read, run_loop
from gateway.supervisor.worker import Worker
from gateway.telemetry import Logger

HUB = 0
SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD, signal.SIGUSR1)
SHORT_LIFE_S = 5.0
LONGEST_PAUSE_S = 30.0
CUT_S = 1.8
"""How long after lame duck and grace a worker that still runs is killed."""
HUB_CLOSES_S = 1.0


@dataclass(slots=True)
class Child:
    """A forked process. `number` 0 is the hub."""

    number: int
    born_at: float


class Supervisor:
    """Owns the group until it has ended. `data` and `admin` are bound; `refuse` tells a configuration's errors."""

    def __init__(
        self,
        source: Source,
        read: Read,
        log: Logger,
        data: socket.socket,
        front: Front,
        admin: socket.socket | None,
        refuse: Callable[[ConfigError], int],
    ) -> None:
        self._source, self._read, self._log = source, read, log
        self._data, self._front, self._admin, self._refuse = data, front, admin, refuse
        self._workers = read[0].server.workers
        self._children: dict[int, Child] = {}
        self._pauses: dict[int, float] = {}
        self._due: dict[int, float] = {}
        self._lifeline, self._held = os.pipe()
        self._woken, self._wake = socket.socketpair()
        self._signals = 0
        self._stops_by = float("inf")
        self._folder = ""
        self._hub_listener: socket.socket | None = None

    def run(self) -> int:
        """Serve until a signal says otherwise; return the exit code."""
        self._folder = tempfile.mkdtemp(prefix="gateway-")
        try:
            self._listen_for_signals()
            listener = self._hub_listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            listener.bind(self._hub_path)
            listener.listen(64)
            gc.collect()
            gc.freeze()  # what exists now is shared with every child for as long as nobody writes to it
            self._fork(HUB)
            code = self._begin()
            return code if code is not None else self._attend()
        finally:
            for pid in self._children:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            for pid in self._children:
                with contextlib.suppress(ChildProcessError):
                    os.waitpid(pid, 0)
            shutil.rmtree(self._folder, ignore_errors=True)

    @property
    def _hub_path(self) -> str:
        return str(Path(self._folder) / "hub")

    def _listen_for_signals(self) -> None:
        self._woken.setblocking(False)
        self._wake.setblocking(False)
        signal.set_wakeup_fd(self._wake.fileno(), warn_on_full_buffer=False)
        for number in SIGNALS:
            signal.signal(number, lambda *_: None)

    # --- life --------------------------------------------------------------------------------------

    def _begin(self) -> int | None:
        """Fork the first worker, and the others once it serves: what a plugin refuses is then told once, not N times.

        Return an exit code when that is the end.
        """
        ready, told = os.pipe()
        first = self._fork(1, told)
        os.close(told)
        try:
            while True:
                woken = self._woken.fileno()
                readable, _, _ = select.select([ready, woken], [], [])
                if woken in readable and (code := self._early(first)) is not None:
                    return code
                if ready in readable and os.read(ready, 1):
                    break
                if ready in readable and first not in self._children:
                    return FAILED
        finally:
            os.close(ready)
        for number in range(2, self._workers + 1):
            self._fork(number)
        return None

    def _early(self, first: int) -> int | None:
        """Handle signals before anything serves; return an exit code when that is the end."""
        for number in self._received():
            if number in (signal.SIGTERM, signal.SIGINT):
                return CLEAN
        for pid, status in self._dead():
            self._children.pop(pid, None)
            if pid == first:
                code = os.waitstatus_to_exitcode(status)
                return MISCONFIGURED if code == MISCONFIGURED else FAILED
            self._fork(HUB)
        return None

    def _attend(self) -> int:
        """Replace the dead and pass signals on until every worker has ended; return the exit code."""
        worst = CLEAN
        while True:
            now = time.monotonic()
            until = min([self._stops_by, *self._due.values()])
            timeout = None if until == float("inf") else max(0.0, until - now)
            select.select([self._woken], [], [], timeout)
            for number in self._received():
                self._pass_on(number)
            for pid, status in self._dead():
                child = self._children.pop(pid)
                code = os.waitstatus_to_exitcode(status)
                if not self._signals:
                    self._died(child, pid, code)
                elif child.number != HUB and code != CLEAN:
                    worst = FAILED
            if self._signals:
                if not any(child.number != HUB for child in self._children.values()):
                    self._end_hub()
                    return worst
                if time.monotonic() >= self._stops_by:
                    self._log.error("worker_hangs", pids=[pid for pid, c in self._children.items() if c.number != HUB])
                    return FAILED
                continue
            for number, due in list(self._due.items()):
                if time.monotonic() >= due:
                    del self._due[number]
                    self._fork(number)

    def _pass_on(self, number: int) -> None:
        if number == signal.SIGUSR1:  # the hub has put new files in force
            with contextlib.suppress(ConfigError):  # changed again and broken meanwhile: what was read before holds
                self._read = self._source.read()
        elif number == signal.SIGHUP:
            self._tell(signal.SIGHUP, hub=True)
        elif number in (signal.SIGTERM, signal.SIGINT):
            self._signals += 1
            if self._signals == 1:
                # Workers alone hold the socket now: when they close it, connecting is refused.
                self._data.close()
                config = self._read[0].server
                lame_duck_s = config.lame_duck_s if number == signal.SIGTERM else 0.0
                self._stops_by = time.monotonic() + lame_duck_s + config.grace_s + CUT_S
                self._due.clear()
            self._tell(signal.Signals(number), hub=False)

    def _tell(self, number: signal.Signals, *, hub: bool) -> None:
        for pid, child in self._children.items():
            if (child.number == HUB) is hub:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, number)

    def _died(self, child: Child, pid: int, code: int) -> None:
        """Plan the replacement of a child nobody asked to go."""
        how = signal.Signals(-code).name if code < 0 else str(code)
        name = "hub" if child.number == HUB else f"worker {child.number}"
        short = time.monotonic() - child.born_at < SHORT_LIFE_S
        pause = min(LONGEST_PAUSE_S, max(0.5, self._pauses.get(child.number, 0.0) * 2)) if short else 0.0
        self._pauses[child.number] = pause
        self._due[child.number] = time.monotonic() + pause
        self._log.error("worker_died", worker=name, pid=pid, how=how, replaced_in_s=pause)

    def _end_hub(self) -> None:
        self._tell(signal.SIGTERM, hub=True)
        end = time.monotonic() + HUB_CLOSES_S
        while self._children and (left := end - time.monotonic()) > 0:
            select.select([self._woken], [], [], left)
            self._received()
            for pid, _ in self._dead():
                self._children.pop(pid, None)

    def _received(self) -> list[int]:
        with contextlib.suppress(BlockingIOError):
            return [*self._woken.recv(4096)]
        return []

    def _dead(self) -> list[tuple[int, int]]:
        found = []
        for pid in self._children:
            died, status = os.waitpid(pid, os.WNOHANG)
            if died:
                found.append((pid, status))
        return found

    # --- forking -----------------------------------------------------------------------------------

    def _fork(self, number: int, told: int | None = None) -> int:
        """Fork the hub or a worker; return its process id."""
        self._log.flush()
        pid = os.fork()
        if pid:
            self._children[pid] = Child(number, time.monotonic())
            return pid
        code = FAILED
        try:
            code = self._live(number, told)
        except ConfigError as error:
            code = self._refuse(error)
        except BaseException as error:
            self._log.critical("worker_broke", worker=number, error=f"{type(error).__name__}: {error}")
        finally:
            self._log.flush()
            os._exit(code)

    def _live(self, number: int, told: int | None) -> int:
        """Be a child: drop what is the supervisor's alone, then run a loop to the end."""
        signal.set_wakeup_fd(-1)
        for each in SIGNALS:
            signal.signal(each, signal.SIG_DFL)
        self._woken.close()
        self._wake.close()
        os.close(self._held)
        os.setpgid(0, 0)  # a terminal's Ctrl-C reaches the supervisor, which passes it on once
        assert self._hub_listener is not None
        if number == HUB:
            self._data.close()
            hub = Hub(
                self._source, self._log, self._read, self._front, self._hub_listener, self._workers, self._lifeline
            )
            return run_loop(hub.main())
        self._hub_listener.close()
        if self._admin is not None:
            self._admin.close()
        if told is None:
            told = os.open(os.devnull, os.O_WRONLY)
        worker = Worker(self._source, self._log, self._read, number, self._hub_path, self._lifeline, told)
        return run_loop(worker.main(self._data))
