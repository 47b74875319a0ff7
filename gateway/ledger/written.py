"""Rows as tuples for the driver, the sums a batch of them adds, and rows read back.

Written rows never fail the store: text is cut at 256 characters and cleaned of what PostgreSQL or UTF-8 cannot
hold (NUL, lone surrogates), money rounded to a billionth of a dollar.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from decimal import ROUND_HALF_EVEN, Decimal
from operator import add
from typing import Any, Final

import msgspec
from msgspec.structs import astuple

from gateway.ledger.ledger import Row
from gateway.ledger.names import COLUMNS, GROUPS, HOUR_S, SUMMED, SUMS, TAGS

NANO_USD: Final = 1_000_000_000
LONGEST: Final = 256
"""Characters of a text: an index entry of PostgreSQL holds 2,704 bytes (version 15, nbtree.h)."""
_MOST: Final = 2**63 - 1
_encode = msgspec.json.Encoder(enc_hook=str).encode
_decode = msgspec.json.decode
_PARTS: Final = [
    (table, seconds, None if groups == GROUPS else tuple(GROUPS.index(name) for name in groups))
    for table, (seconds, groups) in SUMMED.items()
]
"""What of a row's groups is the key of each table; None for all."""
_NO_TAGS: Final[tuple[str, Mapping[str, str]]] = ("{}", {})

_REQUESTS, _FAILED, _UNPRICED, _PROMPT, _CACHED, _CACHE_WRITE, _COMPLETION, _REASONING, _COST, _TOOK, _TTFT, _TTFTS = (
    range(len(SUMS))
)
Key = tuple[Any, ...]
Sum = list[int]
"""What rows of one key add up to, in the order of `names.SUMS`."""


def nano(usd: Decimal) -> int:
    """Return billionths of a dollar, rounded half to even."""
    whole = int((usd * NANO_USD).to_integral_value(ROUND_HALF_EVEN))
    return max(-_MOST, min(_MOST, whole))


def usd(nano_usd: int) -> Decimal:
    """Return dollars."""
    return Decimal(nano_usd).scaleb(-9)


def text(given: str) -> str:
    """Return `given` as any store takes it."""
    if len(given) <= LONGEST and given.isascii() and "\0" not in given:
        return given
    return given.replace("\0", "\ufffd").encode("utf-8", "replace").decode("utf-8")[:LONGEST]


def optional(given: str | None) -> str | None:
    """Return the same of a text that may be absent."""
    return None if given is None else text(given)


def as_json(value: Any) -> str:
    """Return `value` as JSON text."""
    try:
        return _encode(value).decode()
    except UnicodeEncodeError:  # a lone surrogate
        written = json.dumps(msgspec.to_builtins(value, enc_hook=str), ensure_ascii=False)
        return written.encode("utf-8", "replace").decode("utf-8")


