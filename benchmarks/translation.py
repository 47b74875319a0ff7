"""What a Messages client must get for the mock's chat answers: the dialects' own words, so that no byte goes unchecked.

An answer's id is new each time and taken out before bytes are compared; the rest is the same every time.
"""

from __future__ import annotations

import re
from functools import cache

from gateway.dialects.protocol import AnswerContext
from gateway.dialects.table import DIALECTS

UPSTREAM = DIALECTS["openai_chat"]
_ID = re.compile(rb'"(msg_)[0-9a-f]{32}"')


def translated_plain(body: bytes, client: str, model: str) -> bytes:
    """Return a chat completion as a client of dialect `client` that asked for `model` gets it."""
    return DIALECTS[client].render_reply(UPSTREAM.parse_reply(body), _context(model))


@cache
def translated_stream(body: bytes, client: str, model: str) -> bytes:
    """Return a whole chat stream likewise."""
    parser, renderer = UPSTREAM.stream_parser(), DIALECTS[client].stream_renderer(_context(model))
    events = [*parser.feed(body), *parser.end()]
    return b"".join([*map(renderer.render, events), renderer.end()])


def without_id(body: bytes) -> bytes:
    """Return a Messages answer with its id as short as the answers above have it."""
    return _ID.sub(rb'"\1"', body, count=1)


def _context(model: str) -> AnswerContext:
    return AnswerContext(id="", model=model, now_s=0.0)
