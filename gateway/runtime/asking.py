"""How plugins get to ask models: what a snapshot lends them, and where the server says how it is done."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING, Protocol

from gateway.chat import ChatRequest
from gateway.exchange import Exchange, Reply
from gateway.plugin import Child, Children

if TYPE_CHECKING:
    from gateway.runtime.snapshot import Snapshot

Through = Callable[[Exchange], Awaitable[Reply]]


class Opener(Protocol):
    """Makes a child exchange that is routed by `snapshot`."""

    def __call__(
        self,
        snapshot: Snapshot,
        parent: Exchange,
        chat: ChatRequest,
        step: str,
        timeout_s: float | None,
        through: Through | None,
    ) -> AbstractAsyncContextManager[Child]: ...


class Asking:
    """Of one process: `open` is set by whoever serves."""

    def __init__(self) -> None:
        self.open: Opener | None = None


class SnapshotChildren(Children):
    """Of one snapshot: its plugins' children are routed by it, also after it has been replaced. The parent runs on it
    too, so that it lives for as long as they do. `snapshot` is set once it is built."""

    def __init__(self, asking: Asking) -> None:
        self._asking = asking
        self.snapshot: Snapshot | None = None

    def child(
        self,
        parent: Exchange,
        chat: ChatRequest,
        *,
        step: str = "",
        timeout_s: float | None = None,
        through: Through | None = None,
    ) -> AbstractAsyncContextManager[Child]:
        if self._asking.open is None or self.snapshot is None:
            raise RuntimeError("children can be asked once the gateway serves, not while its plugins are made")
        return self._asking.open(self.snapshot, parent, chat, step, timeout_s, through)
