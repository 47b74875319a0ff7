"""Reading a JSON object member by member, so that what is not read is left over and can be reported.

Values stay raw until asked for; asking for the wrong kind is an error that names the field and the kind.
"""

from __future__ import annotations

from typing import Any, NoReturn

import msgspec
from msgspec import Raw

from gateway.dialects.notice import lost_names
from gateway.errors import BadRequest

ODD_JSON = (msgspec.DecodeError, UnicodeError, RecursionError)
"""What msgspec raises for JSON that is malformed, of another kind, too deep or not UTF-8."""

_text = msgspec.json.Decoder(str).decode
_flag = msgspec.json.Decoder(bool).decode
_number = msgspec.json.Decoder(int | float).decode
_texts = msgspec.json.Decoder(list[str]).decode
_object = msgspec.json.Decoder(dict[str, Raw]).decode
_objects = msgspec.json.Decoder(list[dict[str, Raw]]).decode
_any = msgspec.json.Decoder().decode


class Members:
    """The members of one JSON object not yet read. `path` is where it stands, "" for the body itself; `unread`,
    which all objects of one body share, are the names of those that `spent` found nobody to have read.

    Every method takes a member out and returns None when it is absent or null. Raises: BadRequest.
    """

    __slots__ = ("_raw", "path", "unread")

    def __init__(self, raw: dict[str, Raw], path: str = "", unread: list[str] | None = None) -> None:
        self._raw, self.path = raw, path
        self.unread: list[str] = [] if unread is None else unread

    @classmethod
    def of_body(cls, body: bytes) -> Members:
        """Return a request body's members. Raises: BadRequest when it is not a JSON object."""
        try:
            return cls(_object(body))
        except msgspec.ValidationError:
            raise BadRequest('the body is not a JSON object; send {"model": …}') from None
        except ODD_JSON as error:
            raise BadRequest(f"the body is not valid JSON: {error}") from None

    def place(self, key: str) -> str:
        """Return the full name of a member, as error messages and `param` use it."""
        return f"{self.path}.{key}" if self.path else key

    def fail(self, key: str, problem: str) -> NoReturn:
        """Refuse the request because of one member."""
        place = self.place(key)
        raise BadRequest(f"{place}: {problem}", param=place) from None

    def take(self, key: str) -> Raw | None:
        """Return a member's bytes."""
        raw = self._raw.pop(key, None)
        return None if raw is None or raw == _NULL else raw

    def _read(self, key: str, decode: Any, kind: str) -> Any:
        raw = self._raw.pop(key)
        try:
            return decode(raw)
        except ODD_JSON:
            if raw == _NULL:
                return None
            self.fail(key, f"expected {kind}")

    def text(self, key: str) -> str | None:
        return self._read(key, _text, "a string") if key in self._raw else None

    def flag(self, key: str) -> bool | None:
        return self._read(key, _flag, "true or false") if key in self._raw else None

    def number(self, key: str) -> float | None:
        return self._read(key, _number, "a number") if key in self._raw else None

    def integer(self, key: str) -> int | None:
        value = self.number(key)
        if value is not None and value != int(value):
            self.fail(key, "expected a whole number")
        return None if value is None else int(value)

    def texts(self, key: str) -> tuple[str, ...]:
        return tuple(self._read(key, _texts, "a list of strings") or ()) if key in self._raw else ()

    def value(self, key: str) -> Any:
        return self._read(key, _any, "JSON that can be read") if key in self._raw else None

    def json_text(self, key: str) -> str | None:
        """Return a member as the JSON text it was, white space between tokens taken out."""
        raw = self.take(key)
        if raw is None:
            return None
        try:
            return msgspec.json.format(bytes(raw), indent=-1).decode()
        except ODD_JSON:
            self.fail(key, "expected JSON in UTF-8")

    def object(self, key: str) -> Members | None:
        if key not in self._raw:
            return None
        members: dict[str, Raw] | None = self._read(key, _object, "an object")
        return None if members is None else Members(members, self.place(key), self.unread)

    def objects(self, key: str) -> list[Members]:
        if key not in self._raw:
            return []
        found: list[dict[str, Raw]] = self._read(key, _objects, "a list of objects") or []
        place = self.place(key)
        return [Members(members, f"{place}[{index}]", self.unread) for index, members in enumerate(found)]

    def text_or_objects(self, key: str) -> str | list[Members] | None:
        """Return a member that is a string in its short form and a list of objects in its long one."""
        raw = self._raw.get(key)
        if raw is not None and bytes(memoryview(raw)[:1]) == b'"':
            return self.text(key)
        return None if self.peek(key) is None else self.objects(key)

    def peek(self, key: str) -> Raw | None:
        """Return a member's bytes and leave it where it is."""
        raw = self._raw.get(key)
        return None if raw is None or raw == _NULL else raw

    def spent(self) -> None:
        """Say that this object keeps nothing it does not know: what was not read is reported as lost."""
        if self._raw:
            self.unread += lost_names(self.whole())

    def put(self, key: str, raw: bytes) -> None:
        """Set a member that was left out, as JSON."""
        self._raw[key] = Raw(raw)

    def whole(self) -> dict[str, Any]:
        """Return everything not yet read, decoded, and leave nothing."""
        if not self._raw:
            return {}
        rest = {key: self.value(key) for key in list(self._raw)}
        return {key: value for key, value in rest.items() if value is not None}


_NULL = Raw(b"null")


def body_bytes(body: dict[str, Any]) -> bytes:
    """Return a request body to send. Raises: BadRequest when it is nested more deeply than can be written."""
    try:
        return msgspec.json.encode(body)
    except RecursionError:
        raise BadRequest("the body is nested too deeply") from None