class Batch:
    """Rows as they are written: `columns`, a tuple each in the order of the table, and `sums`, what they add to each
    table of those.

    What many rows of a batch have in common is looked at once: their names, and whose tags they have.
    """

    __slots__ = ("_tagged", "_tags", "_whole", "columns")

    def __init__(self, rows: Iterable[Row]) -> None:
        self._tags: dict[int, tuple[str, Mapping[str, str]]] = {}
        self._tagged: dict[Key, Sum] = {}
        whole: dict[Key, Sum] = {}
        names: dict[Key, Key] = {}
        columns: list[Key] = []
        self._whole, self.columns = whole, columns
        hour = 0
        for row in rows:  # in one piece: two calls a row are a tenth of what it takes
            (
                exchange_id, ts, request_id, parent_id, principal, tags, session, route, dialect, endpoint, model,
                target, attempts, status, outcome, stream, prompt_tokens, cached_tokens, cache_write_tokens,
                completion_tokens, reasoning_tokens, cost_usd, estimated, duration_ms, ttft_ms, overhead_ms, error_code,
                tries,
            ) = astuple(row)  # fmt: skip
            named = (principal, route, dialect, endpoint, model, target, outcome, error_code)
            clean = names.get(named)
            if clean is None:
                clean = names[named] = tuple(map(optional, named))
            principal, route, dialect, endpoint, model, target, outcome, error_code = clean
            cost_nano_usd = None if cost_usd is None else nano(cost_usd)
            # Whole microseconds, so that sums of what is stored are exact; round() costs twice as much.
            duration_us = int(duration_ms * 1000 + 0.5)
            ttft_us = None if ttft_ms is None else int(ttft_ms * 1000 + 0.5)

            if not hour <= ts < hour + HOUR_S:
                hour = int(ts // HOUR_S) * HOUR_S
            key = (hour, principal or "", model, target or "", route or "", status, outcome)
            sums = whole.get(key)
            if sums is None:
                sums = whole[key] = [0] * len(SUMS)
            tags_json, every = "{}", [sums]
            if tags:
                tags_json, clean_tags = self._tags_of(tags)
                every += [_sum_of(self._tagged, (tag, value, hour, key[1])) for tag, value in clean_tags.items()]
            for each in every:
                each[_REQUESTS] += 1
                each[_TOOK] += duration_us
                if outcome == "failed":
                    each[_FAILED] += 1
                if ttft_us is not None:
                    each[_TTFT] += ttft_us
                    each[_TTFTS] += 1
                if cost_nano_usd is not None:
                    each[_COST] += cost_nano_usd
                elif prompt_tokens is not None or completion_tokens is not None:
                    each[_UNPRICED] += 1  # without tokens (refused, say, or others' parent) there is nothing to price
                if prompt_tokens:
                    each[_PROMPT] += prompt_tokens
                if completion_tokens:
                    each[_COMPLETION] += completion_tokens
                if cached_tokens:
                    each[_CACHED] += cached_tokens
                if cache_write_tokens:
                    each[_CACHE_WRITE] += cache_write_tokens
                if reasoning_tokens:
                    each[_REASONING] += reasoning_tokens

            own_id = text(exchange_id)
            columns.append((
                own_id, float(ts), own_id if request_id is exchange_id else text(request_id),
                None if parent_id is None else text(parent_id), principal, tags_json,
                None if session is None else text(session), route, dialect, endpoint, model, target, attempts, status,
                outcome, stream, prompt_tokens, cached_tokens, cache_write_tokens, completion_tokens, reasoning_tokens,
                cost_nano_usd, estimated, duration_us / 1000, None if ttft_us is None else ttft_us / 1000,
                None if overhead_ms is None else int(overhead_ms * 1000 + 0.5) / 1000, error_code,
                as_json(tries) if tries else "[]",
            ))  # fmt: skip

    def _tags_of(self, tags: Mapping[str, str]) -> tuple[str, Mapping[str, str]]:
        known = self._tags.get(id(tags))  # the rows hold them: no other has this id meanwhile
        if known is None:
            clean = {text(tag): text(str(value)) for tag, value in tags.items()}
            known = self._tags[id(tags)] = as_json(clean), clean
        return known

    def sums(self) -> dict[str, list[Key]]:
        """Return what the rows add, by table: rows of its keys and its sums, in the order of the keys."""
        found = {TAGS: [(*key, *self._tagged[key]) for key in sorted(self._tagged)]}
        for table, seconds, part in _PARTS:
            sums: dict[Key, Sum] = {}
            for key, amount in self._whole.items():
                start = key[0] - key[0] % seconds
                own = (start, *key[1:]) if part is None else (start, *[key[1 + n] for n in part])
                known = sums.get(own)
                sums[own] = amount if known is None else list(map(add, known, amount))
            found[table] = [(*key, *sums[key]) for key in sorted(sums)]
        return found


def _sum_of(sums: dict[Key, Sum], key: Key) -> Sum:
    found = sums.get(key)
    if found is None:
        found = sums[key] = [0] * len(SUMS)
    return found


def decoded(columns: Sequence[Any]) -> Row:
    """Return the row that was written as these. The `cost_usd` of a try is a Decimal again."""
    facts = dict(zip(COLUMNS, columns, strict=True))
    nano_usd = facts.pop("cost_nano_usd")
    tries = _decode(facts["tries"])
    for each in tries:
        if isinstance(cost := each.get("cost_usd"), str):
            each["cost_usd"] = Decimal(cost)
    facts.update(
        tags=_decode(facts["tags"]),
        tries=tries,
        cost_usd=None if nano_usd is None else usd(nano_usd),
        stream=bool(facts["stream"]),
        estimated=bool(facts["estimated"]),
    )
    return Row(**facts)
