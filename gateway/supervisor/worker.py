"""One worker of several: serves the shared port, and does what the hub asks."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from typing import Any

from gateway.errors import ConfigError
from gateway.runtime.gateway import Gateway
from gateway.runtime.group import Alone, Answerer, Colleagues, Group
from gateway.runtime.reload import Reloader, Source
from gateway.runtime.snapshot import Snapshot
from gateway.supervisor.life import Life, Read
from gateway.supervisor.link import LONGEST_BYTES, Link
from gateway.supervisor.totals import lost
from gateway.telemetry import Logger

AGAIN_S = 0.1
"""How long until a worker looks for the hub again that it has lost."""

FAREWELL_S = 0.3
"""How long a worker that ends waits for the hub to take its last sums."""


class ThroughHub(Group):
    """The whole group, asked by way of the hub; this process alone while there is none (`link` is None)."""

    def __init__(self, link: Link | None, colleagues: Colleagues) -> None:
        self._link, self._alone = link, Alone(colleagues)

    async def gather(self, what: str, given: Any = None) -> list[Any]:
        if self._link is None:
            return await self._alone.gather(what, given)
        try:
            answers: list[Any] = await self._link.ask("gather", {"what": what, "given": given})
        except ConnectionError:
            return await self._alone.gather(what, given)
        return answers

    async def total(self, what: str) -> Any:
        if self._link is None:
            raise lost()  # this process alone would tell less than was told before
        try:
            return await self._link.ask("total", what)
        except ConnectionError as error:
            raise lost() from error


class Worker(Life):
    """`hub` is the path of its socket; `lifeline` ends when the supervisor has died; a byte into `ready` says that
    requests are taken."""

    tells = False

    def __init__(
        self, source: Source, log: Logger, read: Read, number: int, hub: str, lifeline: int, ready: int
    ) -> None:
        super().__init__(source, log, read)
        self._number, self._hub, self._lifeline, self._ready = number, hub, lifeline, ready
        self._prepared: Snapshot | None = None
        self._connection: asyncio.Task[None] | None = None
        self._link: Link | None = None
        self._colleagues: Colleagues | None = None

    def made(self, gateway: Gateway) -> None:
        gateway.group = ThroughHub(None, gateway.colleagues)

    async def began(self, gateway: Gateway, reloader: Reloader) -> None:
        loop = asyncio.get_running_loop()
        loop.add_reader(self._lifeline, self._orphaned)
        self._colleagues = gateway.colleagues
        gateway.answers.update(self._reloading(gateway, reloader))
        self._connection = loop.create_task(self._stay_connected(gateway))
        os.write(self._ready, b"r")
        os.close(self._ready)

    async def ended(self) -> None:
        if self._link is not None and self._colleagues is not None:
            with contextlib.suppress(ConnectionError, TimeoutError):
                await asyncio.wait_for(self._link.ask("farewell", self._colleagues.totals()), FAREWELL_S)
        if self._connection is not None:
            self._connection.cancel()

    def _orphaned(self) -> None:
        """Stop: nobody is left who would."""
        asyncio.get_running_loop().remove_reader(self._lifeline)
        self.log.error("supervisor_died", worker=self._number)
        os.kill(os.getpid(), signal.SIGINT)

    async def _stay_connected(self, gateway: Gateway) -> None:
        while True:
            try:
                reader, writer = await asyncio.open_unix_connection(self._hub, limit=LONGEST_BYTES)
            except OSError:  # the hub died and is being replaced
                await asyncio.sleep(AGAIN_S)
                continue
            link = Link(reader, writer, gateway.answers)
            gateway.answers["joined"] = self._joining(gateway, link)
            running = asyncio.ensure_future(link.run())
            try:
                await link.ask("hello", self._facts(gateway))
                await running
            except ConnectionError:
                await asyncio.sleep(AGAIN_S)
            finally:
                self._link = None
                self.made(gateway)
                running.cancel()

    def _joining(self, gateway: Gateway, link: Link) -> Answerer:
        """Return what answers the hub when it counts this worker among the others: from then on they are asked."""

        async def joined(reloads: dict[str, int]) -> None:
            gateway.learn_reloads(reloads)
            self._link = link
            gateway.group = ThroughHub(link, gateway.colleagues)

        return joined

    def _facts(self, gateway: Gateway) -> dict[str, Any]:
        """Return what the hub must know of this worker."""
        return {
            "worker": self._number,
            "pid": os.getpid(),
            "digest": gateway.snapshot.digest,
            "gone": gateway.colleagues.gone,
            "reloads": gateway.reloads,
            "holds": gateway.holds.told(),
        }

    def _reloading(self, gateway: Gateway, reloader: Reloader) -> dict[str, Any]:
        """Return what the hub may ask of a reload: prepare in every worker, then commit in every one, or discard."""

        async def prepare(_: Any) -> str:
            await discard(None)
            self._prepared = await reloader.prepare()
            return self._prepared.digest

        async def commit(why: str) -> str:
            snapshot, self._prepared = self._prepared, None
            if snapshot is None:
                raise ConfigError("nothing was prepared")
            await reloader.commit(snapshot, why)
            return snapshot.digest

        async def discard(_: Any) -> None:
            snapshot, self._prepared = self._prepared, None
            if snapshot is not None:
                await snapshot.close(self.log)

        async def refused(_: Any) -> None:
            gateway.last_reload_failed = True
            gateway.reloads["failed"] += 1

        return {"prepare": prepare, "commit": commit, "discard": discard, "refused": refused}
