"""Where the tables lie, behind two ways to work there: plain SQL, which writing needs and SQLAlchemy's import of 0.2 s
and 15 MB does not, and SQLAlchemy's for what people ask."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

if TYPE_CHECKING:
    from sqlalchemy import Connection

T = TypeVar("T")
NOTHING: Mapping[str, Any] = {}


class Plain(Protocol):
    """A transaction, in SQL that both stores take. Facts stand in it as `:name`. What is raised is the driver's."""

    @property
    def dialect(self) -> str:
        """`sqlite` or `postgresql`."""

    def rows(self, sql: str, facts: Mapping[str, Any] = NOTHING) -> Sequence[Sequence[Any]]:
        """Return what a question finds."""

    def change(self, sql: str, facts: Mapping[str, Any] = NOTHING) -> int:
        """Run what changes something, and return how many rows it changed."""

    def insert(self, head: str, rows: Sequence[tuple[Any, ...]], tail: str = "") -> None:
        """Run `head VALUES (…) tail` for every row, all of one width."""


class Store(Protocol):
    """A database. What it raises when it is out of reach is one of `failures`."""

    at_once: int
    """The most rows of one write: what keeps the event loop's share of it short."""
    is_remote: bool
    """Whether it may be away for a while through no fault of the configuration."""
    failures: tuple[type[Exception], ...]
    collision: type[Exception]
    """What it raises when a row is there already."""

    async def prepare(self) -> None:
        """Make what must be there before the first connection."""

    async def plain(self, work: Callable[[Plain], T], *, writes: bool = False) -> T:
        """Run `work` in a transaction and return what it returns."""

    async def run(self, work: Callable[[Connection], T], *, writes: bool = False) -> T:
        """The same through SQLAlchemy. What it reads is of one moment."""

    async def close(self) -> None:
        """Let go of connections and threads."""
