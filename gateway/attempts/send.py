"""One try at one target: the request goes out, with each usable key once; `answer` judges what comes back."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from email.utils import formatdate

from gateway.attempts.answer import Answers, Sent
from gateway.attempts.elsewhere import made_here
from gateway.attempts.outgoing import model_for
from gateway.attempts.prepared import Preparing
from gateway.attempts.short import Short
from gateway.chain import Chain
from gateway.errors import UpstreamError
from gateway.exchange import LONG_BYTES, Attempt, Reply, Whole
from gateway.plugin import Clock, Log
from gateway.relay.passing import passing_of
from gateway.secret import Secret
from gateway.upstream.keys import CREDENTIAL_STATUSES, Keys
from gateway.upstream.provider import Provider
from gateway.upstream.repeated import conceal
from gateway.upstream.transport import UpstreamResponse


class Sender:
    """Sends the attempts of one route. `keys` are the providers' credentials, by provider name; `wants_usage` says that
    somebody acts on what streams used, so that it is asked for."""

    def __init__(
        self,
        chain: Chain,
        keys: dict[str, Keys],
        clock: Clock,
        log: Log,
        most_decoded_bytes: int,
        *,
        wants_usage: bool = False,
    ) -> None:
        self._keys, self._clock, self._log = keys, clock, log
        self._tells_steps = log.is_enabled("debug")
        self._preparing = Preparing(log, wants_usage=wants_usage, single_key=self._has_single_key)
        self._answers = Answers(chain, clock, most_decoded_bytes)
        watched = chain.observers or chain.transformers
        self._short = None if self._tells_steps or watched else Short(self._preparing, self._send_long, self.judged)

    def send(self, attempt: Attempt) -> Awaitable[Reply]:
        """Try `attempt.target`, each usable key once. Raises: UpstreamError, GatewayError."""
        provider = attempt.target.provider
        keys = self._keys.get(provider.name)
        if self._short is not None and (answer := self._short.answer(attempt, provider, keys)) is not None:
            return answer
        return self._send_long(attempt, provider, keys)

    def _send_long(self, attempt: Attempt, provider: Provider, keys: Keys | None) -> Awaitable[Reply]:
        if keys is None:
            return self._send_with(attempt, provider, None, 0, None)
        model = model_for(attempt.exchange, attempt.target)
        taken = keys.take(model, attempt.exchange.request)
        assert taken is not None  # rest takes the last one not out
        if len(keys.credentials) == 1:
            return self._send_with(attempt, provider, keys, 0, taken[1])
        return self._send_in_turn(attempt, provider, keys, model, taken)

    async def _send_in_turn(
        self, attempt: Attempt, provider: Provider, keys: Keys, model: str, taken: tuple[int, Secret | None]
    ) -> Reply:
        refused: frozenset[int] = frozenset()
        while True:
            number, key = taken
            try:
                return await self._send_with(attempt, provider, keys, number, key)
            except UpstreamError as error:
                if error.kind != "status" or error.upstream_status not in CREDENTIAL_STATUSES | {429}:
                    raise
                refused |= {number}
                following = keys.take(model, attempt.exchange.request, refused)
                if following is None:
                    raise
                taken = following

    async def _send_with(
        self, attempt: Attempt, provider: Provider, keys: Keys | None, number: int, key: Secret | None
    ) -> Reply:
        exchange = attempt.exchange
        client = exchange.request
        dialect, native = exchange.dialect, True
        request = self._preparing.again(attempt, provider, number)
        if request is None:
            path, native = self._preparing.path(exchange, provider)
            if path is None:
                if len(client.body) > LONG_BYTES:
                    return await asyncio.to_thread(made_here, exchange)
                return made_here(exchange)
            request, dialect = await self._preparing.request(attempt, provider, number, key, path, native=native)
        if self._tells_steps:
            self._log.debug(
                "attempt",
                request_id=exchange.id,
                target=exchange.headers.get("x-gateway-target"),
                attempt=attempt.number,
                method=request.method,
                path=request.path.partition("?")[0],  # SECURITY: some clients put their key into the query
                dialect=dialect.name,
                verbatim=native,
                body_bytes=len(request.body) if isinstance(request.body, bytes) else None,
                remaining_ms=int(attempt.deadline.remaining() * 1000),
            )
        lease = provider.transport.send(request, deadline=attempt.deadline.at)
        now = exchange.deadline.now
        attempt.sent_at_s, attempt.received_at_s = attempt.sent_at_s or now(), None
        try:
            response = await lease.__aenter__()
        except BaseException as error:
            attempt.received_at_s = now()
            if not request.is_sent and not isinstance(error, UpstreamError):
                attempt.sent_at_s = None  # given up before there was a connection
            raise
        return await self.judged(attempt, Sent(attempt, provider, dialect, native, lease), keys, number, response)

    async def judged(
        self, attempt: Attempt, sent: Sent, keys: Keys | None, number: int, response: UpstreamResponse
    ) -> Reply:
        """Return the answer, learning from its head what it says of the key. Raises: UpstreamError."""
        exchange, provider = attempt.exchange, sent.provider
        if self._tells_steps:
            self._log.debug(
                "upstream_head",
                request_id=exchange.id,
                target=exchange.headers.get("x-gateway-target"),
                attempt=attempt.number,
                status=response.status,
                content_type=response.headers.get("content-type"),
            )
        handed_over = False
        try:
            attempt.status = status = response.status
            if status >= 400 and "date" not in response.headers:  # RFC 9110, 6.6.1: the recipient's own is as good
                response.headers["date"] = formatdate(self._clock.time(), usegmt=True)
            head = response.head
            passing = passing_of(head) if head is not None else None
            if keys is not None and (passing is None or passing.has_limits or keys.any_rests):
                model = model_for(exchange, attempt.target)
                pause_s = keys.learn(number, model, status, response.headers, attempt.started_at_s)
                if pause_s:
                    self._note_rest(attempt, status, number, pause_s)
            if sent.native and passing is not None and (reply := self._answers.at_once(attempt, passing, response)):
                return reply
            reply = await self._answers.judge(sent, response)
            handed_over = not isinstance(reply.body, bytes | Whole)
            return reply
        except UpstreamError as error:
            conceal(error, provider, exchange.request.headers)
            raise
        finally:
            if not handed_over:
                attempt.received_at_s = attempt.received_at_s or exchange.deadline.now()
                await sent.lease.__aexit__(None, None, None)

    def _has_single_key(self, provider: str) -> bool:
        keys = self._keys.get(provider)
        return keys is None or len(keys.credentials) == 1

    def _note_rest(self, attempt: Attempt, status: int, number: int, pause_s: float) -> None:
        self._log.warning(
            "key_rests",
            request_id=attempt.exchange.id,
            provider=attempt.target.provider.name,
            key=number + 1,
            upstream_status=status,
            rest_s=round(pause_s, 3),
        )
