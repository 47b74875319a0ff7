"""The hub: the one process of a group that owns the admin listener, watches the files and asks the workers.

It serves no data. Its own snapshot is built and never started: a plugin runs where requests are.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import socket
from pathlib import Path
from typing import Any

from gateway.errors import ConfigError
from gateway.plugin import Clock
from gateway.runtime.clock import SystemClock
from gateway.runtime.gateway import Gateway
from gateway.runtime.group import Group
from gateway.runtime.reload import JOINED, Reloader, Source, first
from gateway.runtime.snapshot import Snapshot
from gateway.supervisor.front import Front
from gateway.supervisor.life import Read
from gateway.supervisor.link import LONGEST_BYTES, Link, LinkLost
from gateway.supervisor.totals import Totals
from gateway.telemetry import FLUSH_S, Logger

ALL_JOIN_S = 2.0
"""How long sums wait for workers that have not joined yet."""


class Workers(Group):
    """The workers that are connected."""

    def __init__(self, expected: int) -> None:
        self.links: set[Link] = set()
        self.totals = Totals()
        self._expected = expected
        self._complete = asyncio.Event()

    def joined(self, link: Link) -> None:
        """A worker said hello."""
        self.links.add(link)
        self.totals.joined(link)
        if len(self.links) >= self._expected:
            self._complete.set()

    def left(self, link: Link) -> None:
        """A worker is gone."""
        self.links.discard(link)
        self.totals.left(link)

    async def wait(self) -> None:
        """Return when every worker has joined once."""
        await self._complete.wait()

    async def gather(self, what: str, given: Any = None) -> list[Any]:
        answers = await asyncio.gather(*(link.ask(what, given) for link in self.links), return_exceptions=True)
        return [answer for answer in answers if not isinstance(answer, BaseException)]

    async def ask(self, what: str, given: Any = None) -> Any:
        for link in list(self.links):  # the next one, should this one be dying
            with contextlib.suppress(LinkLost):
                return await link.ask(what, given)
        return None

    async def total(self, what: str) -> Any:
        # A hub that has just begun knows nothing before the workers have found it.
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self.wait(), ALL_JOIN_S)
        await self.totals.ask()
        return self.totals.sum(what)

    async def require(self, what: str, given: Any = None) -> list[Any]:
        """Gather. Raises: ConfigError, the first that a worker refuses with."""
        answers = await asyncio.gather(*(link.ask(what, given) for link in self.links), return_exceptions=True)
        for answer in answers:
            if isinstance(answer, BaseException) and not isinstance(answer, LinkLost):
                raise answer
        return answers


class GroupReloader(Reloader):
    """Reloads all workers or none: every one prepares its new snapshot before any puts it in force.

    A worker that joins later has read the files by itself.
    """

    def __init__(self, source: Source, gateway: Gateway, clock: Clock, workers: Workers) -> None:
        super().__init__(source, gateway, clock)
        self._workers = workers

    async def ready(self, snapshot: Snapshot) -> None:
        try:
            await self._workers.require("prepare")
        except ConfigError:
            await self._workers.gather("discard")
            raise

    async def commit(self, snapshot: Snapshot, why: str) -> None:
        await self._workers.gather("commit", why)
        await super().commit(snapshot, why)
        os.kill(os.getppid(), signal.SIGUSR1)  # the supervisor reads them too: for workers it has yet to fork

    async def refused(self, error: ConfigError, why: str) -> None:
        await self._workers.gather("refused")
        await super().refused(error, why)

    async def catch_up(self, link: Link) -> None:
        """Bring a worker that began on other files to what is in force."""
        async with self._lock:
            if link.facts.get("digest") != self._gateway.snapshot.digest:
                await link.ask("prepare")
                await link.ask("commit", JOINED)


class Hub:
    """`listener` is the socket on which `expected` workers join; `lifeline` ends when the supervisor has died."""

    def __init__(
        self,
        source: Source,
        log: Logger,
        read: Read,
        front: Front,
        listener: socket.socket,
        expected: int,
        lifeline: int,
    ) -> None:
        self._source, self._log, self._read, self._front, self._listener = source, log, read, front, listener
        self._expected, self._lifeline = expected, lifeline
        self._clock: Clock = SystemClock()

    async def main(self) -> int:
        """Serve until SIGTERM. Raises: ConfigError."""
        loop = asyncio.get_running_loop()
        stopping = asyncio.Event()
        folder = Path(self._listener.getsockname()).parent

        def orphaned() -> None:
            shutil.rmtree(folder, ignore_errors=True)  # nobody else is left who would
            stopping.set()

        loop.add_reader(self._lifeline, orphaned)
        loop.add_signal_handler(signal.SIGTERM, stopping.set)
        loop.add_signal_handler(signal.SIGINT, lambda: None)  # the supervisor says when
        self._log.batch_with(lambda flush: loop.call_later(FLUSH_S, flush))
        gateway = await first(self._source, self._log, self._clock, read=self._read, start=False)
        gateway.phase = "serving"
        workers = Workers(self._expected)
        gateway.group = workers
        reloader = GroupReloader(self._source, gateway, self._clock, workers)

        async def join(link: Link) -> None:
            try:
                await reloader.catch_up(link)
            except (ConfigError, ConnectionError) as error:
                self._log.error("worker_is_behind", worker=link.facts.get("worker"), error=str(error))
            if link.is_closed:
                return
            workers.joined(link)
            with contextlib.suppress(ConnectionError):
                await link.ask("holds", gateway.holds.told())
                await link.ask("joined", gateway.reloads)

        async def joined(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            link = Link(reader, writer, {})

            async def hello(facts: dict[str, Any]) -> None:
                link.facts = facts
                gateway.learn_reloads(facts["reloads"])
                gateway.holds.learn(facts["holds"])
                gateway.spawn(join(link))

            async def farewell(totals: dict[str, Any]) -> None:
                workers.totals.told(link, totals)

            async def total(what: str) -> Any:
                return await workers.total(what)

            async def gather(question: dict[str, Any]) -> list[Any]:
                return await workers.gather(question["what"], question["given"])

            link.answers.update({"hello": hello, "gather": gather, "total": total, "farewell": farewell})
            await link.run(workers.left)

        server = await asyncio.start_unix_server(joined, sock=self._listener, limit=LONGEST_BYTES)
        await self._front.start(gateway, reloader, self._clock)
        loop.add_signal_handler(signal.SIGHUP, lambda: gateway.spawn(reloader.try_reload("SIGHUP")))
        waiting = asyncio.ensure_future(self._announce(gateway, workers))
        asking = asyncio.ensure_future(workers.totals.keep_asking())
        await stopping.wait()
        asking.cancel()
        loop.remove_reader(self._lifeline)
        waiting.cancel()
        self._front.stop_watching()
        await self._front.stop()
        server.close()
        await gateway.lasting.close()
        self._log.batch_with(None)
        return 0

    async def _announce(self, gateway: Gateway, workers: Workers) -> None:
        """Say once for the group that it serves, whichever hub is the first to know: one that died is replaced."""
        await workers.wait()
        told = Path(self._listener.getsockname()).parent / "told"
        if not told.exists():
            told.touch()
            self._front.announce(gateway, self._log)
