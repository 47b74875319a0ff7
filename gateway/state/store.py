"""What every state store can do: memory, SQLite and Redis alike, held to it by one suite of tests.

Every key has a lifetime. What stands in the first braces of a key is its hash tag: keys of one tag lie on one shard of
a cluster, and only those are decided in one round trip. A store that cannot be reached raises StateLost within 100 ms.
A key of one kind (value, list, counter) that is written as another becomes the other; buckets and leases stand apart.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from msgspec import Struct


class Bucket(Struct, frozen=True, gc=False):
    """A token bucket: holds at most `burst`, refilled by `rate_per_s`; begins full. A claim takes `amount` of it.

    Over any span t never more than burst + rate x t is admitted. Amounts are whole: requests, tokens; an amount above
    `burst` is never granted. What is not refilled at all (a rate of 0) is forgotten an hour after it was last taken.
    """

    key: str
    amount: int
    burst: int
    rate_per_s: float


class Lease(Struct, frozen=True, gc=False):
    """A place among at most `limit`, held by `holder` until it is settled, or for `lifetime_s` after it was taken or
    last renewed."""

    key: str
    holder: str
    limit: int
    lifetime_s: float = 30.0


class Quota(Struct, frozen=True, gc=False):
    """A sum that may not pass `limit` before it is forgotten, `lifetime_s` after it was begun. Amounts are whole:
    money is counted in billionths of a dollar (see `NANO_USD`). A quota is a counter: `add` and `delete` find it."""

    key: str
    amount: int
    limit: int
    lifetime_s: float


Claim = Bucket | Lease | Quota
NANO_USD = 1_000_000_000


class Taken(Struct, frozen=True, gc=False):
    """A decision. `refused` are the numbers of the claims that stood against it, empty when it was allowed.

    `left` says by claim what remains after the decision (below zero where settling overdrew), `reset_s` in how many
    seconds a bucket is full again, a lease's place free at the latest, a quota forgotten; `retry_after_s` when the same
    claims could be allowed at the earliest, 0 when they were.
    """

    allowed: bool
    refused: tuple[int, ...]
    retry_after_s: float
    left: tuple[int, ...]
    reset_s: tuple[float, ...]


class StateStore(Protocol):
    """Shared by all plugins, each below its own prefix. Raises: StateLost, from every method but `under` and
    those that never wait."""

    @property
    def is_lost(self) -> bool:
        """True while the store is known to be out of reach and every operation fails at once."""

    @property
    def errors(self) -> int:
        """How many operations have failed with StateLost so far."""

    async def start(self) -> None:
        """Connect, or open the file; a server that is not there is only lost. Raises: ConfigError."""

    def under(self, prefix: str) -> StateStore:
        """Return the same store with `prefix` before every key. Closing it closes nothing."""

    async def get(self, key: str) -> bytes | None:
        """Return the value, None when there is none (any more)."""

    async def put(self, key: str, value: bytes, lifetime_s: float, *, if_absent: bool = False) -> bool:
        """Set the value; False when `if_absent` and there was one."""

    async def delete(self, *keys: str) -> int:
        """Remove values, lists and counters; return how many there were."""

    async def add(self, key: str, amount: int, lifetime_s: float) -> int:
        """Add to a counter and return it; its lifetime begins with the first addition."""

    async def push(
        self, key: str, values: Sequence[bytes], lifetime_s: float, *, at_most: int = 0, only_with: str | None = None
    ) -> int:
        """Append to a list in one step, keep its last `at_most` (0: all), begin its lifetime anew; return its length.
        No values begin no list.

        With `only_with` (a key of the same hash tag, whose lifetime begins anew too): only while that key exists, else
        nothing happens and -1 is returned.
        """

    async def items(self, key: str) -> list[bytes]:
        """Return a list, first to last; empty when there is none."""

    async def touch(self, key: str, lifetime_s: float) -> bool:
        """Begin the lifetime of a value, list or counter anew; False when there is none."""

    async def names(self, prefix: str, at_most: int) -> list[str]:
        """Return keys of values, lists and counters that begin with `prefix`, in no order, without this store's own
        prefix."""

    async def take(self, claims: Sequence[Claim]) -> Taken:
        """Take all claims or none, in one atomic step. An amount of 0 only looks; no key may stand twice.

        Over several hash tags of a cluster it is one step for each shard, and what was taken is given back when a later
        shard refuses: never too much is admitted, but others may meanwhile be refused. A caller that is cancelled has
        taken nothing. Raises: ValueError, when a key stands twice.
        """

    def take_at_once(self, claims: Sequence[Claim]) -> Taken | None:
        """As `take`, without waiting; None, and nothing is taken, where the store has to be waited for."""
        return None

    async def settle(self, claims: Sequence[Claim]) -> None:
        """Correct what was taken: a bucket or a quota by `amount` (more when above 0, may overdraw; back when below,
        never past full or below nothing), a lease by letting go of it."""

    def settle_at_once(self, claims: Sequence[Claim]) -> bool:
        """As `settle`, without waiting; False, and nothing is settled, where the store has to be waited for."""
        return False

    async def renew(self, leases: Sequence[Lease]) -> None:
        """Begin the leases' lifetimes anew; one that is gone meanwhile is taken again even above its limit."""

    async def ping(self) -> None:
        """Return when the store answers."""

    async def close(self) -> None:
        """Let go of connections and files."""
