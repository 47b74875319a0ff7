"""What changes keys: making, rotating and revoking those that the ledger keeps. A key is shown once, in the answer."""

from __future__ import annotations

import asyncio
from typing import Any, Final

from aiohttp import web

from gateway.admin.asked import body_of, text_of, texts_of
from gateway.admin.desk import Desk
from gateway.admin.holders import SHOWN_OF_HASH, Holder, in_file, saved, unheld
from gateway.errors import BadRequest, GatewayError, NotFound
from gateway.ledger.ledger import Ledger, SavedKey
from gateway.runtime.issued import COUNTS, RATES, Issued, ends_at, fresh, issue
from gateway.runtime.text import duration

GRACE: Final = "1h"
LIMITS: Final = (*RATES, *COUNTS)
_FIELDS: Final = frozenset({"name", "models", "routes", "tags", "budget", "limits", "expires_in"})
_FORM_FIELDS: Final = _FIELDS - {"limits"} | set(LIMITS)


class Changes:
    """One change at a time, so that two operators do not make one name twice."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._turn = asyncio.Lock()

    async def create(self, request: web.Request) -> web.Response:
        """Make a key. Raises: BadRequest, NotFound without a ledger, 409 when the name has one that holds."""
        is_json = request.content_type == "application/json"
        given = await body_of(request, _FIELDS if is_json else _FORM_FIELDS)
        limits = {} if given.get("limits") is None else given["limits"]
        if not isinstance(limits, dict):
            raise BadRequest("limits must be an object", param="limits")
        if not is_json:
            limits = {each: _whole(given[each]) if each in COUNTS else given[each] for each in LIMITS if each in given}
        ledger = self._desk.ledger
        now = self._desk.clock.time()
        name = text_of(given, "name") or ""
        bounds: dict[str, Any] = {
            "models": texts_of(given, "models"),
            "routes": texts_of(given, "routes"),
            "tags": _tags(given.get("tags")),
            "budget": text_of(given, "budget"),
            "expires_in": text_of(given, "expires_in"),
        }
        try:
            issued = issue(name, now, limits=limits, **bounds)
        except BadRequest as error:
            raise BadRequest(f"{error.param}: {error.message}", param=error.param) from None
        async with self._turn:
            await self._refuse_second(ledger, issued.saved.name, now)
            await ledger.save_key(issued.saved)
        self._desk.note(request, "key_created", key=issued.saved.name, hash=_hash(issued))
        return await self._shown(request, issued, 201)

    async def rotate(self, request: web.Request) -> web.Response:
        """Make a new key of the same name and bounds; the ones before hold for `grace` (1h; 0s: not at all)."""
        name = request.match_info["name"]
        given = await body_of(request, frozenset({"grace", "expires_in"}))
        grace = text_of(given, "grace") or GRACE
        try:
            grace_s = duration(grace)
        except ValueError as error:
            raise BadRequest(f"grace: {error}", param="grace") from None
        ledger = self._desk.ledger
        async with self._turn:
            now = self._desk.clock.time()
            kept = await self._kept(ledger, name)
            old = max(kept, key=lambda each: each.created_at)
            if not saved([old])[0].is_readable:
                raise _conflict("what stands beside this key cannot be read here: revoke it and make another", "name")
            try:
                ends = ends_at(text_of(given, "expires_in"), now)
            except BadRequest as error:
                raise BadRequest(f"{error.param}: {error.message}", param=error.param) from None
            if ends is None and old.expires_at is not None:
                if old.expires_at <= now:
                    raise BadRequest("expires_in: the key has expired; say how long the new one holds, such as 30d",
                                     param="expires_in")  # fmt: skip
                ends = old.expires_at
            issued = fresh(name, now, old.facts, ends)
            # The new one first: should the second step fail, nobody is locked out.
            await ledger.save_key(issued.saved)
            if grace_s > 0:
                await ledger.end_keys(name, now + grace_s, but=issued.saved.hash)
            else:
                await ledger.revoke_key(name, now, but=issued.saved.hash)
            ended = sum(each.state(now) == "active" for each in saved(kept))
        self._desk.note(request, "key_rotated", key=name, hash=_hash(issued), grace_s=grace_s, ended=ended)
        return await self._shown(request, issued, 201, old_end_at=now + grace_s, ended=ended)

    async def revoke(self, request: web.Request) -> web.Response:
        """Revoke every saved key of a name. Raises: NotFound, 409 when it stands in a file."""
        name = request.match_info["name"]
        await body_of(request, frozenset())
        in_files = self._in_file(name)
        if self._desk.gateway.snapshot.ledger is None and in_files:
            raise _stands(in_files[0])
        ledger = self._desk.ledger
        async with self._turn:
            count = await ledger.revoke_key(name, self._desk.clock.time())
        if not count:
            if in_files:
                raise _stands(in_files[0])
            raise NotFound("no saved key of this name holds")
        self._desk.note(request, "key_revoked", key=name, revoked=count)
        still = [_where(each) for each in in_files]
        if request.headers.get("hx-request") == "true":
            return await self._desk.page(
                request, "partials/key_revoked.html", {"count": count, "name": name, "still": still}
            )
        return web.json_response({"name": name, "revoked": count, "still_in_file": still})

    async def _shown(self, request: web.Request, issued: Issued, status: int, **more: Any) -> web.Response:
        """Return the key. SECURITY: this once, in an answer that no cache keeps (every answer here says no-store)."""
        told = {
            "key": issued.key,
            **{name: value for name, value in issued.entry.items() if name != "hash"},
            "hash": _hash(issued),
            "expires_at": issued.saved.expires_at,
            "warnings": unheld(self._desk.gateway.snapshot.config, issued.entry),
            **more,
        }
        if request.headers.get("hx-request") == "true":
            page = {"old_end_at": None, "ended": 0, **told}
            return await self._desk.page(request, "partials/key_made.html", page)
        return web.json_response(told, status=status)

    async def _refuse_second(self, ledger: Ledger, name: str, now: float) -> None:
        """Raise a conflict when a key of that name holds."""
        for each in (*self._in_file(name), *saved(await ledger.keys())):
            if each.name == name and each.state(now) == "active":
                where = f"it stands at {_where(each)}" if each.place else "rotate it, or revoke it first"
                raise _conflict(f'there is an active key called "{name}" already: {where}', "name")

    async def _kept(self, ledger: Ledger, name: str) -> list[SavedKey]:
        """Return the saved keys of a name that are not revoked. Raises: NotFound, 409 when it stands in a file."""
        kept = [each for each in await ledger.keys() if each.name == name and each.revoked_at is None]
        if kept:
            return kept
        in_files = self._in_file(name)
        if in_files:
            raise _stands(in_files[0])
        raise NotFound("no saved key of this name holds")

    def _in_file(self, name: str) -> list[Holder]:
        return [each for each in in_file(self._desk.gateway.snapshot.config) if each.name == name]


def _hash(issued: Issued) -> str:
    return issued.saved.hash.removeprefix("sha256:")[:SHOWN_OF_HASH]


def _where(holder: Holder) -> str:
    place = holder.place
    return "" if place is None else f"{place.file}:{place.line}"


def _stands(holder: Holder) -> GatewayError:
    return _conflict(f'the key "{holder.name}" stands at {_where(holder)}: change it there', "name")


def _conflict(message: str, param: str) -> GatewayError:
    error = GatewayError(message, code="conflict", param=param)
    error.status = 409
    return error


def _whole(text: str) -> Any:
    """Return a form's number; what is none is refused where numbers are judged."""
    return int(text) if text.isascii() and text.isdigit() and len(text) < 12 else text


def _tags(given: Any) -> dict[str, str]:
    """Return tags: a JSON object of texts, or a form's lines of `name=value`. Raises: BadRequest."""
    if isinstance(given, str):
        pairs = [each.partition("=") for each in given.replace(",", "\n").splitlines() if each.strip()]
        if not all(sign and name.strip() for name, sign, _ in pairs):
            raise BadRequest("tags: write name=value, one a line", param="tags")
        return {name.strip(): value.strip() for name, _, value in pairs}
    if given is None:
        return {}
    if not isinstance(given, dict) or not all(isinstance(value, str) for value in given.values()):
        raise BadRequest("tags must be an object of texts", param="tags")
    return given
