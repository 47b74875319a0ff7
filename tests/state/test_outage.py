"""A lost Redis: every operation fails in time, soon at once, and all is well again when the server is back."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from gateway.errors import StateLost
from gateway.state.redis import RedisStore
from gateway.state.redis.scripts import TAKE
from gateway.state.store import Bucket, Quota, StateStore
from gateway.state.url import parse_state
from gateway.testing import running_gateway
from tests.state.servers import Server, Servers, a_cluster, one_server, until, with_sentinels

CLAIM = Bucket("{t}b", 1, 1_000, 1e-6)


class Told:
    """The warnings of a store."""

    def __init__(self) -> None:
        self.lines: list[tuple[str, dict[str, Any]]] = []

    def __call__(self, event: str, **fields: Any) -> None:
        self.lines.append((event, fields))

    @property
    def events(self) -> list[str]:
        return [event for event, _ in self.lines]


@contextlib.asynccontextmanager
async def opened(url: str, told: Told) -> AsyncIterator[RedisStore]:
    store = RedisStore(parse_state(url), told)
    await store.start()
    try:
        yield store
    finally:
        await store.close()


async def works(store: StateStore) -> bool:
    try:
        return (await store.take([CLAIM])).allowed
    except StateLost:
        return False


async def soon(check: Callable[[], Awaitable[bool]]) -> None:
    """Wait until `check` holds."""
    end = time.monotonic() + 20.0
    while not await check():
        assert time.monotonic() < end
        await asyncio.sleep(0.01)


async def lose(store: StateStore) -> None:
    """Ask until the breaker opens; no operation succeeds meanwhile."""
    for _ in range(5):
        with pytest.raises(StateLost) as lost:
            await store.take([CLAIM])
        assert (lost.value.status, lost.value.code) == (503, "state_unavailable")
    assert store.is_lost


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    with one_server(tmp_path) as servers:
        yield servers.servers[0]


def url_of(server: Server) -> str:
    return f"redis://127.0.0.1:{server.port}"


def freeze(server: Server) -> None:
    server.freeze()


def thaw(server: Server) -> None:
    server.thaw()


def crash(server: Server) -> None:
    server.kill()


def restart(server: Server) -> None:
    server.start()


def demote(server: Server) -> None:
    server.ask("REPLICAOF", "127.0.0.1", "1")


def promote(server: Server) -> None:
    server.ask("REPLICAOF", "NO", "ONE")


def fill(server: Server) -> None:
    server.ask("CONFIG", "SET", "maxmemory", "1")


def empty(server: Server) -> None:
    server.ask("CONFIG", "SET", "maxmemory", "0")


def pause(server: Server) -> None:
    server.ask("CLIENT", "PAUSE", "2000", "ALL")


def unpause(server: Server) -> None:
    """It ends by itself; meanwhile nobody is heard."""


def lock(server: Server) -> None:
    server.ask("ACL", "SETUSER", "default", "-@write")


def unlock(server: Server) -> None:
    server.ask("ACL", "SETUSER", "default", "+@all")


OUTAGES = [(freeze, thaw), (crash, restart), (demote, promote), (fill, empty), (pause, unpause), (lock, unlock)]


@pytest.mark.parametrize(("breaks", "mends"), OUTAGES, ids=[breaks.__name__ for breaks, _ in OUTAGES])
async def test_a_lost_server_is_told_once_and_comes_back_by_itself(
    breaks: Callable[[Server], None], mends: Callable[[Server], None], server: Server
) -> None:
    told = Told()
    async with opened(url_of(server), told) as store:
        assert await works(store)
        breaks(server)
        await lose(store)
        before = store.errors
        for _ in range(1_000):  # at once: nothing is sent and nothing waited for
            assert not await works(store)
        assert store.errors >= before + 1_000
        with pytest.raises(StateLost):
            await store.ping()
        mends(server)

        async def is_back() -> bool:
            return not store.is_lost

        await soon(is_back)
        assert await works(store)
        assert told.events == ["state_lost", "state_back"]
        assert told.lines[0][1]["reason"]


async def test_a_server_that_is_absent_at_the_start_is_lost_until_it_comes(server: Server) -> None:
    server.kill()
    told = Told()
    async with opened(url_of(server), told) as store:
        assert store.is_lost
        server.start()
        await soon(lambda: works(store))
        assert told.events == ["state_lost", "state_back"]


async def test_a_server_that_forgot_its_scripts_is_taught_them_again(server: Server) -> None:
    async with opened(url_of(server), Told()) as store:
        assert (await store.take([CLAIM])).left == (999,)
        server.ask("SCRIPT", "FLUSH")
        assert (await store.take([CLAIM])).left == (998,)
        assert store.errors == 0
        assert server.ask("SCRIPT", "EXISTS", TAKE.digest) == [True]


async def test_one_late_answer_is_no_outage(server: Server) -> None:
    told = Told()
    async with opened(url_of(server), told) as store:
        server.freeze()
        assert not await works(store)
        server.thaw()
        await soon(lambda: works(store))
        assert not store.is_lost
        assert told.events == ["state_lost", "state_back"]


async def test_who_asks_a_frozen_server_at_once_shares_one_wait_and_one_connection(server: Server) -> None:
    async with opened(url_of(server), Told()) as store:
        assert await works(store)
        server.freeze()
        assert not any(await asyncio.gather(*(works(store) for _ in range(2_000))))
        assert store.is_lost
        server.thaw()
        await soon(lambda: works(store))
        clients = server.ask("INFO", "clients")["connected_clients"]
        assert clients <= 3


async def test_a_backward_jump_of_the_servers_clock_stops_no_bucket(server: Server) -> None:
    """What a bucket says of the future counts as now: here two days ahead, as if the clock had been set back."""
    async with opened(url_of(server), Told()) as store:
        claim = Bucket("b", 1, 10, 1_000.0)
        await store.take([Bucket("b", 10, 10, 1.0)])
        ahead = "local t = redis.call('TIME') redis.call('SET', KEYS[1], struct.pack('>dd', 0, (t[1] + 172800) * 1e6))"
        server.ask("EVAL", ahead, 1, "llm-gateway:b:b")

        async def refills() -> bool:
            return (await store.take([claim])).allowed

        await soon(refills)


async def test_the_sentinels_new_master_is_found(tmp_path: Path) -> None:
    with with_sentinels(tmp_path) as servers:
        told = Told()
        async with opened(servers.url, told) as store:
            await store.put("kept", b"1", 1000.0)
            assert servers.servers[0].ask("WAIT", 1, 5000) >= 0
            until(lambda: "connected_slaves:1" in servers.servers[0].info("replication"), "the replica")
            servers.servers[0].kill()
            await soon(lambda: works(store))
            assert "role:master" in servers.servers[1].info("replication")
            assert not store.is_lost
            assert told.events in (["state_lost", "state_back"], ["state_lost"])


@pytest.fixture(scope="module")
def nodes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    with a_cluster(tmp_path_factory.mktemp("nodes")) as servers:
        yield servers


def key_in(store: RedisStore, least: int, most: int) -> str:
    """Return a bucket's key whose slot lies between the two."""
    names = (f"{{{number}}}b" for number in range(100_000))
    return next(name for name in names if least <= store._fleet.slot(f"llm-gateway:b:{name}") <= most)


