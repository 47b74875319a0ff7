"""One connection to one server, shared by all who ask: commands go out as they come, answers come back in order.

Asking through one connection keeps the number of connections at one a server whatever the load, and many commands go
out in one write. redis-py makes the connection, speaks TLS, authenticates, and parses with hiredis.
"""

from __future__ import annotations

import asyncio
import math
import ssl
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

from redis.asyncio.connection import Connection, SSLConnection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError, ResponseError

from gateway.state.breaker import GRACE_S, TIMEOUT_S
from gateway.state.url import Address

CONNECT_S: Final = 1.0
"""What making a connection may take, beside those who wait for it: TLS and a login to a far server are five trips."""
WAITING: Final = 20_000
"""Answers waited for at once; more are refused, since they could not come in time."""
TURNS: Final = 16
"""Turns of the loop in which an answer that lies in the socket is read, before it is given up. On a loop with nothing
else to do they take microseconds. Time alone would not do: uvloop runs timers before it reads, and one turn of a loop
that has stood still may take longer than any grace."""

Orphan = Callable[[Any], None]


class LinkLost(Exception):
    """The connection is gone, or could not be made."""


@dataclass(frozen=True, slots=True)
class Login:
    """How to reach any server of one kind."""

    username: str | None = None
    password: str | None = field(default=None, repr=False)
    db: int = 0
    tls: ssl.SSLContext | None = None


class _Call:
    __slots__ = ("deadline", "future", "orphan")

    def __init__(self, future: asyncio.Future[Any], deadline: float, orphan: Orphan | None) -> None:
        self.future, self.deadline, self.orphan = future, deadline, orphan


class Link:
    """A connection in use. It is closed when an answer is late, since all answers behind that one would be."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._loop = asyncio.get_running_loop()
        self._pack = connection.pack_command
        self._calls: deque[_Call] = deque()
        self._out: list[bytes] = []
        self._wake = asyncio.Event()
        self._timer: asyncio.TimerHandle | None = None
        self._late: _Call | None = None
        self.is_closed = False
        self._tasks = (self._loop.create_task(self._read()), self._loop.create_task(self._write()))

    @classmethod
    async def to(cls, address: Address, login: Login) -> Link:
        """Return a connection that is ready. The caller limits the time. Raises: LinkLost."""
        options: dict[str, Any] = {
            "host": address[0],
            "port": address[1],
            "db": login.db,
            "username": login.username,
            "password": login.password,
            "protocol": 2,
            "socket_timeout": None,
            "socket_connect_timeout": CONNECT_S,
            "socket_keepalive": True,
            "retry": Retry(NoBackoff(), 0),
            "health_check_interval": 0,
        }
        if login.tls is not None:
            # Its own context would read all of the system's authorities anew for every connection: 20 ms.
            secure = SSLConnection(**options)
            secure.ssl_context.context = login.tls
            connection: Connection = secure
        else:
            connection = Connection(**options)
        try:
            await connection.connect()  # type: ignore[no-untyped-call]  # redis-py: no annotations
        except (RedisError, OSError) as error:
            await connection.disconnect(nowait=True)
            raise LinkLost(str(error)) from error
        except BaseException:
            await connection.disconnect(nowait=True)
            raise
        return cls(connection)

    def send(self, args: tuple[Any, ...], orphan: Orphan | None = None) -> asyncio.Future[Any]:
        """Send a command; the future holds the answer, a ResponseError too, or raises LinkLost.

        `orphan` gets the answer when nobody waits for it any more.
        """
        if self.is_closed or len(self._calls) >= WAITING:
            raise LinkLost("the connection is gone" if self.is_closed else "too many operations wait")
        future = self._loop.create_future()
        self._calls.append(_Call(future, time.monotonic() + TIMEOUT_S - GRACE_S, orphan))
        self._out += self._pack(*args)
        self._wake.set()
        if self._timer is None:
            self._timer = self._loop.call_later(TIMEOUT_S - GRACE_S, self._overdue)
        return future

    def close(self, why: str = "the connection was closed") -> None:
        """Let go of the connection; whoever waits gets LinkLost."""
        if self.is_closed:
            return
        self.is_closed = True
        if self._timer is not None:
            self._timer.cancel()
        for task in self._tasks:
            task.cancel()
        while self._calls:
            future = self._calls.popleft().future
            if not future.done():
                future.set_exception(LinkLost(why))

    def _overdue(self) -> None:
        self._timer = None
        if not self._calls:
            return
        left = self._calls[0].deadline - time.monotonic()
        if left > 0:
            self._timer = self._loop.call_later(left, self._overdue)
        elif self._calls[0] is not self._late:
            # Perhaps it was this loop that stood still, and the answer is there to be read.
            self._late = self._calls[0]
            self._timer = self._loop.call_later(GRACE_S, self._overdue)
        else:
            self._look_again(TURNS)

    def _look_again(self, turns: int) -> None:
        if self.is_closed or self._timer is not None:
            return
        if not self._calls or self._calls[0] is not self._late:
            self._overdue()
        elif turns:
            self._loop.call_soon(self._look_again, turns - 1)
        else:
            self.close(f"no answer within {TIMEOUT_S * 1000:.0f} ms")

    async def _write(self) -> None:
        try:
            while True:
                await self._wake.wait()
                self._wake.clear()
                out, self._out = self._out, []
                await self._connection.send_packed_command(out, check_health=False)
        except (RedisError, OSError) as error:
            self.close(str(error))

    async def _read(self) -> None:
        read = self._connection.read_response
        try:
            while True:
                try:
                    answer = await read(disable_decoding=True, timeout=math.inf, disconnect_on_error=False)
                except ResponseError as error:
                    answer = error
                call = self._calls.popleft()
                if not call.future.done():
                    call.future.set_result(answer)
                elif call.orphan is not None:
                    call.orphan(answer)
        except (RedisError, OSError) as error:
            self.close(str(error))
        except IndexError:
            self.close("an answer that nobody asked for")
        finally:
            await self._connection.disconnect(nowait=True)
