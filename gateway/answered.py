"""An answer that a plugin gives itself: in the client's dialect, plain or as a whole stream."""

from __future__ import annotations

from hashlib import sha256

from gateway.chat import ChatReply
from gateway.dialects.protocol import AnswerContext
from gateway.exchange import Exchange, Reply, Whole
from gateway.fold import events_of


def answer(exchange: Exchange, reply: ChatReply, now_s: float) -> Reply:
    """Return `reply` as the client asked for it; observers see its events. `now_s` is Unix time.

    Raises: BadRequest when the request cannot be read.
    """
    dialect = exchange.dialect
    show = exchange.route.chain.watcher(exchange) if exchange.route is not None and exchange.route.chain else None
    events = events_of(reply) if show is not None or exchange.request.stream else []
    if show is not None:
        for event in events:
            show(event)
    if exchange.origin is not None:
        return Reply(200, {}, Whole(reply))
    context = context_of(exchange, now_s)
    if not exchange.request.stream:
        return Reply(200, {"content-type": "application/json"}, dialect.render_reply(reply, context))
    renderer = dialect.stream_renderer(context)
    body = b"".join([*(renderer.render(event) for event in events), renderer.end(context.duration_ns)])
    return Reply(200, {"content-type": dialect.stream_type}, body)


def context_of(exchange: Exchange, now_s: float) -> AnswerContext:
    """Return what the client's dialect must know to write an answer of the gateway's own. Raises: BadRequest."""
    return AnswerContext(
        # Ids of items must differ from request to request, also where a client gives every request the same id.
        id=sha256(f"{exchange.id} {exchange.started_at_s}".encode()).hexdigest()[:32],
        model=exchange.request.model,
        now_s=now_s,
        request=exchange.chat,
        duration_ns=int((exchange.deadline.now() - exchange.started_at_s) * 1e9),
    )
