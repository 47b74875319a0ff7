"""Patience with wrong tokens."""

from __future__ import annotations

import ipaddress
from collections import OrderedDict

from gateway.plugin import Clock

FREE_TRIES = 5
WINDOW_S = 60.0
FORGOTTEN_AFTER_S = 3600.0
MOST_REMEMBERED = 10_000


class Patience:
    """Five wrong tokens from an address within a minute close the door to it for a minute; each further wrong one
    doubles that, up to an hour. An hour without a wrong one forgets them all.

    Of IPv6 a network of 64 bits is one address: whoever has one address there has all of them.
    """

    def __init__(self, clock: Clock) -> None:
        self._now = clock.monotonic
        self._wrong: OrderedDict[str, tuple[int, float]] = OrderedDict()
        """By address: how many wrong tokens in a row, and until when they count (below five) or bar (from five on)."""

    def wait_s(self, address: str) -> float:
        """Return for how long no token of `address` is looked at; 0 when it may try."""
        count, until = self._wrong.get(_network(address), (0, 0.0))
        return max(0.0, until - self._now()) if count >= FREE_TRIES else 0.0

    def forgive(self, address: str) -> None:
        """Note a right token."""
        self._wrong.pop(_network(address), None)

    def wrong(self, address: str) -> int:
        """Note a wrong token; return how many that are in a row."""
        who, now = _network(address), self._now()
        count, until = self._wrong.get(who, (0, 0.0))
        if now >= until + (FORGOTTEN_AFTER_S if count >= FREE_TRIES else 0.0):
            count = 0
        count += 1
        waits_s = WINDOW_S if count <= FREE_TRIES else min(FORGOTTEN_AFTER_S, WINDOW_S * 2.0 ** (count - FREE_TRIES))
        self._wrong[who] = (count, until if 1 < count < FREE_TRIES else now + waits_s)
        self._wrong.move_to_end(who)
        if len(self._wrong) > MOST_REMEMBERED:
            self._wrong.popitem(last=False)
        return count


def _network(address: str) -> str:
    try:
        ip = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if isinstance(ip, ipaddress.IPv6Address) and ip.ipv4_mapped is None:
        return str(ipaddress.IPv6Network((int(ip), 64), strict=False))
    return str(ip)
