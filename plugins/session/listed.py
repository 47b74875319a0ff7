"""What the dashboard asks for: which sessions there are, what one holds, and to end one.

A store has no order, so an id begins with when it was made: the newest are found by their names alone, and only those
that are shown are read. A look costs one list of names, and as many reads as LOOKED_THROUGH at most.
"""

from __future__ import annotations

import asyncio
import heapq
import secrets
from collections.abc import Mapping
from typing import Any

from gateway.plugin import BadRequest, NotFound, StateStore

from .stored import Meta, Stored, decode_meta, decode_stored, shown

PREFIX = "sess_"
MOST_NAMES = 400_000
"""Of that many keys (two a session) the newest are found; of more, some are not looked at, and that is said."""
LOOKED_THROUGH = 2000
"""Sessions read for one page when only those of one principal are wanted."""
READ_AT_ONCE = 50
MOST_LISTED, MOST_MESSAGES = 200, 1000
_DIGITS = "0123456789abcdefghjkmnpqrstvwxyz"
"""In the order of their code points, so that names sort as the times in them do."""
_TIME_CHARS = 9
_ID_CHARS = len(PREFIX) + _TIME_CHARS + 32


def new_id(now: float) -> str:
    """Return a fresh id: when, in milliseconds, and 192 random bits, which nobody guesses."""
    milliseconds, written = int(now * 1000), ""
    for _ in range(_TIME_CHARS):
        milliseconds, digit = divmod(milliseconds, len(_DIGITS))
        written = _DIGITS[digit] + written
    return PREFIX + written + secrets.token_urlsafe(24)


def meta_key(id: str) -> str:
    """Return where what is known of a session is kept."""
    return f"{{{id}}}"


def turns_key(id: str) -> str:
    """Return where a session's messages are kept."""
    return f"{{{id}}}turns"


def _age(id: str) -> tuple[bool, str]:
    """Return what sorts ids by when they were made; those of earlier versions, which do not say, are the oldest."""
    return len(id) == _ID_CHARS, id


async def listed(state: StateStore, given: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return sessions, newest first: at most `at_most` (50), those made before the session `after`, only those of
    `principal` ("" is nobody). `next` is what to go on after, None at the end; `is_whole` tells whether all were looked
    at. Raises: StateLost."""
    given = given or {}
    at_most = max(1, min(int(given.get("at_most") or 50), MOST_LISTED))
    after, principal = given.get("after"), given.get("principal")
    names = await state.names("{" + PREFIX, MOST_NAMES)
    wanted = at_most + 1 if principal is None else LOOKED_THROUGH
    ids = await asyncio.to_thread(_newest, names, after, wanted)  # sorting many takes tens of milliseconds
    found: list[dict[str, Any]] = []
    last, looked_at = None, 0
    for start in range(0, len(ids), READ_AT_ONCE):
        several = ids[start : start + READ_AT_ONCE]
        for id, kept in zip(several, await asyncio.gather(*(state.get(meta_key(id)) for id in several)), strict=True):
            if len(found) == at_most:
                break
            last, looked_at = id, looked_at + 1
            if kept is None:  # over meanwhile
                continue
            meta = decode_meta(kept)
            if principal is None or (meta.principal or "") == principal:
                found.append(_facts(id, meta))
        if len(found) == at_most:
            break
    more = looked_at < len(ids) or len(ids) == wanted
    return {"sessions": found, "next": last if more else None, "is_whole": len(names) < MOST_NAMES}


def _newest(names: list[str], after: str | None, at_most: int) -> list[str]:
    ids = (name[1:-1] for name in names if name.endswith("}"))
    if after is not None:
        before = _age(after)
        ids = (id for id in ids if _age(id) < before)
    return heapq.nlargest(at_most, ids, key=_age)


def _facts(id: str, meta: Meta) -> dict[str, Any]:
    return {
        "id": id,
        "principal": meta.principal,
        "created_at": meta.created_at,
        "ttl_s": meta.ttl_s,
        "has_context": bool(meta.context),
    }


async def one(state: StateStore, given: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return the session `id`: its newest `at_most` messages as OpenAI's chat writes them, each with `at`, in Unix
    seconds; `messages_total` there are. SECURITY: what people wrote, for the admin listener alone. Raises: NotFound,
    StateLost."""
    given = given or {}
    id = _id(given)
    meta, stored = await _found(state, id)
    at_most = max(0, min(int(given.get("at_most") or MOST_MESSAGES), MOST_MESSAGES))
    last_at = stored[-1].at if stored else meta.created_at
    return {
        **_facts(id, meta),
        "context": meta.context,
        "last_at": last_at,
        "expires_at": last_at + meta.ttl_s,
        "messages_total": len(stored),
        "messages": [
            {**shown(each.message), "at": each.at} for each in stored[len(stored) - min(at_most, len(stored)) :]
        ],
    }


async def ended(state: StateStore, given: Mapping[str, Any] | None) -> dict[str, Any]:
    """Forget the session `id` and say whose it was. Raises: NotFound, StateLost."""
    id = _id(given or {})
    kept = await state.get(meta_key(id))
    if kept is None:
        raise NotFound("no such session; it may have ended meanwhile")
    await state.delete(meta_key(id), turns_key(id))
    return {"id": id, "principal": decode_meta(kept).principal}


async def _found(state: StateStore, id: str) -> tuple[Meta, list[Stored]]:
    kept = await state.get(meta_key(id))
    if kept is None:
        raise NotFound("no such session; it may have ended meanwhile")
    return decode_meta(kept), [decode_stored(each) for each in await state.items(turns_key(id))]


def _id(given: Mapping[str, Any]) -> str:
    id = given.get("id")
    if not isinstance(id, str) or not id.startswith(PREFIX) or len(id) > 100 or "}" in id:
        raise BadRequest("a session is asked for by its id, which begins with sess_")
    return id
