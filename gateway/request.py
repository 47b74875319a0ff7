"""What a client sent, who it is, and how long it will be waited for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import Raw
from multidict import CIMultiDictProxy

from gateway.amounts import MoneyRate
from gateway.dialects.endpoints import Endpoint

if TYPE_CHECKING:
    from aiohttp import web


@dataclass(frozen=True, slots=True)
class Principal:
    """Who pays. `name` is what logs, limits and the ledger show; `tags` what routes can match.

    `models` (globs) and `routes` are what it may use, None for all. `limits` (requests and tokens as `Rate`,
    concurrency and burst as numbers) and `budget` stand beside its key; the plugins rate_limit and budget hold them.
    `expires` is Unix seconds, None for never.
    """

    name: str
    tags: Mapping[str, str] = field(default_factory=dict)
    models: tuple[str, ...] | None = None
    routes: tuple[str, ...] | None = None
    limits: Mapping[str, Any] = field(default_factory=dict)
    budget: MoneyRate | None = None
    expires: float | None = None


@dataclass(frozen=True, slots=True)
class Timeouts:
    """How long to wait, in seconds: for a connection; for a stream's first event; between pieces of a
    stream; for everything. The defaults hold when no timeouts plugin stands in the chain."""

    connect_s: float = 5.0
    first_token_s: float = 30.0
    idle_s: float = 60.0
    total_s: float = 600.0


DEFAULT_TIMEOUTS = Timeouts()
ANSWER_TOKENS = ("max_completion_tokens", "max_tokens", "max_output_tokens")
"""Where OpenAI's and Anthropic's requests say how long the answer may be, the name that wins first."""
_decode_int = msgspec.json.Decoder(int).decode


class Deadline:
    """One absolute end, in the event loop's time: `started_at_s` plus the total timeout, or sooner when capped.

    A cap (the client's own `x-gateway-timeout`, a parent's deadline) only ever moves closer. `now()` is the time on the
    clock this deadline goes by, in seconds; the clock itself, since a request asks for it half a dozen times.
    """

    __slots__ = ("_cap_at", "_started_at_s", "at", "now")

    def __init__(self, started_at_s: float, total_s: float, clock: Callable[[], float]) -> None:
        self.now, self._started_at_s = clock, started_at_s
        self._cap_at = float("inf")
        self.at = started_at_s + total_s

    def remaining(self) -> float:
        """Return the seconds left, never negative."""
        return max(0.0, self.at - self.now())

    def set_total(self, total_s: float) -> None:
        """Move the end to `total_s` after the start, or to the cap when that is sooner."""
        self.at = min(self._started_at_s + total_s, self._cap_at)

    def shorten(self, at: float) -> None:
        """Cap the end at `at` (loop time)."""
        self._cap_at = min(self._cap_at, at)
        self.at = min(self.at, self._cap_at)


LONG_BYTES = 32 * 1024
"""A body longer than this is read and translated in a thread: at its worst (thousands of tiny messages) a megabyte
takes half a second, and the loop, which gets its turn every 5 ms meanwhile, must never stand still for that long."""


class ClientRequest:
    """What the client sent, parsed no further than needed.

    `path` is normalised (one decoding, no trailing slash); `query` the raw query string. `fields` are the
    body's top-level JSON members as raw bytes, None when the body is not a JSON object; what is in `fields`
    is what goes upstream, so a plugin may set or delete members. `upstream_path` is what a path route's `**`
    matched. `http` is aiohttp's own request, None in process. `credential_header` is set by the plugin that knew the
    caller by it: it never goes upstream. `memo` holds what was found out of a head that comes again on its connection.
    `members` are the `fields` for who only reads them; `is_as_sent` says that nobody else has had them, and that the
    body holds them one after the other with nothing between.
    """

    __slots__ = (
        "body",
        "credential_header",
        "endpoint",
        "headers",
        "http",
        "is_as_sent",
        "members",
        "memo",
        "method",
        "model",
        "path",
        "query",
        "remote",
        "secure",
        "stream",
        "upstream_path",
    )

    def __init__(
        self,
        method: str,
        path: str,
        query: str,
        headers: CIMultiDictProxy[str],
        *,
        remote: str = "",
        secure: bool = False,
        http: web.BaseRequest | None = None,
    ) -> None:
        self.method, self.path, self.query, self.headers = method, path, query, headers
        self.remote, self.secure, self.http = remote, secure, http
        self.endpoint: Endpoint | None = None
        self.body: bytes = b""
        self.members: dict[str, Raw] | None = None
        self.is_as_sent = False
        self.model: str = ""
        self.stream = False
        self.upstream_path = ""
        self.credential_header = ""
        self.memo: dict[Any, Any] | None = None

    @property
    def fields(self) -> dict[str, Raw] | None:
        """The body's top-level members, to read and to change."""
        self.is_as_sent = False  # whoever has them may change them
        return self.members

    @fields.setter
    def fields(self, members: dict[str, Raw] | None) -> None:
        self.members, self.is_as_sent = members, False

    def answer_tokens(self, otherwise: int) -> int:
        """Return how many tokens the request lets its answer have, `otherwise` when it does not say."""
        fields = self.members or {}
        for name in ANSWER_TOKENS:
            if name in fields:
                try:
                    return max(0, _decode_int(fields[name]))
                except (msgspec.DecodeError, UnicodeDecodeError):
                    return otherwise
        return otherwise
