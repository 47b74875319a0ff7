"""Tickets: an operator's word, given on the dashboard, about which route and which target answer one request.

A client cannot choose a target, so this is no header that anybody may send: a ticket is 256 random bits that the
admin listener has handed to every serving process beforehand, is good for one request and for half a minute, and
says nothing of who asks. Whoever comes with one is identified, limited and charged like every other client.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Final

from gateway.errors import NotFound, Unavailable
from gateway.exchange import ClientRequest
from gateway.runtime.running import Running
from gateway.runtime.snapshot import Snapshot

HEADER: Final = "x-gateway-ticket"
GOOD_FOR_S: Final = 30.0
MOST: Final = 64


@dataclass(frozen=True, slots=True)
class Ticket:
    """`route` and `target` by name; "" leaves the choice to the configuration."""

    route: str
    target: str
    until_s: float


class Tickets:
    """Those of one process. `now` is monotonic; while `open` is empty, as it nearly always is, no request is asked."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self.open: dict[bytes, Ticket] = {}

    async def issue(self, given: Any) -> bool:
        """Note a ticket: its `hash`, and what it is good for."""
        now = self._now()
        self.open = {key: ticket for key, ticket in self.open.items() if ticket.until_s > now}
        if len(self.open) >= MOST:
            self.open.pop(next(iter(self.open)))
        self.open[bytes.fromhex(given["hash"])] = Ticket(given["route"], given["target"], now + GOOD_FOR_S)
        return True

    def take(self, request: ClientRequest) -> Ticket | None:
        """Return the ticket that a request came with, which is spent by that; None when it has none that is good."""
        shown = request.headers.get(HEADER)
        if shown is None:
            return None
        # SECURITY: found by its hash, so that how long the search takes says nothing of the tickets there are.
        ticket = self.open.pop(sha256(shown.encode("utf-8", "surrogateescape")).digest(), None)
        return ticket if ticket is not None and ticket.until_s > self._now() else None


def named(ticket: Ticket, snapshot: Snapshot) -> Running:
    """Return the route that a ticket names. Raises: NotFound."""
    for each in snapshot.routes:
        if each.route.name == ticket.route:
            return each
    raise NotFound(f'there is no route "{ticket.route}" any more')


def alone(ticket: Ticket, running: Running) -> Running:
    """Return `running` with the target of a ticket alone. Raises: Unavailable."""
    handle = running.alone(ticket.target)
    if handle is None:
        raise Unavailable(
            f'route "{running.route.name}" has no target "{ticket.target}" that is enabled', code="provider_disabled"
        )
    return Running(running.route, handle)
