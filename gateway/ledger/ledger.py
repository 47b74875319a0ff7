"""What a ledger is: rows in, answers out. `gateway/ledger/sql.py` keeps them in SQLite or PostgreSQL."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any, Protocol

from msgspec import Struct, field


class Row(Struct, frozen=True, gc=False):
    """One exchange as it ended; the names are the contract's, in the order of the table. Times are Unix seconds and
    milliseconds, money USD.

    `cost_usd` is None when a price is unknown, never 0 instead. `estimated` marks tokens that the gateway counted
    itself. `tries` has one mapping an attempt (target, status, error, started_ms, ended_ms, usage, cost_usd); as
    it is recorded each may be whatever is an object in JSON.
    """

    exchange_id: str
    ts: float
    request_id: str
    parent_id: str | None = None
    principal: str | None = None
    tags: Mapping[str, str] = field(default_factory=dict)
    session: str | None = None
    route: str | None = None
    dialect: str = ""
    endpoint: str = ""
    model_requested: str = ""
    target: str | None = None
    attempts: int = 0
    status: int = 0
    outcome: str = ""
    stream: bool = False
    prompt_tokens: int | None = None
    cached_tokens: int | None = None
    cache_write_tokens: int | None = None
    completion_tokens: int | None = None
    reasoning_tokens: int | None = None
    cost_usd: Decimal | None = None
    estimated: bool = False
    duration_ms: float = 0.0
    ttft_ms: float | None = None
    overhead_ms: float | None = None
    error_code: str | None = None
    tries: Sequence[Any] = ()


class SavedKey(Struct, frozen=True, kw_only=True, gc=False):
    """A virtual key as the ledger keeps it. `hash` is `sha256:` and the hex of the key; `facts` what stands
    beside it in `auth.keys` (models, routes, limits, budget, tags), `expires_at` and `revoked_at` Unix seconds."""

    name: str
    hash: str
    created_at: float
    expires_at: float | None = None
    revoked_at: float | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)


class Ledger(Protocol):
    """Rows are written in batches, off the request's path. Nothing here but `record` may be called on that path.

    Text is cut at 256 characters, money rounded to a billionth of a dollar, milliseconds to a thousandth. What is asked
    of a store that is out of reach raises StateLost.
    """

    def record(self, row: Row) -> None:
        """Queue a row; never waits. When the queue is full the row is dropped and counted."""

    @property
    def rows_total(self) -> int:
        """Rows written so far."""

    @property
    def dropped_total(self) -> int:
        """Rows lost so far, to a full queue or a store that would not take them."""

    @property
    def is_lost(self) -> bool:
        """Whether the store refuses rows at the moment."""

    async def start(self) -> None:
        """Open the store, bring its schema up to date, begin to write. Raises: ConfigError."""

    async def flush(self) -> None:
        """Return when every row recorded before is safe."""

    async def rows(
        self,
        *,
        filters: Mapping[str, Any] | None = None,
        at_most: int = 100,
        before: float | tuple[float, str] | None = None,
    ) -> list[Row]:
        """Return the newest rows that fit, newest first, at most 10,000. `filters` by column: a value (None too), a
        list of values, or for `ts` a pair (from, to), `to` excluded and either None for no bound; `provider` fits
        every target of it. `before` is where a page ended: the `(ts, exchange_id)` of its last row, or a time alone.
        Raises: ValueError for a filter that there is not."""

    async def one(self, id: str) -> list[Row]:
        """Return the rows whose exchange_id or request_id is `id`, parents before their children."""

    async def totals(
        self, *, by: Sequence[str], since: float, until: float | None = None, filters: Mapping[str, Any] | None = None
    ) -> list[dict[str, Any]]:
        """Return sums of requests, failed, the five kinds of tokens, cost_usd, duration_ms, ttft_ms (of ttft_count
        rows), grouped by any of day, hour (both Unix seconds of their beginning, UTC), principal, model, provider,
        route, target, status, outcome; from aggregates kept as rows are written, so that ten million rows answer at
        once. `unpriced` counts rows with tokens whose cost is unknown. `until` is excluded. `filters` by the same
        names but day and hour: a value or a list. Raises: ValueError for a name that there is not."""

    async def spent(self, *, since: float, principal: str | None = None, tag: tuple[str, str] | None = None) -> Decimal:
        """Return what has been spent since then, in USD, unknown prices left out. `principal` "" is nobody."""

    async def save_key(self, key: SavedKey) -> None:
        """Keep a key; one of the same hash is replaced."""

    async def keys(self) -> list[SavedKey]:
        """Return every key ever kept, revoked ones too, oldest first."""

    async def keys_version(self) -> int:
        """Return a number that every change of a key raises, in whichever process: cheap to ask for every second."""

    async def revoke_key(self, name: str, at: float, *, but: str | None = None) -> int:
        """Revoke every key called `name` that is not revoked yet, but the one of that hash; return how many there
        were."""

    async def end_keys(self, name: str, at: float, *, but: str) -> int:
        """Let every key called `name` that is not revoked and would hold longer expire at `at`, but the one of that
        hash; return how many there were. One step, so that a key revoked meanwhile stays revoked."""

    async def close(self) -> None:
        """Write what is queued, then let go of the store."""
