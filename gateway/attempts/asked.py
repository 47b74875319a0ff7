"""A child's request, before it is sent: what plugins did to its members is done to what is sent."""

from __future__ import annotations

import msgspec

from gateway.exchange import Exchange
from gateway.work import Origin


def as_edited(exchange: Exchange, origin: Origin) -> Exchange:
    """Return the child itself, its chat read again where a plugin has edited `request.fields`.

    A child is sent as the chat it was made of, which says more than any dialect; an edit must not be lost for that.
    Raises: BadRequest when what the edit left cannot be read.
    """
    fields = exchange.request.members
    if fields is not None and exchange.chat is origin.chat and fields != origin.fields:
        exchange.chat = exchange.dialect.parse_request(msgspec.json.encode(fields))
    return exchange
