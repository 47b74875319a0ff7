"""Where the tables lie, behind one way to run work on a connection."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, TypeVar

from sqlalchemy import Connection

T = TypeVar("T")


class Store(Protocol):
    """A database. A failure is the driver's, wrapped by SQLAlchemy, or an OSError."""

    at_once: int
    """The most rows of one write: what keeps the event loop's share of it short."""
    is_remote: bool
    """Whether it may be away for a while through no fault of the configuration."""

    async def prepare(self) -> None:
        """Make what must be there before the first connection."""

    async def run(self, work: Callable[[Connection], T], *, writes: bool = False) -> T:
        """Run `work` in a transaction and return what it returns. What it reads is of one moment."""

    async def close(self) -> None:
        """Let go of connections and threads."""
