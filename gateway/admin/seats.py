"""Who is logged in: sessions of browsers that have shown the token."""

from __future__ import annotations

import hashlib
import secrets
from collections import OrderedDict
from dataclasses import dataclass

from gateway.plugin import Clock
from gateway.secret import Secret

LIFETIME_S = 12 * 3600.0
MOST = 1000


@dataclass(frozen=True, slots=True)
class Seat:
    """One browser's session. `name` tells sessions apart in the log and is no secret."""

    name: str
    token: bytes
    ends_at_s: float


class Seats:
    """Sessions of this process, by the hash of their random id: what a dump of memory shows opens nothing.

    They end 12 hours after the login, with `end`, and with the token that opened them. A hub that is replaced has
    none: the operator logs in again.
    """

    def __init__(self, clock: Clock) -> None:
        self._now = clock.monotonic
        self._seats: OrderedDict[bytes, Seat] = OrderedDict()

    def begin(self, token: Secret) -> tuple[str, Seat]:
        """Return the id of a new session: always made here, so that nobody can have it beforehand."""
        id = secrets.token_urlsafe(32)
        key = _hash(id)
        seat = Seat(key.hex()[:8], _hash(token.reveal()), self._now() + LIFETIME_S)
        self._seats[key] = seat
        if len(self._seats) > MOST:
            self._seats.popitem(last=False)
        return id, seat

    def find(self, id: str, token: Secret) -> Seat | None:
        """Return the session of `id`, None when there is none or it is over."""
        key = _hash(id)
        seat = self._seats.get(key)
        if seat is None:
            return None
        if self._now() >= seat.ends_at_s or seat.token != _hash(token.reveal()):
            del self._seats[key]
            return None
        return seat

    def end(self, id: str) -> None:
        """End a session."""
        self._seats.pop(_hash(id), None)


def _hash(text: str) -> bytes:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()
