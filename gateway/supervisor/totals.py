"""What the workers of a group count together, those that are gone included."""

from __future__ import annotations

import asyncio
from typing import Any

from gateway.errors import StateLost
from gateway.runtime.group import TOTALS, added
from gateway.supervisor.link import Link, LinkLost

LOOK_S = 1.0
"""How old what is known of a worker may be: what one that is killed may take with it."""
ANSWER_S = 2.0


class Totals:
    """The hub's books: the last that each connected worker has told, and the sum of what those had told that are gone.

    Every worker keeps that sum too, so that a hub that has died takes nothing with it.
    """

    def __init__(self) -> None:
        self._told: dict[Link, dict[str, Any]] = {}
        self._knows: dict[Link, int] = {}
        self._gone: tuple[int, dict[str, Any]] = (0, {})

    def joined(self, link: Link) -> None:
        """A worker said hello, with the sum that it was given last."""
        number, sums = link.facts.get("gone") or (0, {})
        if number > self._gone[0]:
            self._gone = number, sums
        self._told[link], self._knows[link] = {}, number

    def told(self, link: Link, totals: dict[str, Any]) -> None:
        """Take what a worker counts."""
        if link in self._told:
            self._told[link] = totals

    def left(self, link: Link) -> None:
        """A worker is gone: what it told last stays."""
        last = self._told.pop(link, None)
        self._knows.pop(link, None)
        if last:
            self._gone = self._gone[0] + 1, added(self._gone[1], last)

    def sum(self, what: str) -> Any:
        """Return what all have counted as `what`, None when nobody has."""
        found = [each[what] for each in (self._gone[1], *self._told.values()) if what in each]
        total = found[0] if found else None
        for each in found[1:]:
            total = added(total, each)
        return total

    async def ask(self) -> None:
        """Ask every worker; of one that does not answer, what it told last counts."""
        await asyncio.gather(*(self._ask(link) for link in list(self._told)))

    async def keep_asking(self) -> None:
        """Ask every second until cancelled."""
        while True:
            await asyncio.sleep(LOOK_S)
            await self.ask()

    async def _ask(self, link: Link) -> None:
        number = self._gone[0]
        news = None if self._knows.get(link) == number else self._gone
        try:
            async with asyncio.timeout(ANSWER_S):
                totals = await link.ask(TOTALS, news)
        except (LinkLost, TimeoutError):
            return
        self.told(link, totals)
        if link in self._knows:
            self._knows[link] = number


def lost() -> StateLost:
    """Return what a worker says that cannot ask the others."""
    return StateLost("the other processes cannot be asked now", retry_after_s=1.0)
