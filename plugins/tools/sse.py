"""Server-sent events as MCP servers write them: JSON-RPC messages out of a stream of bytes."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import msgspec
from aiohttp import ClientResponse

from .http import without
from .registry import ToolFailed


async def messages(
    response: ClientResponse, max_bytes: int | None, secrets: tuple[bytes, ...]
) -> AsyncIterator[dict[str, Any]]:
    """Yield the messages of an event stream as they come, `secrets` blotted out. Raises: ToolFailed once one is over
    `max_bytes`, or all together are; None is no limit for all, and a megabyte for one."""
    held, total = bytearray(), 0
    async for piece in response.content.iter_any():
        held += piece.replace(b"\r\n", b"\n")  # one cut in two leaves a \r, which `data` takes off
        total += len(piece)
        if total > (max_bytes or total) or len(held) > (max_bytes or 1024 * 1024):
            response.close()
            raise ToolFailed(f"its result is over {max_bytes or 1024 * 1024} bytes, the most that is taken")
        while (end := _end(held)) is not None:
            event, held = bytes(held[: end[0]]), held[end[1] :]
            for message in of_event(without(secrets, event)):
                yield message


def _end(held: bytearray) -> tuple[int, int] | None:
    """Return where the first event ends and the next begins."""
    found = [(at, at + len(mark)) for mark in (b"\n\n", b"\n\r\n") if (at := held.find(mark)) >= 0]
    return min(found, default=None)


def of_event(event: bytes) -> list[dict[str, Any]]:
    """Return the messages that one event holds: none in a comment or a priming event."""
    data = b"\n".join(
        line[5:].removeprefix(b" ").rstrip(b"\r") for line in event.split(b"\n") if line.startswith(b"data:")
    )
    return of_body(data) if data.strip() else []


def of_body(body: bytes) -> list[dict[str, Any]]:
    """Return the JSON-RPC messages of a body: one, or a list of them. Raises: ToolFailed."""
    try:
        found = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise ToolFailed("its server answered with what is not JSON") from None
    several = found if isinstance(found, list) else [found]
    return [one for one in several if isinstance(one, dict)]
