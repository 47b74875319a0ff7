"""Taking typed members out of a decoded request, one by one; what nobody took is left in `rest`.

A member of the wrong type is the client's mistake and named as such; null is the same as absent.
"""

from __future__ import annotations

from typing import Any

from gateway.dialects.notice import lost_names
from gateway.errors import BadRequest


class Fields:
    """The members of one JSON object; `at` is its path in the request, for messages and `param`. `unread`, which all
    objects of one request share, are the names of those that `spent` found nobody to have taken."""

    __slots__ = ("at", "rest", "unread")

    def __init__(self, value: object, at: str = "", unread: list[str] | None = None) -> None:
        if not isinstance(value, dict):
            raise wrong(at or "the body", "an object")
        self.rest: dict[str, Any] = dict(value)
        self.at = at
        self.unread: list[str] = [] if unread is None else unread

    def spent(self) -> None:
        """Say that this object keeps nothing it does not know: what was not taken is reported as lost."""
        if self.rest:
            self.unread += lost_names(self.rest)

    def any(self, name: str) -> Any:
        """Take a member of any type, None when absent."""
        return self.rest.pop(name, None)

    def text(self, name: str) -> str | None:
        value = self.rest.pop(name, None)
        if value is not None and not isinstance(value, str):
            raise wrong(self._path(name), "a string")
        return value

    def needed(self, name: str) -> str:
        """Take a string that must be there."""
        value = self.text(name)
        if value is None:
            raise BadRequest(f"{self._path(name)} is missing; give it as a string", param=self._path(name))
        return value

    def number(self, name: str) -> float | None:
        value = self.rest.pop(name, None)
        if value is not None and (isinstance(value, bool) or not isinstance(value, int | float)):
            raise wrong(self._path(name), "a number")
        return value

    def integer(self, name: str) -> int | None:
        value = self.rest.pop(name, None)
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        if value is not None and (isinstance(value, bool) or not isinstance(value, int)):
            raise wrong(self._path(name), "an integer")
        return value

    def boolean(self, name: str) -> bool | None:
        value = self.rest.pop(name, None)
        if value is not None and not isinstance(value, bool):
            raise wrong(self._path(name), "true or false")
        return value

    def items(self, name: str) -> list[Any]:
        """Take a list, empty when absent."""
        value = self.rest.pop(name, None)
        if value is None:
            return []
        if not isinstance(value, list):
            raise wrong(self._path(name), "a list")
        return value

    def object(self, name: str) -> Fields | None:
        value = self.rest.pop(name, None)
        return None if value is None else Fields(value, self._path(name), self.unread)

    def strings(self, name: str) -> tuple[str, ...]:
        """Take a string or a list of strings."""
        value = self.rest.pop(name, None)
        if value is None:
            return ()
        values = [value] if isinstance(value, str) else value
        if not isinstance(values, list) or not all(isinstance(item, str) for item in values):
            raise wrong(self._path(name), "a string or a list of strings")
        return tuple(values)

    def _path(self, name: str) -> str:
        return f"{self.at}.{name}" if self.at else name


def wrong(path: str, wanted: str) -> BadRequest:
    """Return the error of a member that has the wrong type."""
    return BadRequest(f"{path} must be {wanted}", param=path)
