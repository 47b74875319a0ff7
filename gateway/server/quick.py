"""Requests as most clients send them, read without aiohttp: a known path, a plain head, the whole body in one piece.

aiohttp's server is a quarter of what a plain request costs here. What is taken is a POST to an endpoint, in HTTP/1.1,
whose head holds nothing but names and visible ASCII, one Host, one Content-Length, and whose body came with it;
anything else, and anything that could be read in two ways, is left to aiohttp untouched. A connection may send either.

Clients keep connections open and send the same head again and again, its length apart: that is recognised by comparing
bytes, and costs no parsing.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from aiohttp import HttpVersion11
from multidict import CIMultiDict, CIMultiDictProxy

from gateway.dialects.endpoints import exact

if TYPE_CHECKING:
    from asyncio import Transport

LONGEST_HEAD: Final = 8192
MOST_HEADERS: Final = 100
# SECURITY: no obs-fold, no bare CR or LF, no NUL, no byte above ASCII, no space before a colon.
_HEAD = re.compile(rb"POST (/[!-~]{0,128}+) HTTP/1\.1\r\n(?:[!#$%&'*+.^_`|~0-9A-Za-z-]++:[\t -~]*+\r\n)++", re.ASCII)
_LENGTH = re.compile(rb"\r\ncontent-length:[ \t]*+([0-9]{1,8})[ \t]*+\r\n", re.IGNORECASE)
_NOT_QUICK: Final = frozenset(
    {
        "transfer-encoding",
        "content-encoding",
        "expect",
        "upgrade",
        "te",
        "trailer",
        "http2-settings",
        "proxy-connection",
    }
)
"""Headers that say more than a request that came whole needs: aiohttp and the slow path know what to do with them."""


class Head:
    """A head that was read. `before` and `after` are its bytes around the digits of its length.

    What others found out of it they need not find out when it comes again: `read` is what the dispatcher did, by the
    configuration `read_by`, and `memo` what was written for the targets it led to.
    """

    __slots__ = ("after", "before", "given_id", "headers", "length", "memo", "path", "read", "read_by")

    def __init__(self, before: bytes, after: bytes, path: str, headers: CIMultiDictProxy[str], length: int) -> None:
        self.before, self.after, self.path, self.headers, self.length = before, after, path, headers, length
        self.given_id = headers.get("x-request-id")
        self.read_by: object = None
        self.read: Any = None
        self.memo: dict[Any, Any] = {}


class Quick:
    """A request read here, with what the pipeline asks of aiohttp's."""

    __slots__ = ("body", "head", "headers", "protocol", "raw_path", "transport")

    method = "POST"
    version = HttpVersion11
    keep_alive = True

    def __init__(self, head: Head, body: bytes, protocol: Any, transport: Transport) -> None:
        self.head, self.raw_path, self.body, self.protocol, self.transport = head, head.path, body, protocol, transport
        if len(body) == head.length:
            self.headers = head.headers
        else:
            headers = CIMultiDict(head.headers)
            headers["Content-Length"] = str(len(body))
            self.headers = CIMultiDictProxy(headers)

    @property
    def remote(self) -> str | None:
        """The client's address; None on a UNIX socket."""
        peer = self.protocol.peername
        return str(peer[0]) if isinstance(peer, list | tuple) else None

    @property
    def writer(self) -> Quick:
        """What `drain` is asked of."""
        return self

    async def drain(self) -> None:
        """Return when the client has taken enough of what was written."""
        await self.protocol._drain_helper()

    @property
    def raw_headers(self) -> list[tuple[bytes, bytes]]:
        """The headers as bytes."""
        return [(name.encode(), value.encode()) for name, value in self.headers.items()]


def split(data: bytes, known: Head | None) -> tuple[Head, bytes] | None:
    """Return head and body of a request that came whole, None for what aiohttp must read. `known` is the last head of
    the same connection."""
    if known is not None and data.startswith(known.before):
        at = len(known.before)
        end = data.find(b"\r", at, at + 9)
        if end > at and data.startswith(known.after, end):
            digits, body_at = data[at:end], end + len(known.after)
            if digits.isdigit() and len(data) - body_at == int(digits):
                return known, data[body_at:]
    head = read(data)
    return None if head is None else (head, data[len(data) - head.length :])


def read(data: bytes) -> Head | None:
    """Return the head of a request that came whole; None when it is not one of those that are read here."""
    end = data.find(b"\r\n\r\n", 0, LONGEST_HEAD) + 2
    length = _LENGTH.search(data, 0, end) if end > 1 else None
    if length is None or len(data) - end - 2 != int(length[1]):
        return None
    found = _HEAD.fullmatch(data, 0, end)
    if found is None:
        return None
    path = found[1].decode("ascii")
    endpoint = exact(path)
    if endpoint is None or "POST" not in endpoint.methods:
        return None
    headers: CIMultiDict[str] = CIMultiDict()
    for line in data[found.end(1) + 11 : end - 2].decode("ascii").split("\r\n"):
        name, _, value = line.partition(":")
        headers.add(name, value.strip(" \t"))
    names = {name.lower() for name in headers}
    if (
        len(names) < len(headers)
        or len(names) > MOST_HEADERS
        or "host" not in names
        or not _NOT_QUICK.isdisjoint(names)
    ):
        return None  # twice the same name: some may be, some may not, and aiohttp knows which
    if headers.get("connection", "keep-alive").lower() != "keep-alive":
        return None
    return Head(data[: length.start(1)], data[length.end(1) : end + 2], path, CIMultiDictProxy(headers), int(length[1]))
