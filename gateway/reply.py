"""What an exchange is answered."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from multidict import CIMultiDict

from gateway.chat import ChatReply


class Source(Protocol):
    """A live answer body, owned by the relay. `close` gives it up: the upstream connection is closed."""

    async def close(self) -> None: ...


class Passed(Protocol):
    """An upstream's headers that pass as they are; see `relay.passing`."""

    def headers(self) -> CIMultiDict[str]: ...


class Reply:
    """An answer: status, headers, and a body that is finished bytes or a live source.

    A CIMultiDict given as `headers` is kept and may be changed; any other mapping is copied. An upstream's headers that
    are known already (`passed`) are laid out only when somebody looks at them.
    """

    __slots__ = ("_headers", "body", "passed", "status")

    def __init__(
        self,
        status: int = 200,
        headers: Mapping[str, str] | None = None,
        body: bytes | Source = b"",
        passed: Passed | None = None,
    ) -> None:
        self.status, self.body, self.passed = status, body, passed
        self._headers: CIMultiDict[str] | None = None
        if passed is None:
            self._headers = headers if type(headers) is CIMultiDict else CIMultiDict(headers or ())

    @property
    def headers(self) -> CIMultiDict[str]:
        """The headers, to read and to change."""
        if self.passed is not None:
            self._headers, self.passed = self.passed.headers(), None
        assert self._headers is not None
        return self._headers

    @headers.setter
    def headers(self, headers: CIMultiDict[str]) -> None:
        self._headers, self.passed = headers, None


class Whole:
    """A finished answer in neutral words: the body of a child's reply, which nobody renders."""

    __slots__ = ("reply",)

    def __init__(self, reply: ChatReply) -> None:
        self.reply = reply

    async def close(self) -> None:
        """Do nothing: it holds nothing."""
