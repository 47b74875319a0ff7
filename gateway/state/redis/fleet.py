"""Where keys lie: on one server, wherever the sentinels say that it is, or on the nodes of a cluster (cluster.py)."""

from __future__ import annotations

import asyncio
import ssl
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Final, Protocol

from redis.exceptions import ResponseError

from gateway.errors import ConfigError
from gateway.state.breaker import Warn
from gateway.state.redis.link import Link, LinkLost, Login, Orphan
from gateway.state.redis.shard import Shard
from gateway.state.url import Address, StateUrl

ASKED_S: Final = 0.3
"""How long sentinels are waited for while no majority has spoken, which leaves time to connect to the master."""


class Fleet(Protocol):
    """The servers that hold the keys."""

    @property
    def is_lost(self) -> bool:
        """True while some server is known to be out of reach."""

    @property
    def errors(self) -> int:
        """How many operations failed so far."""

    def slot(self, key: str) -> int:
        """Return a number that is the same for keys on which one script may act."""

    async def call(self, key: str, args: tuple[Any, ...], orphan: Orphan | None = None) -> Any:
        """Do a command where `key` lies and return the answer, NoScriptError among them. Raises: StateLost."""

    def shards(self) -> list[Shard]:
        """Return the servers, each with keys of its own."""

    async def start(self) -> None:
        """Connect where it can be done."""

    async def ping(self) -> None:
        """Return when every server takes writes. Raises: StateLost."""

    async def close(self) -> None:
        """Let go of the connections."""


class One(Fleet):
    """All keys on one server."""

    def __init__(self, shard: Shard) -> None:
        self._shard = shard

    @property
    def is_lost(self) -> bool:
        return self._shard.breaker.is_open

    @property
    def errors(self) -> int:
        return self._shard.breaker.errors

    def slot(self, key: str) -> int:
        return 0

    async def call(self, key: str, args: tuple[Any, ...], orphan: Orphan | None = None) -> Any:
        return await self._shard.call(args, orphan)

    def shards(self) -> list[Shard]:
        return [self._shard]

    async def start(self) -> None:
        await self._shard.start()

    async def ping(self) -> None:
        await self._shard.ping()

    async def close(self) -> None:
        await self._shard.close()


def login_of(url: StateUrl, ca: Path | None) -> Login:
    """Return how to reach the servers that hold keys. Raises: ConfigError, when `ca` is no file of authorities."""
    try:
        tls = ssl.create_default_context(cafile=ca) if url.tls else None
    except (OSError, ssl.SSLError) as error:
        problem = f'the file "{url.ca}" holds no authorities: {error}'
        raise ConfigError(problem, path="state", cure="ca= is a PEM file") from error
    return Login(url.username, url.password, url.db, tls)


def one(url: StateUrl, ca: Path | None, warn: Warn) -> One:
    """Return the fleet of `redis://` or `redis+sentinel://`."""
    login = login_of(url, ca)
    dial: Callable[[], Awaitable[Link]]
    if url.kind == "sentinel":
        sentinels = Sentinels(url, login, Login(url.sentinel_username, url.sentinel_password, 0, login.tls))
        dial = sentinels.dial
    else:
        dial = _Fixed(url.addresses[0], login).dial
    return One(Shard(url.shown, dial, ("SET", f"{url.prefix}probe", "1", "PX", "1000"), warn))


class _Fixed:
    def __init__(self, address: Address, login: Login) -> None:
        self._address, self._login = address, login

    async def dial(self) -> Link:
        return await Link.to(self._address, self._login)


class Sentinels:
    """Asks the sentinels where the master is, each time a connection is made."""

    def __init__(self, url: StateUrl, login: Login, sentinel_login: Login) -> None:
        self._url, self._login, self._sentinel_login = url, login, sentinel_login

    async def dial(self) -> Link:
        """Return a connection to the master. Raises: LinkLost."""
        link = await Link.to(await self._master(), self._login)
        try:
            # A sentinel that was cut off names the old master, which may be a replica by now.
            role = await link.send(("ROLE",))
        except BaseException:
            link.close()
            raise
        if isinstance(role, ResponseError) or role[0] != b"master":
            link.close()
            raise LinkLost("the server that the sentinels name is no master")
        return link

    async def _master(self) -> Address:
        """Return what most sentinels name; one that is cut off may be behind, or silent."""
        asked = [asyncio.ensure_future(self._ask(address)) for address in self._url.addresses]
        named: Counter[Address] = Counter()
        why = "do not answer"
        try:
            for each in asyncio.as_completed(asked, timeout=ASKED_S):
                try:
                    master = await each
                except LinkLost:
                    continue
                if master is None:
                    why = "know no such service"
                    continue
                named[master] += 1
                if named[master] > len(asked) // 2:
                    return master
        except TimeoutError:
            pass
        finally:
            for task in asked:
                task.cancel()
            await asyncio.gather(*asked, return_exceptions=True)
        if not named:
            raise LinkLost(f"the sentinels {why}")
        return named.most_common(1)[0][0]

    async def _ask(self, address: Address) -> Address | None:
        link = await Link.to(address, self._sentinel_login)
        try:
            answer = await link.send(("SENTINEL", "GET-MASTER-ADDR-BY-NAME", self._url.service))
        finally:
            link.close()
        if isinstance(answer, ResponseError):
            raise LinkLost(str(answer))
        return (answer[0].decode(), int(answer[1])) if answer else None
