"""What runs: the current snapshot, the exchanges in flight, and what outlives reloads."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any, Literal

from gateway.exchange import Exchange
from gateway.plugin import Vitals
from gateway.runtime import in_flight
from gateway.runtime.group import Answerer, Colleagues, Group
from gateway.runtime.plugin_times import Answer
from gateway.runtime.rings import resting_targets
from gateway.runtime.snapshot import Snapshot
from gateway.runtime.status import teller
from gateway.runtime.watchdog import Lag, Watchdog
from gateway.telemetry import Logger
from gateway.upstream.holds import Holds

Phase = Literal["starting", "serving", "lame_duck", "draining"]


class Generation:
    """A snapshot with the number of exchanges that still run on it; retired when it has been replaced and that is 0."""

    __slots__ = ("live", "on_idle", "replaced", "snapshot")

    def __init__(self, snapshot: Snapshot) -> None:
        self.snapshot = snapshot
        self.live = 0
        self.replaced = False
        self.on_idle: Callable[[Generation], None] | None = None

    def leave(self) -> None:
        """One exchange fewer."""
        self.live -= 1
        if self.replaced and self.live == 0 and self.on_idle is not None:
            self.on_idle(self)


class Lasting:
    """Objects that outlive snapshots: pools, key rings, breakers, counters. Made once, found by name ever after."""

    def __init__(self) -> None:
        self._things: dict[str, Any] = {}

    def get(self, name: str, factory: Callable[[], Any]) -> Any:
        """Return the object called `name`, made by `factory` the first time."""
        if name not in self._things:
            self._things[name] = factory()
        return self._things[name]

    async def close(self) -> None:
        """Close what can be closed: connection pools above all."""
        for thing in self._things.values():
            close = getattr(thing, "close", None)
            if close is not None and asyncio.iscoroutinefunction(close):
                await close()


class Gateway:
    """The running gateway: one reference to the current generation, replaced in one assignment."""

    def __init__(self, generation: Generation, lasting: Lasting, log: Logger) -> None:
        self.generation = generation
        self.lasting = lasting
        self.log = log
        self.phase: Phase = "starting"
        self.live: set[Exchange] = lasting.get("live", set)
        self.last_reload_failed = False
        self.reloads = {"ok": 0, "failed": 0}
        """Of the whole group since it started; a process that joins later is told."""
        self.colleagues: Colleagues = lasting.get("colleagues", Colleagues)
        self.colleagues.vitals = self._vitals
        self.watchdog = Watchdog(log)
        self.answers["lag"] = self._tell_lag
        self.answers["status"] = teller(self)
        self.answers["live"] = in_flight.teller(self)
        self.answers["pulse"] = self._tell_pulse
        self.answers["plugin_times"] = self._tell_plugin_times
        self.answers["key_rests"] = self._tell_key_rests
        self.answers["holds"] = self._learn_holds
        self.answers["reset"] = self._reset
        self._background: set[asyncio.Task[Any]] = set()

    @property
    def snapshot(self) -> Snapshot:
        """The configuration in force."""
        return self.generation.snapshot

    @property
    def answers(self) -> dict[str, Answerer]:
        """What other processes of the group, or this one, may ask by name; see `Group.gather`."""
        return self.colleagues.answers

    @property
    def group(self) -> Group:
        """The processes that serve together."""
        return self.colleagues.group

    @group.setter
    def group(self, group: Group) -> None:
        self.colleagues.group = group

    @property
    def lag(self) -> Lag:
        """How late this process's loop was over the last minute."""
        return self.watchdog.lag

    def learn_reloads(self, counts: Mapping[str, int]) -> None:
        """Take what another process of the group knows: one that joined late has missed some."""
        for result, count in counts.items():
            self.reloads[result] = max(self.reloads[result], count)

    def replace(self, snapshot: Snapshot) -> None:
        """Make `snapshot` the one in force; the old one retires when its last exchange ends."""
        old, self.generation = self.generation, Generation(snapshot)
        old.on_idle = self._retire
        old.replaced = True
        if old.live == 0:
            self._retire(old)

    def spawn(self, work: Any) -> asyncio.Task[Any]:
        """Run `work` to its end whatever happens to whoever asked; the gateway waits for it when it stops."""
        task = asyncio.get_running_loop().create_task(work)
        self._background.add(task)
        task.add_done_callback(self._background.discard)
        return task

    async def settle(self, at_most_s: float | None = None) -> None:
        """Wait for what was spawned, and for what that spawned in its turn."""
        end = None if at_most_s is None else asyncio.get_running_loop().time() + at_most_s
        while self._background:
            left = None if end is None else end - asyncio.get_running_loop().time()
            if left is not None and left <= 0:
                return
            await asyncio.wait(self._background, timeout=left)

    @property
    def holds(self) -> Holds:
        """Which targets an operator keeps requests from."""
        return self.snapshot.shared.health.holds

    async def _learn_holds(self, told: dict[str, Any]) -> None:
        self.holds.learn(told)

    async def _reset(self, target: str) -> None:
        self.snapshot.shared.health.of(target).breaker.close()

    async def _tell_plugin_times(self, _: Any) -> Answer:
        return self.snapshot.shared.plugin_times.told()

    async def _tell_key_rests(self, _: Any) -> dict[str, float]:
        snapshot = self.snapshot
        return resting_targets(snapshot.config, self.lasting, snapshot.targets)

    async def _tell_pulse(self, points: int | None) -> dict[str, Any] | None:
        pulse = self.snapshot.shared.pulse
        return None if pulse is None else pulse.told(points or 0)

    async def _tell_lag(self, _: Any) -> dict[str, float]:
        return self.lag.in_ms()

    def _vitals(self) -> Vitals:
        snapshot = self.snapshot
        known = {each.name: each.breaker.state for each in snapshot.shared.health.among(snapshot.targets)}
        return Vitals(
            digest=snapshot.digest,
            in_flight=sum("in_flight" in exchange.notes for exchange in self.live),
            lag_s=self.lag.max_s,
            breakers={name: known.get(name, "closed") for name in snapshot.targets},
            reloads=dict(self.reloads),
        )

    def _retire(self, generation: Generation) -> None:
        generation.on_idle = None
        self.spawn(generation.snapshot.close(self.log))
