"""The shortest way: a plain request whose target speaks the client's dialect, asked on a kept connection and answered
whole, both under heads that came before.

Nothing here decides anything that the long way (`send`, `answer`) would decide otherwise. It asks in one go what that
asks step by step; as soon as one answer is not the one that it nearly always is, the long way goes on from there.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from gateway.attempts.answer import Sent
from gateway.attempts.outgoing import native_body
from gateway.attempts.prepared import Preparing
from gateway.errors import UpstreamError
from gateway.exchange import Attempt, Reply
from gateway.relay.passing import Passing
from gateway.upstream.direct import ONE_WRITE_BYTES, Call, DirectTransport
from gateway.upstream.transport import UpstreamRequest

if TYPE_CHECKING:
    from gateway.upstream.keys import Keys
    from gateway.upstream.provider import Provider
    from gateway.upstream.transport import UpstreamResponse

Judge = Callable[[Attempt, Sent, "Keys | None", int, "UpstreamResponse"], Awaitable[Reply]]
Long = Callable[[Attempt, "Provider", "Keys | None"], Awaitable[Reply]]


class Short:
    """The short way of one route's attempts. `long` is the long way, `judge` how that goes on with an answer whose head
    has come."""

    __slots__ = ("_judge", "_long", "_written")

    def __init__(self, preparing: Preparing, long: Long, judge: Judge) -> None:
        self._written, self._long, self._judge = preparing.written, long, judge

    def answer(self, attempt: Attempt, provider: Provider, keys: Keys | None) -> Awaitable[Reply] | None:
        """Return the answer to come, None where the request has to go the long way."""
        exchange = attempt.exchange
        request = exchange.request
        if request.stream or exchange.observers or exchange.transforms or exchange.error is not None:
            return None
        written = self._written(attempt, provider, 0)
        if written is None or not written.is_short or exchange.origin is not None or (keys and keys.any_rests):
            return None
        body = native_body(attempt)
        head = written.head(exchange.id, len(body))
        if head is None or len(body) > ONE_WRITE_BYTES:
            return None
        return self._ask(attempt, provider, keys, head, body)

    async def _ask(self, attempt: Attempt, provider: Provider, keys: Keys | None, head: bytes, body: bytes) -> Reply:
        exchange = attempt.exchange
        transport: DirectTransport = provider.transport  # type: ignore[assignment]  # the only one that is short
        connection = transport.take()
        if connection is None:
            return await self._long(attempt, provider, keys)
        deadline, now = attempt.deadline, exchange.deadline.now
        waiter = connection.ask(head + body, deadline.at)
        attempt.sent_at_s = now()
        error: BaseException | None = None
        try:
            await waiter
        except BaseException as failure:
            error = failure
        answer, passing = connection.head, connection.head.read_as
        if error is None and type(passing) is Passing and passing.is_json and not passing.has_limits:
            said = connection.at_hand()
            if said and exchange.error is None:
                try:
                    usage = exchange.dialect.usage(said)
                except UpstreamError:  # which the long way finds again, and tells
                    usage = None
                if usage is not None:
                    now_s = now()
                    attempt.status = answer.status
                    attempt.usage = exchange.usage = usage
                    attempt.received_at_s = exchange.first_token_at_s = now_s
                    transport.let_go(connection, now_s)
                    return Reply(200, None, said, passing)
        request = UpstreamRequest(
            method="POST",
            path="",
            headers=(),
            body=body,
            connect_s=exchange.timeouts.connect_s,
            head=head,
            is_sent=True,
        )
        call = Call(transport, request, deadline.at)
        try:
            response = call.hold(connection) if error is None else await call.mend(connection, error)
        except BaseException:
            attempt.received_at_s = now()
            error = None  # it holds this frame, and this frame it
            raise
        return await self._judge(attempt, Sent(attempt, provider, exchange.dialect, True, call), keys, 0, response)
