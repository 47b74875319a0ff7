"""Headers that keep a browser from doing with an answer what it was not meant for."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from gateway.plugin import Exchange, Plugin, Reply

ALWAYS = {"X-Content-Type-Options": "nosniff", "X-Frame-Options": "DENY", "X-XSS-Protection": "1; mode=block"}
OVER_HTTPS = "max-age=31536000; includeSubDomains"


class SecurityHeaders(Plugin):
    """On every answer, errors too. Strict-Transport-Security only when the client's side is https."""

    def handle(self, exchange: Exchange, call_next: Callable[[Exchange], Awaitable[Reply]]) -> Awaitable[Reply]:
        """Put the headers on whatever the answer will be."""
        exchange.headers.update(ALWAYS)
        if exchange.request.secure:
            exchange.headers["Strict-Transport-Security"] = OVER_HTTPS
        return call_next(exchange)
