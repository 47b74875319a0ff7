"""What a Messages client must get for the mock's chat answers: the dialects' own words, so that no byte goes unchecked.

The client names the request's id, which the answer's ids are made of; the rest of an answer is the same every time.
"""

from __future__ import annotations

from functools import cache

from gateway.dialects.protocol import AnswerContext
from gateway.dialects.table import DIALECTS

REQUEST_ID = "bench-0000000000000000"
UPSTREAM = DIALECTS["openai_chat"]


def translated_plain(body: bytes, client: str, model: str) -> bytes:
    """Return a chat completion as a client of dialect `client` that asked for `model` gets it."""
    return DIALECTS[client].render_reply(UPSTREAM.parse_reply(body), _context(model))


@cache
def translated_stream(body: bytes, client: str, model: str) -> bytes:
    """Return a whole chat stream likewise."""
    parser, renderer = UPSTREAM.stream_parser(), DIALECTS[client].stream_renderer(_context(model))
    events = [*parser.feed(body), *parser.end()]
    return b"".join([*map(renderer.render, events), renderer.end()])


def _context(model: str) -> AnswerContext:
    return AnswerContext(id=REQUEST_ID, model=model, now_s=0.0)
