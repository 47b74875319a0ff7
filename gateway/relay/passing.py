"""What of an answer's head goes on to the client, found out once for a head that comes again.

Servers send the same head again and again, and the gateway adds the same names to it: the whole is then one template,
filled in with what differs, in a tenth of the time that joining it header by header takes.
"""

from __future__ import annotations

import re
from typing import Final

from multidict import CIMultiDict

from gateway.relay.headers import for_client
from gateway.upstream.transport import AnswerHead

MOST_TEMPLATES: Final = 64
_OWN: Final = ("x-request-id", "request-id", "server-timing")
_LAST: Final = "".join(f"{name}: %s\r\n" for name in _OWN) + "content-length: %d\r\ndate: %s\r\n\r\n"
_NEVER: Final = frozenset((*_OWN, "content-length", "date", "connection", "transfer-encoding"))
_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_JSON_TYPES: Final = frozenset(
    {"application/json", "application/json; charset=utf-8", "application/json;charset=utf-8"}
)


class Passing:
    """A head of status 200 as it passes. `is_json`: its body is JSON, and not compressed. `has_limits`: it says how
    much is left to a key."""

    __slots__ = ("_head", "_names", "_templates", "_text", "has_limits", "is_json")

    def __init__(self, head: AnswerHead) -> None:
        headers = head.headers
        passing = for_client(headers)
        self._head = head
        self._text = "".join(f"{name}: {value}\r\n" for name, value in passing.items()).replace("%", "%%")
        self._names = frozenset(name.lower() for name in passing)
        self._templates: dict[tuple[str, ...], str | None] = {}
        kind = headers.get("content-type", "").lower()
        self.is_json = kind in _JSON_TYPES and "content-encoding" not in headers
        self.has_limits = any("ratelimit" in name.lower() for name in headers)

    def headers(self) -> CIMultiDict[str]:
        """Return the headers that pass, the caller's to change."""
        return for_client(self._head.headers)

    def template(self, names: tuple[str, ...]) -> str | None:
        """Return the head of an answer to which the gateway adds headers of these `names`, to fill in by `%`: their
        values, the request's id twice, what took how long, the body's length, the date. None where one takes the place
        of another."""
        try:
            return self._templates[names]
        except KeyError:
            if len(self._templates) >= MOST_TEMPLATES:
                self._templates.clear()
            made = self._templates[names] = self._made(names)
            return made

    def _made(self, names: tuple[str, ...]) -> str | None:
        lowered = {name.lower() for name in names}
        if len(lowered) < len(names) or lowered & self._names or lowered & _NEVER:
            return None
        if not all(map(_NAME.fullmatch, names)):
            return None
        added = "".join(f"{name}: ".replace("%", "%%") + "%s\r\n" for name in names)
        return f"HTTP/1.1 200 OK\r\n{self._text}{added}{_LAST}"


def passing_of(head: AnswerHead) -> Passing | None:
    """Return what of `head` passes; None for one that is not known to come again."""
    found = head.read_as
    if type(found) is Passing:
        return found
    if not head.is_shared or head.status != 200:
        return None
    made = head.read_as = Passing(head)
    return made