async def test_a_frozen_node_loses_its_own_keys_alone(nodes: Servers) -> None:
    async with opened(nodes.url, Told()) as store:
        lost, kept = Bucket(key_in(store, 0, 5460), 1, 9, 1e-6), Bucket(key_in(store, 10923, 16383), 1, 9, 1e-6)
        assert (await store.take([lost, kept])).left == (8, 8)
        nodes.servers[0].freeze()
        try:
            for _ in range(6):
                with pytest.raises(StateLost):
                    await store.take([lost])
            assert store.is_lost
            assert (await store.take([kept])).left == (7,)
            # What the first shard of two gave is given back when the second is lost.
            with pytest.raises(StateLost):
                await store.take([kept, lost])
        finally:
            nodes.servers[0].thaw()

        async def is_whole() -> bool:
            try:
                return (await store.take([Bucket(kept.key, 0, 9, 1e-6), lost])).left[0] == 7
            except StateLost:
                return False

        await soon(is_whole)
        assert not store.is_lost


async def test_a_slot_that_moves_is_followed(nodes: Servers) -> None:
    async with opened(nodes.url, Told()) as store:
        source, target = nodes.servers[1], nodes.servers[2]
        claim = Quota(key_in(store, 5461, 10922).removesuffix("b") + "moves", 1, 9, 1000.0)
        slot = store._fleet.slot(f"llm-gateway:k:{claim.key}")
        ids = {each.port: each.ask("CLUSTER", "MYID") for each in (source, target)}
        target.ask("CLUSTER", "SETSLOT", slot, "IMPORTING", ids[source.port])
        source.ask("CLUSTER", "SETSLOT", slot, "MIGRATING", ids[target.port])
        assert (await store.take([claim])).left == (8,)  # ASK
        for each in (target, source):
            each.ask("CLUSTER", "SETSLOT", slot, "NODE", ids[target.port])
        assert (await store.take([claim])).left == (7,)  # MOVED
        assert (await store.take([claim])).left == (6,)
        assert store.errors == 0


async def test_the_gateway_says_so_and_serves_on(server: Server) -> None:
    config = f"""
        state: {url_of(server)}
        providers: {{echo: {{dialect: echo}}}}
        routes: [{{name: all, targets: ["echo/*"]}}]
    """
    async with running_gateway(config) as gateway:
        assert (await gateway.get("/ready")).json()["checks"]["state"] == "ok"
        server.freeze()
        ready = await gateway.get("/ready")
        assert (ready.status, ready.json()["status"], ready.json()["checks"]["state"]) == (200, "degraded", "lost")
        body = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}
        assert (await gateway.post("/v1/chat/completions", body)).status == 200
        server.thaw()

        async def is_ready() -> bool:
            return bool((await gateway.get("/ready")).json()["status"] == "ready")

        await soon(is_ready)
        assert [line["level"] for line in gateway.events("state_lost")] == ["warning"]
