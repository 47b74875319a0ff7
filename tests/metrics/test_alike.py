"""Requests that ended alike are added up before they are counted under their labels: the sums are the same."""

from __future__ import annotations

import random
from decimal import Decimal

from multidict import CIMultiDict, CIMultiDictProxy

from gateway.chat import Usage
from gateway.dialects.endpoints import find
from gateway.dialects.table import DIALECTS
from gateway.exchange import Attempt, ClientRequest, Deadline, Exchange
from gateway.route import Match, Route, Target
from gateway.testing import RunningGateway, running_gateway
from gateway.upstream.health import TargetHealth
from gateway.upstream.provider import Provider
from tests.metrics.kit import scrape

HOME = """
plugins: [metrics]
providers: {echo: {}}
routes: [{name: all, targets: ["echo/*"]}]
"""
TARGETS = [Target(Provider(f"p{n % 3}", "openai", "", "", None, ()), f"m{n}") for n in range(8)]  # type: ignore[arg-type]
ROUTES = [Route(f"r{n}", Match(), tuple(TARGETS)) for n in range(8)]


def ended(dice: random.Random) -> Exchange:
    """Return a plain request that came to its end at the first try."""
    request = ClientRequest("POST", "/v1/messages", "", CIMultiDictProxy(CIMultiDict[str]()))
    request.endpoint = find("/v1/messages")
    exchange = Exchange("id", request, DIALECTS["anthropic"], Deadline(0.0, 1.0, lambda: 0.0), 0.0)
    exchange.route, exchange.status, exchange.outcome = dice.choice(ROUTES), dice.randrange(200, 240), "completed"
    exchange.ended_at_s = 0.75
    target = dice.choice(TARGETS)
    attempt = Attempt(exchange, target, 1, 0.0, TargetHealth(target.name, lambda: 0.0))
    attempt.sent_at_s, attempt.received_at_s = 0.25, 0.5
    attempt.usage, attempt.cost_usd = Usage(prompt_tokens=10, completion_tokens=3), Decimal("0.25")
    exchange.attempts.append(attempt)
    return exchange


async def drive(gateway: RunningGateway, dice: random.Random, requests: int) -> None:
    (plugin,) = gateway.core.snapshot.plugins
    for _ in range(requests):
        assert plugin.finish(ended(dice)) is None


async def test_nothing_is_lost_of_more_kinds_than_are_remembered() -> None:
    dice = random.Random(3)
    async with running_gateway(HOME) as gateway:
        for so_far in (5000, 10_000):
            await drive(gateway, dice, 5000)
            told = await scrape(gateway)
            assert told.of("requests_total", method="POST", endpoint="messages") == so_far
            assert told.of("attempts_total", outcome="completed") == so_far
            assert told.of("provider_requests_total") == told.of("provider_latency_seconds_count") == so_far
            assert told.of("request_duration_seconds_count") == told.of("overhead_seconds_count") == so_far
            assert told.of("request_duration_seconds_sum") == 0.75 * so_far
            assert told.of("overhead_seconds_sum") == 0.5 * so_far
            assert told.of("provider_latency_seconds_sum") == told.of("cost_usd_total") == 0.25 * so_far
            assert told.of("tokens_total", direction="input") == 10 * so_far
            assert told.of("tokens_total", direction="output") == 3 * so_far
            assert len(told.by("attempts_total", "target")) == 8
