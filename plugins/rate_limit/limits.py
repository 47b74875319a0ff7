"""What is limited, whom a request is counted for, and what it reserves."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Literal

from gateway.plugin import Bucket, Claim, ConfigError, Exchange, Lease, Principal, Rate

from .headers import NAMES

Kind = Literal["requests", "tokens", "concurrency"]
KINDS: tuple[Kind, ...] = ("requests", "tokens", "concurrency")
Subject = Callable[[Exchange], str | None]
LARGEST_RESERVED_ANSWER = 1000
"""Tokens reserved for an answer whose request allows more, or does not say."""
BYTES_PER_TOKEN = 4
_PLAIN = re.compile(r"[A-Za-z0-9_.:/@-]{1,64}")


@dataclass(frozen=True, slots=True)
class Limit:
    """One number that may not be passed. `per` as written; `shadow` only watches. `subject` says whom a request is
    counted for, None for nobody; `by_caller`: that is the same for all requests of one caller.

    `key` tells its counters from those of other limits: two that say the same share them, so that a route may repeat a
    global one.
    """

    per: str
    kind: Kind
    subject: Subject
    by_caller: bool
    amount: int
    period_s: float
    burst: int
    shadow: bool
    key: str
    rate_per_s: float

    @property
    def words(self) -> str:
        """How people read it."""
        if self.kind == "concurrency":
            return f"{self.amount} requests at once per {self.per}"
        unit = {1.0: "second", 60.0: "minute", 3600.0: "hour", 86400.0: "day"}.get(self.period_s)
        return f"{self.amount} {self.kind} per {unit or f'{self.period_s:g} s'} per {self.per}"

    def look(self, who: str) -> Claim:
        """Return the claim of a request of `who` that takes nothing: an amount of 0, or a place among none, which is
        always refused and tells, below zero, how many places are held."""
        key = f"{{{self.per} {who}}}{self.key}"
        if self.kind == "concurrency":
            return Lease(key, "", 0)
        return Bucket(key, 0, self.burst, self.rate_per_s)


class Over:
    """A limit as it stands over one caller. Made once for all of its requests: `who` is None where it takes the request
    to say whom it is counted for, `always` is the claim where it is the same for every request. `headers` are those
    that tell a client of it, `shown` what the first of them says."""

    __slots__ = ("always", "headers", "key", "limit", "shown", "who")

    def __init__(self, limit: Limit, who: str | None) -> None:
        self.limit, self.who = limit, who
        self.headers, self.shown = NAMES.get(limit.kind), str(limit.burst)
        self.key = "" if who is None else f"{{{limit.per} {who}}}{limit.key}"
        self.always: Claim | None = None
        if who is not None and limit.kind == "requests":
            self.always = Bucket(self.key, 1, limit.burst, limit.rate_per_s)

    def claim(self, exchange: Exchange, tokens: int, share: int = 1) -> Claim | None:
        """Return what a request takes, None where the limit is not over it; `share` processes divide the limit when
        each counts for itself."""
        limit, key = self.limit, self.key
        kind, burst, rate_per_s = limit.kind, limit.burst, limit.rate_per_s
        if not key:
            who = limit.subject(exchange)
            if who is None:
                return None
            key = f"{{{limit.per} {who}}}{limit.key}"
        if kind == "concurrency":
            return Lease(key, exchange.id, max(1, limit.amount // share))
        if share > 1:
            burst, rate_per_s = max(1, burst // share), rate_per_s / share
        if kind == "requests":
            return Bucket(key, 1, burst, rate_per_s)
        return Bucket(key, tokens if tokens < burst else burst, burst, rate_per_s)


class Caller:
    """The limits over one caller, those that only watch apart as `shadows`. `principal` is kept by it, so that no other
    can have its id meanwhile. `is_plain`: headers can tell of each limit, because no two count the same thing."""

    __slots__ = ("is_plain", "over", "principal", "shadows")

    def __init__(self, principal: Principal | None, over: Sequence[Over]) -> None:
        self.principal = principal
        self.over = [each for each in over if not each.limit.shadow]
        self.shadows = [each for each in over if each.limit.shadow]
        told = [each.limit.kind for each in self.over if each.headers is not None]
        self.is_plain = len(set(told)) == len(told)


def over_caller(limits: Sequence[Limit], exchange: Exchange) -> Caller:
    """Return those limits that stand over whoever sent `exchange`: over a caller without the tag its limit does not."""
    found = []
    for limit in limits:
        who = limit.subject(exchange) if limit.by_caller else None
        if who is not None or not limit.by_caller:
            found.append(Over(limit, who))
    return Caller(exchange.principal, found)


def read(options: Sequence[Mapping[str, Any]], *, shadow: bool) -> list[Limit]:
    """Return the limits of `limits:`. Raises: ConfigError."""
    limits: list[Limit] = []
    for number, each in enumerate(options):
        where = f"limits[{number}]"
        kinds = [kind for kind in KINDS if kind in each]
        if not kinds:
            raise ConfigError(f"{where} limits nothing", cure="add requests, tokens or concurrency")
        if "burst" in each and not {"requests", "tokens"} & set(kinds):
            raise ConfigError(f"{where}: burst has no rate to belong to", cure="take it out, or add requests")
        subject = _subject(each["per"], where)
        limits += [
            _limit(each["per"], kind, subject, each[kind], _burst(each, kind), shadow or each.get("shadow", False))
            for kind in kinds
        ]
    return limits


def of_principal(principal: Principal) -> list[Limit]:
    """Return the limits that stand beside a key."""
    given: Mapping[str, Any] = principal.limits
    return [_limit("key", kind, _principal, given[kind], _burst(given, kind), False) for kind in KINDS if kind in given]


def _limit(per: str, kind: Kind, subject: Subject, value: Rate | int, burst: int | None, shadow: bool) -> Limit:
    if isinstance(value, int):
        kind, amount, period_s, most = "concurrency", value, 0.0, 0
    else:
        amount, period_s, most = value.amount, value.period_s, burst or value.amount
    key = f"{per}:{kind}:{amount}/{period_s:g}:{most}"
    by_caller = per in ("key", "user") or _tag_of(per) is not None
    return Limit(
        per, kind, subject, by_caller, amount, period_s, most, shadow, key, amount / period_s if period_s else 0.0
    )


def _burst(given: Mapping[str, Any], kind: Kind) -> int | None:
    """Return the burst of one kind: where requests and tokens are limited it is the requests', because ten tokens at
    once would let no prompt through."""
    return given.get("burst") if kind == "requests" or "requests" not in given else None


def tokens_of(exchange: Exchange) -> int:
    """Return what is reserved for a request: its body at four bytes a token, and its answer up to 1,000 tokens."""
    request = exchange.request
    asked = request.answer_tokens(LARGEST_RESERVED_ANSWER)
    if asked > LARGEST_RESERVED_ANSWER:
        asked = LARGEST_RESERVED_ANSWER
    return -(-len(request.body) // BYTES_PER_TOKEN) + asked


# --- who is counted ----------------------------------------------------------------------------------


def _subject(per: str, where: str) -> Subject:
    simple: Mapping[str, Subject] = {
        "key": _principal,
        "user": _principal,
        "team": lambda exchange: _tag(exchange, "team"),
        "model": lambda exchange: plain(exchange.request.model),
        "route": lambda exchange: exchange.route.name if exchange.route is not None else None,
        "ip": lambda exchange: plain(exchange.request.remote),
    }
    if per in simple:
        return simple[per]
    kind, _, name = per.partition(":")
    if kind == "tag" and name:
        return lambda exchange: _tag(exchange, name)
    if kind == "header" and name:
        # SECURITY: those who leave the header out are counted together; else leaving it out would lift the limit.
        return lambda exchange: plain(exchange.request.headers.get(name, ""))
    raise ConfigError(
        f'{where}: nobody is counted per "{per}"',
        cure="write key, user, team, tag:NAME, model, route, ip or header:NAME",
    )


def _principal(exchange: Exchange) -> str:
    return plain(exchange.principal.name) if exchange.principal is not None else "anonymous"


def subject_of(limit: Limit, principal: Principal, route: str | None) -> str | None:
    """Return what `limit.subject` says of requests of `principal` on `route`; None where it takes more to know, or
    where `is_over` says that there is nobody."""
    if limit.per in ("key", "user"):
        return plain(principal.name)
    if limit.per == "route":
        return route
    value = principal.tags.get(_tag_of(limit.per) or "")
    return None if value is None else plain(value)


def is_over(limit: Limit, principal: Principal) -> bool:
    """Whether requests of `principal` may be counted by `limit`: those without the tag are not."""
    tag = _tag_of(limit.per)
    return tag is None or tag in principal.tags


def _tag_of(per: str) -> str | None:
    if per == "team":
        return per
    return per.partition(":")[2] if per.startswith("tag:") else None


def _tag(exchange: Exchange, name: str) -> str | None:
    value = exchange.principal.tags.get(name) if exchange.principal is not None else None
    return None if value is None else plain(value)


def plain(value: str) -> str:
    """Return `value` fit for a key: as it is where it is plain, else its digest."""
    if _PLAIN.fullmatch(value):
        return value
    return "sha256-" + sha256(value.encode("utf-8", "surrogateescape")).hexdigest()[:32]
