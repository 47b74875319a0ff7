"""What the dashboard asks for: which sessions there are, what one holds, and to end one.

A store has no order and may hold millions of keys, so the ids of the newest sessions are kept in lists beside them, one
of all and one of each principal. A look reads a list, and of it the sessions that are shown.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Mapping
from hashlib import sha256
from typing import Any

from gateway.plugin import BadRequest, NotFound, StateLost, StateStore

from .stored import Meta, Stored, decode_meta, decode_stored, shown

PREFIX = "sess_"
KEPT_OF_ALL, KEPT_OF_ONE = 2000, 500
"""So many ids are kept, of all sessions and of those of one principal; older ones are found by their id alone."""
LONGEST_TTL_S = 90 * 86_400
READ_AT_ONCE = 50
MOST_LISTED, MOST_MESSAGES = 200, 1000
_DIGITS = "0123456789abcdefghjkmnpqrstvwxyz"
"""In the order of their code points, so that names sort as the times in them do."""
_TIME_CHARS = 9


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


def list_key(principal: str | None) -> str:
    """Return where the ids of a principal's newest sessions are kept; None: of everybody's, "": of nobody's."""
    if principal is None:
        return "{newest}"
    return f"{{newest of {sha256(principal.encode('utf-8', 'surrogateescape')).hexdigest()[:32]}}}"


async def remember(state: StateStore, id: str, principal: str | None) -> None:
    """Put a new session into the lists. A state that is lost meanwhile only leaves it out of them."""
    for key, at_most in ((list_key(None), KEPT_OF_ALL), (list_key(principal or ""), KEPT_OF_ONE)):
        try:
            await state.push(key, [id.encode()], LONGEST_TTL_S, at_most=at_most)
        except StateLost:
            return


async def listed(state: StateStore, given: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return sessions, newest first: at most `at_most` (50), those made before the session `after`, only those of
    `principal` ("" is nobody). `next` is what to go on after, None at the end; `is_whole` tells whether none has fallen
    off the list, whether it still lives or not. Raises: StateLost."""
    given = given or {}
    at_most = max(1, min(int(given.get("at_most") or 50), MOST_LISTED))
    after, principal = given.get("after"), given.get("principal")
    kept = [each.decode() for each in await state.items(list_key(principal))]
    is_whole = len(kept) < (KEPT_OF_ALL if principal is None else KEPT_OF_ONE)
    # By the time in the id: workers push in any order, and `after` may have fallen off.
    ids = sorted((id for id in kept if after is None or id < after), reverse=True)
    found: list[dict[str, Any]] = []
    last, looked_at = None, 0
    for start in range(0, len(ids), READ_AT_ONCE):
        several = ids[start : start + READ_AT_ONCE]
        for id, meta in zip(several, await asyncio.gather(*(state.get(meta_key(id)) for id in several)), strict=True):
            if len(found) == at_most:
                break
            last, looked_at = id, looked_at + 1
            if meta is not None:  # it still lives
                found.append(_facts(id, decode_meta(meta)))
        if len(found) == at_most:
            break
    return {"sessions": found, "next": last if looked_at < len(ids) else None, "is_whole": is_whole}


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
