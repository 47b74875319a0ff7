"""Back-off for addresses that try one wrong key after another."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable

from gateway.plugin import Log, RateLimited

ALLOWED = 10
"""Different wrong keys an address may send within WINDOW_S."""
WINDOW_S = 60.0
FIRST_S = 10.0
LONGEST_S = 900.0
QUIET_S = 1800.0
"""After so long without a wrong key an address is forgotten."""
MOST_ADDRESSES = 10_000
MOST_WELCOME = 10_000


class _Address:
    """What one address has tried: digests of wrong keys since `since_s`, and until when it is shut out."""

    __slots__ = ("lockouts", "seen", "shut_until_s", "since_s")

    def __init__(self, now_s: float) -> None:
        self.seen: set[bytes] = set()
        self.since_s = now_s
        self.shut_until_s = 0.0
        self.lockouts = 0


class Guesses:
    """Counts *different* wrong keys: a client that repeats its one wrong key guesses nothing. Outlives reloads.

    Bounded: past MOST_ADDRESSES the one that began first is forgotten. IPv6 counts by /64, which one host may own.
    """

    def __init__(self, now: Callable[[], float], log: Log) -> None:
        self._now, self._log = now, log
        self._addresses: dict[str, _Address] = {}
        self._welcome: dict[tuple[str, bytes], None] = {}

    def wrong(self, remote: str, digest: bytes) -> None:
        """Note a wrong key. Raises: RateLimited when the address has sent too many."""
        if not remote:  # a Unix socket: nobody can be told from anybody
            return
        name, now = _group(remote), self._now()
        one = self._addresses.get(name)
        if one is None or now - max(one.since_s, one.shut_until_s) > QUIET_S:
            self._addresses.pop(name, None)
            if len(self._addresses) >= MOST_ADDRESSES:
                del self._addresses[next(iter(self._addresses))]
            one = self._addresses[name] = _Address(now)
        self._refuse(one, now)
        if now - one.since_s > WINDOW_S:
            one.seen.clear()
            one.since_s = now
        one.seen.add(digest)
        if len(one.seen) > ALLOWED:
            lasts_s = min(LONGEST_S, FIRST_S * 2**one.lockouts)
            one.lockouts = min(one.lockouts + 1, 30)
            one.shut_until_s = one.since_s = now + lasts_s
            one.seen.clear()
            self._log.warning("auth_locked_out", address=name, for_s=lasts_s, wrong_keys=ALLOWED + 1)
            self._refuse(one, now)

    def right(self, remote: str, digest: bytes) -> None:
        """Note a right key that could be guessed. Raises: RateLimited while its address is shut out and has never
        used it before: a guess that hits must not be told from one that misses."""
        pair = (remote, digest)
        if pair in self._welcome or not remote:
            return
        one = self._addresses.get(_group(remote)) if self._addresses else None
        if one is not None:
            self._refuse(one, self._now())
        if len(self._welcome) >= MOST_WELCOME:
            del self._welcome[next(iter(self._welcome))]
        self._welcome[pair] = None

    def _refuse(self, one: _Address, now: float) -> None:
        if now < one.shut_until_s:
            raise RateLimited(
                "too many wrong keys came from this address; wait, then send the right one",
                retry_after_s=one.shut_until_s - now,
            )


def _group(remote: str) -> str:
    if ":" not in remote:
        return remote
    try:
        address = ipaddress.IPv6Address(remote.partition("%")[0])
    except ValueError:
        return remote
    return str(address.ipv4_mapped or ipaddress.IPv6Network((address, 64), strict=False))
