"""The processes that serve together, as one of them sees the others."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from itertools import zip_longest
from typing import Any, Protocol

from gateway import plugin
from gateway.errors import GatewayError

Answerer = Callable[[Any], Awaitable[Any]]
TOTALS = "totals"
"""What a process is asked for to learn all that it counts."""


class Group(Protocol):
    """Asks every serving process the same thing."""

    async def gather(self, what: str, given: Any = None) -> list[Any]:
        """Return what each serving process answers to `what`, in no order; one that does not answer is left out."""

    async def ask(self, what: str, given: Any = None) -> Any:
        """Return what one serving process answers, whichever; None when none does."""
        answers = await self.gather(what, given)
        return answers[0] if answers else None

    async def total(self, what: str) -> Any:
        """Return the sum of what every process counts as `what`, those that are gone included; None when none does.

        Raises: StateLost while it cannot be known.
        """


class Colleagues:
    """This process's place among those that serve together; outlives snapshots.

    `answers` is what others, or this one itself, may ask by name; `counted` what it counts, by name; `gone` what
    processes that are gone had counted, with a number that grows whenever one goes: every process keeps it, so that a
    new hub finds it.
    """

    def __init__(self) -> None:
        self.answers: dict[str, Answerer] = {TOTALS: self._tell}
        self.counted: dict[str, Callable[[], Any]] = {}
        self.gone: tuple[int, Any] = (0, {})
        self.group: Group = Alone(self)
        self.vitals: Callable[[], plugin.Vitals] = plugin.Vitals

    def totals(self) -> dict[str, Any]:
        """Return all that this process counts, by name."""
        return {what: tell() for what, tell in self.counted.items()}

    async def _tell(self, gone: Any) -> dict[str, Any]:
        if gone is not None:
            self.gone = gone[0], gone[1]
        return self.totals()


class Alone(Group):
    """One process: it asks itself."""

    def __init__(self, colleagues: Colleagues) -> None:
        self._colleagues = colleagues

    async def gather(self, what: str, given: Any = None) -> list[Any]:
        answer = self._colleagues.answers.get(what)
        return [await answer(given)] if answer is not None else []

    async def total(self, what: str) -> Any:
        tell = self._colleagues.counted.get(what)
        return None if tell is None else tell()


class PluginGroup(plugin.Group):
    """The group as one plugin has it: its words are its own, so that it cannot answer for the gateway."""

    def __init__(self, colleagues: Colleagues, name: str) -> None:
        self._colleagues, self._prefix = colleagues, f"plugin {name}: "

    def answer(self, what: str, tell: Callable[[], Any]) -> None:
        async def answered(_: Any) -> Any:
            return tell()

        self._colleagues.answers[self._prefix + what] = answered

    def respond(self, what: str, reply: Callable[[Any], Awaitable[Any]]) -> None:
        self._colleagues.answers[self._prefix + what] = refusals_told(reply)

    def count(self, what: str, tell: Callable[[], Any]) -> None:
        self._colleagues.counted[self._prefix + what] = tell

    async def gather(self, what: str) -> list[Any]:
        return await self._colleagues.group.gather(self._prefix + what)

    async def total(self, what: str) -> Any:
        return await self._colleagues.group.total(self._prefix + what)

    def vitals(self) -> plugin.Vitals:
        return self._colleagues.vitals()


def refusals_told(reply: Callable[[Any], Awaitable[Any]]) -> Answerer:
    """Return `reply` as what may be asked for from another process: what it refuses with is told, see `opened`."""

    async def answered(given: Any) -> Any:
        try:
            return {"told": await reply(given)}
        except GatewayError as error:
            return {"refused": {"status": error.status, "code": error.code, "message": error.message}}

    return answered


def opened(answer: Any) -> Any:
    """Return what was told. Raises: GatewayError, what the asked one refused with."""
    refused = answer.get("refused")
    if refused is None:
        return answer["told"]
    error = GatewayError(refused["message"], code=refused["code"])
    error.status = refused["status"]
    raise error


def added(one: Any, other: Any) -> Any:
    """Return the sum of two answers of the same make: numbers are added, mappings and lists member by member."""
    if isinstance(one, Mapping):
        return {**one, **{name: added(one[name], each) if name in one else each for name, each in other.items()}}
    if isinstance(one, list):
        return [added(each, its) for each, its in zip_longest(one, other, fillvalue=0)]
    return one + other
