"""The Redis store: every operation one command or one script, on keys below the URL's prefix.

Values, lists and counters are kept under `k:`, buckets under `b:`, leases under `l:`. A value begins with a `v`, so
that it is no counter.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Sequence
from pathlib import Path
from typing import Any, Final

from redis.exceptions import NoScriptError, ResponseError

from gateway.errors import StateLost
from gateway.state.breaker import Warn
from gateway.state.claims import NOTHING, given_back, refuse_twice
from gateway.state.redis.cluster import Cluster
from gateway.state.redis.fleet import Fleet, one
from gateway.state.redis.link import Orphan
from gateway.state.redis.scripts import ADD, PUSH, RENEW, SETTLE, TAKE, Script, arguments, milliseconds
from gateway.state.redis.split import merged, newly_taken, parse_taken
from gateway.state.store import Bucket, Claim, Lease, Quota, StateStore, Taken
from gateway.state.url import StateUrl

SCANNED_AT_ONCE: Final = 500
_KIND: Final = {Bucket: "b:", Lease: "l:", Quota: "k:"}


class RedisStore(StateStore):
    """Counts exactly over all gateways that use the same servers, by the servers' own clock. `ca` is the file that
    the URL names, as it is found."""

    def __init__(self, url: StateUrl, warn: Warn, ca: Path | None = None, *, _of: RedisStore | None = None) -> None:
        self._url, self._warn, self._ca = url, warn, ca
        if _of is None:
            self._is_root = True
            self._fleet: Fleet = Cluster(url, ca, warn) if url.kind == "cluster" else one(url, ca, warn)
            self._tasks: set[asyncio.Task[Any]] = set()
            self._inner = ""
        else:
            self._is_root = False
            self._fleet, self._tasks, self._inner = _of._fleet, _of._tasks, _of._inner
        self._place()

    def _place(self) -> None:
        base = self._url.prefix
        self._kept = f"{base}k:{self._inner}"
        self._by_kind = {kind: f"{base}{letter}{self._inner}" for kind, letter in _KIND.items()}

    @property
    def is_lost(self) -> bool:
        return self._fleet.is_lost

    @property
    def errors(self) -> int:
        return self._fleet.errors

    async def start(self) -> None:
        await self._fleet.start()

    def under(self, prefix: str) -> StateStore:
        store = RedisStore(self._url, self._warn, self._ca, _of=self)
        store._inner = self._inner + prefix
        store._place()
        return store

    # --- values, counters, lists -------------------------------------------------------------------------

    async def get(self, key: str) -> bytes | None:
        value = await self._call(key, "GET", self._kept + key)
        return value[1:] if isinstance(value, bytes) and value[:1] == b"v" else None

    async def put(self, key: str, value: bytes, lifetime_s: float, *, if_absent: bool = False) -> bool:
        more = ("NX",) if if_absent else ()
        done = await self._call(key, "SET", self._kept + key, b"v" + value, "PX", milliseconds(lifetime_s), *more)
        return done is not None

    async def delete(self, *keys: str) -> int:
        groups: dict[int, list[str]] = {}
        for key in keys:
            groups.setdefault(self._fleet.slot(self._kept + key), []).append(self._kept + key)
        there = 0
        for group in groups.values():
            there += await self._fleet.call(group[0], ("DEL", *group))
        return there

    async def add(self, key: str, amount: int, lifetime_s: float) -> int:
        return int(await self._run(ADD, [self._kept + key], [amount, milliseconds(lifetime_s)]))

    async def push(
        self, key: str, values: Sequence[bytes], lifetime_s: float, *, at_most: int = 0, only_with: str | None = None
    ) -> int:
        keys = [self._kept + key, *([] if only_with is None else [self._kept + only_with])]
        if len({self._fleet.slot(each) for each in keys}) > 1:
            raise ValueError(f'"{key}" and "{only_with}" have no hash tag in common')
        length: int = await self._run(PUSH, keys, [milliseconds(lifetime_s), at_most, *values])
        return length

    async def items(self, key: str) -> list[bytes]:
        found = await self._call(key, "LRANGE", self._kept + key, 0, -1)
        return found if isinstance(found, list) else []

    async def touch(self, key: str, lifetime_s: float) -> bool:
        return bool(await self._call(key, "PEXPIRE", self._kept + key, milliseconds(lifetime_s)))

    async def names(self, prefix: str, at_most: int) -> list[str]:
        literal = "".join("\\" + each if each in "*?[]\\^-" else each for each in self._kept + prefix)
        found: dict[str, None] = {}
        for shard in self._fleet.shards():
            cursor = b"0"
            while len(found) < at_most:
                cursor, keys = await shard.call(("SCAN", cursor, "MATCH", literal + "*", "COUNT", SCANNED_AT_ONCE))
                found.update(dict.fromkeys(key.decode()[len(self._kept) :] for key in keys))
                if cursor == b"0":
                    break
        return list(found)[:at_most]

    # --- claims ------------------------------------------------------------------------------------------

    async def take(self, claims: Sequence[Claim]) -> Taken:
        refuse_twice(claims)
        groups = self._groups(claims)
        if len(groups) == 1:
            return (await self._take_group(list(claims), groups[0][0]))[0]
        return await self._take_split(claims, groups) if groups else NOTHING

    async def settle(self, claims: Sequence[Claim]) -> None:
        await self._each(claims, SETTLE)

    async def renew(self, leases: Sequence[Lease]) -> None:
        await self._each(leases, RENEW)

    async def ping(self) -> None:
        await self._fleet.ping()

    async def close(self) -> None:
        if self._is_root:
            await asyncio.gather(*self._tasks, return_exceptions=True)
            await self._fleet.close()

    def _groups(self, claims: Sequence[Claim]) -> list[tuple[list[str], list[int]]]:
        """Return keys and numbers of the claims that one script may decide, for each such group."""
        groups: dict[int, tuple[list[str], list[int]]] = {}
        for number, claim in enumerate(claims):
            key = self._by_kind[type(claim)] + claim.key
            keys, numbers = groups.setdefault(self._fleet.slot(key), ([], []))
            keys.append(key)
            numbers.append(number)
        return list(groups.values())

    async def _take_group(self, claims: list[Claim], keys: list[str], *, look: bool = False) -> tuple[Taken, list[Any]]:
        """Return the decision, and the answer it was read from."""

        def orphan(answer: Any) -> None:
            if isinstance(answer, list) and answer[0] and not look:
                self._spawn(self._give_back(newly_taken(claims, answer)))

        args = ["look" if look else "take", *arguments(claims)]
        answer = await self._run(TAKE, keys, args, orphan)
        return parse_taken(answer), answer

    async def _take_split(self, claims: Sequence[Claim], groups: list[tuple[list[str], list[int]]]) -> Taken:
        """Take group by group; when one refuses, the others are only looked at and what was taken is given back."""
        taken: list[Claim] = []
        answers: list[Taken] = []
        is_refused = False
        try:
            for keys, numbers in groups:
                group = [claims[number] for number in numbers]
                decision, answer = await self._take_group(group, keys, look=is_refused)
                answers.append(decision)
                is_refused = is_refused or not decision.allowed
                if not is_refused:
                    taken += newly_taken(group, answer)
        except BaseException:
            self._spawn(self._give_back(taken))
            raise
        if is_refused:
            await self._give_back(taken)
        return merged(claims, [numbers for _, numbers in groups], answers, taken)

    async def _give_back(self, claims: Sequence[Claim]) -> None:
        try:
            await self.settle(given_back(claims))
        except StateLost:
            pass  # counted and logged; what was taken comes back with time

    async def _each(self, claims: Sequence[Claim], script: Script) -> None:
        """Run `script` on every group, whatever becomes of the others. Raises: StateLost."""
        work = []
        for keys, numbers in self._groups(claims):
            group = [claims[number] for number in numbers]
            args = arguments(group)
            if script is RENEW:  # holder and lifetime of each
                args = [arg for at in range(0, len(args), 4) for arg in (args[at + 1], args[at + 3])]
            work.append(self._run(script, keys, args))
        if len(work) == 1:
            await work[0]
        else:
            for result in await asyncio.gather(*work, return_exceptions=True):
                if isinstance(result, BaseException):
                    raise result

    # --- commands ----------------------------------------------------------------------------------------

    async def _call(self, key: str, *args: Any) -> Any:
        answer = await self._fleet.call(self._kept + key, args)
        return None if isinstance(answer, ResponseError) else answer  # another kind of key

    async def _run(self, script: Script, keys: list[str], args: list[Any], orphan: Orphan | None = None) -> Any:
        """Run a script that the server may have forgotten: it forgets all of them when it restarts."""
        answer = await self._fleet.call(keys[0], ("EVALSHA", script.digest, len(keys), *keys, *args), orphan)
        if isinstance(answer, NoScriptError):
            answer = await self._fleet.call(keys[0], ("EVAL", script.text, len(keys), *keys, *args), orphan)
        if isinstance(answer, ResponseError):
            raise StateLost(f"the state answers {type(answer).__name__}")
        return answer

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
