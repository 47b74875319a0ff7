"""The processes that serve together, as one of them sees the others."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Protocol

Answerer = Callable[[Any], Awaitable[Any]]


class Group(Protocol):
    """Asks every serving process the same thing."""

    async def gather(self, what: str, given: Any = None) -> list[Any]:
        """Return what each serving process answers to `what`, in no order; one that does not answer is left out."""


class Alone(Group):
    """One process: it asks itself. `answers` is `Gateway.answers`."""

    def __init__(self, answers: dict[str, Answerer]) -> None:
        self._answers = answers

    async def gather(self, what: str, given: Any = None) -> list[Any]:
        answer = self._answers.get(what)
        return [await answer(given)] if answer is not None else []
