"""Every store, behind one fixture: what holds for one holds for all."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from gateway.scripted import ManualClock
from gateway.state.memory import MemoryStore
from gateway.state.redis import RedisStore
from gateway.state.sqlite import SqliteStore
from gateway.state.store import StateStore
from gateway.state.url import parse_state
from tests.state.servers import Servers, a_cluster, one_server, with_sentinels

_numbers = itertools.count()


def told(event: str, **fields: Any) -> None:
    """Take a store's warnings where a test does not look at them."""


@pytest.fixture(scope="session")
def one(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    with one_server(tmp_path_factory.mktemp("one")) as servers:
        yield servers


@pytest.fixture(scope="session")
def sentinels(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    with with_sentinels(tmp_path_factory.mktemp("sentinels")) as servers:
        yield servers


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    with a_cluster(tmp_path_factory.mktemp("cluster")) as servers:
        yield servers


@dataclass
class Kit:
    """A store with keys of this test alone. `clock` is None where time is the server's own."""

    store: StateStore
    clock: ManualClock | None

    async def until(self, check: Callable[[], Awaitable[bool]], within_s: float) -> None:
        """Let `within_s` pass, or as much of real time as it takes; then `check` must hold."""
        if self.clock is not None:
            self.clock.advance(within_s)
            assert await check()
            return
        end = time.monotonic() + 10.0
        while not await check():
            assert time.monotonic() < end
            await asyncio.sleep(0.005)


@pytest.fixture(params=["memory", "sqlite", "one", "sentinels", "cluster"])
async def kit(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Kit]:
    clock = ManualClock()
    if request.param == "memory":
        yield Kit(MemoryStore(clock.monotonic), clock)
        return
    if request.param == "sqlite":
        store: StateStore = SqliteStore(tmp_path / "var" / "state.db", told, clock.monotonic)
        await store.start()
        yield Kit(store, clock)
    else:
        store = RedisStore(parse_state(request.getfixturevalue(request.param).url), told)
        await store.start()
        yield Kit(store.under(f"test{next(_numbers)}:"), None)
    await store.close()
