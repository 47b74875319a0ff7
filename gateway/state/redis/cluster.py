"""A Redis Cluster: 16,384 slots, each on some node; where they are is asked once and corrected as they move."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, Final

from redis.crc import REDIS_CLUSTER_HASH_SLOTS, key_slot
from redis.exceptions import AskError, MovedError, ResponseError

from gateway.errors import StateLost
from gateway.state.breaker import FAILURES, TIMEOUT_S, Breaker, Warn
from gateway.state.redis.fleet import Fleet, login_of
from gateway.state.redis.link import CONNECT_S, Link, LinkLost, Orphan
from gateway.state.redis.shard import LATE, Shard
from gateway.state.url import Address, StateUrl

HOPS: Final = 3
"""How often one operation is sent on."""
ASKED: Final = 4
"""So many nodes are asked at once where the slots are; the first answer counts."""
REFRESH_EVERY_S: Final = 0.25


class Cluster(Fleet):
    """The nodes that hold keys, each behind a breaker of its own; one more for the time when no node is known."""

    def __init__(self, url: StateUrl, ca: Path | None, warn: Warn) -> None:
        self._url, self._login, self._warn = url, login_of(url, ca), warn
        self._slots: list[Shard | None] = [None] * REDIS_CLUSTER_HASH_SLOTS
        self._shards: dict[Address, Shard] = {}
        self._breaker = Breaker(url.shown, warn, self._look)
        self._refreshing: asyncio.Task[None] | None = None
        self._refreshed_at = -REFRESH_EVERY_S
        self._tasks: set[asyncio.Task[Any]] = set()
        self._gone_errors = 0

    @property
    def is_lost(self) -> bool:
        return self._breaker.is_open or any(shard.breaker.is_open for shard in self._shards.values())

    @property
    def errors(self) -> int:
        live = sum(shard.breaker.errors for shard in self._shards.values())
        return self._gone_errors + self._breaker.errors + live

    def slot(self, key: str) -> int:
        return key_slot(key.encode())

    def shards(self) -> list[Shard]:
        return list(self._shards.values())

    async def call(self, key: str, args: tuple[Any, ...], orphan: Orphan | None = None) -> Any:
        slot = self.slot(key)
        shard = self._slots[slot]
        if shard is None:
            self._breaker.check()
            await self._look()
            shard = self._slots[slot]
            if shard is None:
                raise self._breaker.failed(f"no node holds slot {slot}")
        answer = await self._at(shard, args, orphan)
        if isinstance(answer, AskError):
            return await self._follow(answer, args, orphan)
        return answer

    async def start(self) -> None:
        for _ in range(FAILURES):
            try:
                await self._look()
            except StateLost:
                continue
            await asyncio.gather(*(shard.start() for shard in self.shards()))
            return
        self._breaker.open()

    async def ping(self) -> None:
        self._breaker.check()
        if not self._shards:
            await self._look()
        await asyncio.gather(*(shard.ping() for shard in self.shards()))

    async def close(self) -> None:
        tasks = [*self._tasks, *([self._refreshing] if self._refreshing is not None else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, self._breaker.close(), return_exceptions=True)
        await asyncio.gather(*(shard.close() for shard in self.shards()))

    async def _at(self, shard: Shard, args: tuple[Any, ...], orphan: Orphan | None, *, asking: bool = False) -> Any:
        try:
            return await shard.call(args, orphan, asking=asking)
        except StateLost:
            self._refresh_soon()  # a replica may have taken over
            raise

    async def _follow(self, told: AskError, args: tuple[Any, ...], orphan: Orphan | None) -> Any:
        """Go where the node says. MOVED holds from now on, ASK (raised while a slot moves) this once."""
        answer: Any = told
        try:
            async with asyncio.timeout(TIMEOUT_S):
                for _ in range(HOPS):
                    asking = not isinstance(answer, MovedError)
                    shard = self._shard((answer.host, answer.port))
                    if not asking:
                        self._slots[answer.slot_id] = shard
                        self._refresh_soon()
                    answer = await self._at(shard, args, orphan, asking=asking)
                    if not isinstance(answer, AskError):
                        break
        except TimeoutError:
            raise self._breaker.failed("the nodes sent the operation on for too long") from None
        if isinstance(answer, AskError):
            raise self._breaker.failed("the nodes do not agree where a slot is")
        return answer

    def _shard(self, address: Address) -> Shard:
        if address not in self._shards:
            where = f"redis cluster {address[0]}:{address[1]}"
            self._shards[address] = Shard(where, _Dial(self, address).dial, ("PING",), self._warn)
        return self._shards[address]

    # --- where the slots are -------------------------------------------------------------------------

    async def _look(self) -> None:
        """Learn where the slots are. Raises: StateLost."""
        if self._refreshing is None:
            self._refreshing = asyncio.get_running_loop().create_task(self._refresh())
            self._refreshing.add_done_callback(self._looked)
        try:
            async with asyncio.timeout(TIMEOUT_S):
                await asyncio.shield(self._refreshing)
        except LinkLost as error:
            raise self._breaker.failed(str(error)) from error
        except TimeoutError:
            raise self._breaker.failed(LATE) from None
        self._breaker.succeeded()

    def _looked(self, task: asyncio.Task[None]) -> None:
        self._refreshing = None
        self._refreshed_at = asyncio.get_running_loop().time()
        if not task.cancelled():
            task.exception()

    def _refresh_soon(self) -> None:
        now = asyncio.get_running_loop().time()
        if self._refreshing is None and now - self._refreshed_at >= REFRESH_EVERY_S:
            self._refreshing = asyncio.get_running_loop().create_task(self._refresh())
            self._refreshing.add_done_callback(self._looked)

    async def _refresh(self) -> None:
        known = [address for address, shard in self._shards.items() if not shard.breaker.is_open]
        others = [address for address in (*self._shards, *self._url.addresses) if address not in known]
        nodes = list(dict.fromkeys([*random.sample(known, len(known)), *random.sample(others, len(others))]))
        asked = [asyncio.ensure_future(self._ask(address)) for address in nodes[:ASKED]]
        why = "no node answers"
        try:
            async with asyncio.timeout(CONNECT_S):
                for each in asyncio.as_completed(asked):
                    try:
                        self._learn(await each)
                        return
                    except LinkLost as error:
                        why = str(error)
        except TimeoutError:
            pass
        finally:
            for task in asked:
                task.cancel()
            await asyncio.gather(*asked, return_exceptions=True)
        raise LinkLost(why)

    async def _ask(self, address: Address) -> list[tuple[int, int, Address]]:
        """Return first slot, last slot and master of every range, as one node sees it."""
        link = await Link.to(address, self._login)
        try:
            answer = await link.send(("CLUSTER", "SLOTS"))
        finally:
            link.close()
        if isinstance(answer, ResponseError) or not answer:
            raise LinkLost(str(answer) if answer else "the node holds no slots yet")
        # A node that does not know its own name leaves the host empty: it is where it was asked.
        return [
            (first, last, (master[0].decode() if master[0] not in (b"", b"?", None) else address[0], master[1]))
            for first, last, master, *_ in answer
        ]

    def _learn(self, ranges: list[tuple[int, int, Address]]) -> None:
        slots: list[Shard | None] = [None] * REDIS_CLUSTER_HASH_SLOTS
        for first, last, address in ranges:
            slots[first : last + 1] = [self._shard(address)] * (last + 1 - first)
        self._slots = slots
        masters = {address for _, _, address in ranges}
        for number in range(REDIS_CLUSTER_HASH_SLOTS):
            key = f"{self._url.prefix}probe{{{number}}}"
            shard = slots[key_slot(key.encode())]
            if shard is not None and shard.probe_args == ("PING",):
                shard.probe_args = ("SET", key, "1", "PX", "1000")
            if all(self._shards[address].probe_args != ("PING",) for address in masters):
                break
        for address in [address for address in self._shards if address not in masters]:
            gone = self._shards.pop(address)
            self._gone_errors += gone.breaker.errors
            self._spawn(gone.close())

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


class _Dial:
    """Connects to one node; when that fails the cluster looks who has its slots now."""

    def __init__(self, cluster: Cluster, address: Address) -> None:
        self._cluster, self._address = cluster, address

    async def dial(self) -> Link:
        try:
            return await Link.to(self._address, self._cluster._login)
        except BaseException:
            self._cluster._refresh_soon()
            raise
