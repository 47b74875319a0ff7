"""What is asked of the ledger's rows: the filters of a query string, in the ledger's terms.

q=ID  principal= model= route= target= provider= session= error_code= outcome= dialect=
status=503 | 4xx | 429,503   stream=true|false   since= until=  (-15m, 2026-11-22T07:00:00Z, Unix seconds)
limit=50 (at most 200)   cursor=  (as `older` gives it)
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final
from urllib.parse import urlencode

from gateway.errors import BadRequest

EQUAL: Final = ("principal", "model", "route", "target", "provider", "session", "error_code", "outcome", "dialect")
NAMES: Final = ("q", *EQUAL, "status", "stream", "since", "until")
OUTCOMES: Final = ("completed", "failed", "disconnected")
USUAL: Final = 50
MOST: Final = 200
LONGEST: Final = 256
_AGO: Final = re.compile(r"-(\d{1,6})([smhdw])")
_UNITS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
_CLASS: Final = re.compile(r"([1-5])xx", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Sought:
    """`given` are the filters as they were written; `equal` those for the ledger as they are. `statuses` are numbers,
    `classes` the first digits of whole hundreds; a row fits any of both."""

    given: Mapping[str, str]
    equal: Mapping[str, Any]
    id: str
    statuses: tuple[int, ...]
    classes: tuple[int, ...]
    since: float | None
    until: float | None
    limit: int
    cursor: tuple[float, str] | None
    cursor_text: str | None

    def older(self, ts: float, exchange_id: str) -> str:
        """Return the query string of the page after the row that this names."""
        limit = {"limit": str(self.limit)} if self.limit != USUAL else {}
        return "?" + urlencode({**self.given, **limit, "cursor": f"{ts!r},{exchange_id}"})


def read(query: Mapping[str, str], now: float) -> Sought:
    """Return what a query string asks for; what is empty is not asked for. Raises: BadRequest."""
    given = {name: value.strip() for name, value in query.items() if value.strip()}
    limit, cursor = given.pop("limit", None), given.pop("cursor", None)
    if unknown := sorted(set(given) - set(NAMES)):
        raise BadRequest(f'there is no filter "{unknown[0][:64]}"; there are {", ".join((*NAMES, "limit", "cursor"))}')
    if long := [name for name, value in given.items() if len(value) > LONGEST]:
        raise BadRequest(f"{long[0]} is longer than {LONGEST} characters")
    statuses, classes = _statuses(given.get("status", ""))
    equal: dict[str, Any] = {name: given[name] for name in EQUAL if name in given}
    if (outcome := equal.get("outcome")) is not None and outcome not in OUTCOMES:
        raise BadRequest(f'"{outcome}" is no outcome; there are {", ".join(OUTCOMES)}')
    if (stream := given.get("stream")) is not None:
        if stream not in ("true", "false"):
            raise BadRequest(f'stream is "{stream}"; write true or false')
        equal["stream"] = stream == "true"
    return Sought(
        given={name: given[name] for name in NAMES if name in given},
        equal=equal,
        id=given.get("q", ""),
        statuses=statuses,
        classes=classes,
        since=_time("since", given["since"], now) if "since" in given else None,
        until=_time("until", given["until"], now) if "until" in given else None,
        limit=_limit(limit),
        cursor=_cursor(cursor),
        cursor_text=cursor,
    )


def _statuses(text: str) -> tuple[tuple[int, ...], tuple[int, ...]]:
    statuses, classes = set(), set()
    for each in (part.strip() for part in text.split(",") if part.strip()):
        if found := _CLASS.fullmatch(each):
            classes.add(int(found[1]))
        elif re.fullmatch(r"[1-5]\d\d", each, re.ASCII):
            statuses.add(int(each))
        else:
            raise BadRequest(f'"{each}" is no status; write for example 503, 4xx or 429,503')
    return tuple(sorted(statuses)), tuple(sorted(classes))


def _time(name: str, text: str, now: float) -> float:
    if found := _AGO.fullmatch(text):
        return now - int(found[1]) * _UNITS[found[2]]
    if text == "now":
        return now
    try:
        # A plus in an address is a space.
        return float(text) if re.fullmatch(r"\d{9,11}(\.\d+)?", text) else _moment(text.replace(" ", "+"))
    except (ValueError, OverflowError):
        raise BadRequest(f'{name} is "{text}"; write -15m, 2026-11-22T07:00:00Z or Unix seconds') from None


def _moment(text: str) -> float:
    if re.fullmatch(r"\d{4}-\d\d-\d\d\+\d\d:\d\d(:\d\d)?", text):
        text = text.replace("+", "T")  # a day and a time with a space between them
    moment = datetime.fromisoformat(text)
    return (moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)).timestamp()


def _limit(text: str | None) -> int:
    if text is None:
        return USUAL
    if not re.fullmatch(r"\d{1,6}", text, re.ASCII) or not 1 <= int(text) <= MOST:
        raise BadRequest(f'limit is "{text[:32]}"; write 1 to {MOST}')
    return int(text)


def _cursor(text: str | None) -> tuple[float, str] | None:
    if text is None:
        return None
    ts, comma, exchange_id = text.partition(",")
    if not comma or not re.fullmatch(r"\d{1,12}(\.\d{1,12})?", ts, re.ASCII) or len(exchange_id) > LONGEST:
        raise BadRequest("cursor is not one that this page gave")
    return float(ts), exchange_id
