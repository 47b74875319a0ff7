"""What is sent, and what may come of it."""

from __future__ import annotations

from dataclasses import dataclass

OK = frozenset({200})
REFUSED = frozenset({400})
GONE = frozenset({404, 405})


@dataclass(frozen=True)
class Case:
    """`answers` are the statuses allowed for the first answer; `closes` whether the connection must end after it."""

    name: str
    data: bytes
    answers: frozenset[int] = REFUSED
    closes: bool = False
    dialect: str = "openai"
    to_head: bool = False


GOOD = b'{"model":"m","messages":[]}'
SMUGGLED = b"POST /v1/chat/completions HTTP/1.1\r\nHost: t\r\nX-Smuggled: 1\r\nContent-Length: 27\r\n\r\n" + GOOD
