"""What /metrics answers: to whom, in which form, under which names, and never too much."""

from __future__ import annotations

import asyncio
import random
import string
from pathlib import Path
from typing import Any

import pytest
from multidict import CIMultiDict, CIMultiDictProxy

from gateway.dialects.endpoints import find
from gateway.dialects.table import DIALECTS
from gateway.errors import ConfigErrors, UpstreamError
from gateway.exchange import Attempt, ClientRequest, Deadline, Exchange
from gateway.route import Match, Route, Target
from gateway.runtime.group import Group, added
from gateway.testing import RunningGateway, running_gateway
from gateway.upstream.health import TargetHealth
from gateway.upstream.provider import Provider
from tests.auth.conftest import bearer, entry
from tests.metrics.kit import ASKED, CHAT, PREFIX, Numbers, numbers, scrape

HOME = """
    plugins: [%s]
    providers: {echo: {}}
    routes: [{name: echo, match: {model: echo}, targets: [echo/echo]}]
"""
AUTH = "{auth: {anonymous: never, keys: [%s]}}" % entry("team", "key-of-the-team")  # noqa: UP031  (braces)
MOST = 2000


@pytest.mark.parametrize(
    ("chain", "without", "with_key"),
    [
        (f"metrics, {AUTH}", 200, 200),
        (f"{AUTH}, metrics", 200, 200),
        (f"{{metrics: {{public: false}}}}, {AUTH}", 401, 200),
        (f"{AUTH}, {{metrics: {{public: false}}}}", 401, 200),
    ],
)
async def test_a_key_is_needed_when_it_is_not_public_wherever_auth_stands(
    chain: str, without: int, with_key: int
) -> None:
    async with running_gateway(HOME % chain) as gateway:
        assert (await gateway.get("/metrics")).status == without
        assert (await gateway.get("/metrics/")).status == without
        assert (await gateway.get("/metrics", bearer("key-of-the-team"))).status == with_key
        assert (await gateway.get("/metrics", bearer("wrong"))).status == without
        assert (await gateway.post(CHAT, ASKED)).status == 401


async def test_what_is_not_public_needs_a_plugin_that_says_who_asks() -> None:
    with pytest.raises(ConfigErrors) as refused:
        async with running_gateway(HOME % "{metrics: {public: false}}"):
            pass
    (error,) = refused.value.errors
    assert (error.line, error.problem) == (3, '"metrics" is not public, and no plugin says who is asking')


async def test_who_may_scrape_is_not_a_routes_business() -> None:
    text = (HOME % "metrics").replace(
        "targets: [echo/echo]", "targets: [echo/echo], plugins: [{metrics: {public: false}}]"
    )
    with pytest.raises(ConfigErrors) as refused:
        async with running_gateway(text):
            pass
    (error,) = refused.value.errors
    assert error.problem == 'who may use the paths of "metrics" is not a route\'s business: they belong to none'


async def test_a_route_may_be_left_out_of_the_numbers() -> None:
    text = (HOME % "metrics").replace("targets: [echo/echo]", "targets: [echo/echo], plugins: [{metrics: off}]")
    async with running_gateway(text) as gateway:
        assert (await gateway.post(CHAT, ASKED)).status == 200
        told = await scrape(gateway)
    assert told.of("requests_total") == told.of("attempts_total") == 0


async def test_without_the_plugin_there_is_nothing_at_its_path() -> None:
    async with running_gateway(HOME % "request_id") as gateway:
        assert (await gateway.get("/metrics")).status == 404


async def test_a_scrape_is_never_limited() -> None:
    limit = "{rate_limit: {limits: [{per: ip, requests: 1/day}]}}, metrics"
    async with running_gateway(HOME % limit) as gateway:
        assert [(await gateway.post(CHAT, ASKED)).status for _ in range(2)] == [200, 429]
        assert {(await gateway.get("/metrics")).status for _ in range(3)} == {200}


async def test_the_form_is_text_and_openmetrics_when_it_is_asked_for() -> None:
    async with running_gateway(HOME % "metrics") as gateway:
        await gateway.post(CHAT, {**ASKED, "stream": True})
        await gateway.settled()
        text = await gateway.get("/metrics")
        accept = "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.3,*/*;q=0.1"
        other = await gateway.get("/metrics", {"accept": accept})
        head = await gateway.request("HEAD", "/metrics")
    assert text.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert other.headers["content-type"].startswith("application/openmetrics-text; version=1.0.0")
    assert other.body.endswith(b"# EOF\n")
    plain, openmetrics = numbers(text), Numbers(other.body.decode(), openmetrics=True)
    assert plain.of("requests_total", route="echo") == openmetrics.of("requests_total", route="echo") == 1
    assert (head.status, head.body) == (200, b"")


async def test_scrapes_at_once_do_not_meet() -> None:
    async with running_gateway(HOME % "metrics") as gateway:
        await gateway.post(CHAT, ASKED)
        await gateway.settled()
        told = await asyncio.gather(*(gateway.get("/metrics") for _ in range(20)))
    assert {numbers(each).of("requests_total", route="echo") for each in told} == {1}


async def test_a_reload_keeps_the_numbers_and_is_counted() -> None:
    async with running_gateway(HOME % "metrics") as gateway:
        await gateway.post(CHAT, ASKED)
        before = await scrape(gateway)
        gateway.configure(HOME % "metrics, request_id")
        await gateway.reloader.reload("test")
        gateway.configure(HOME % "metrics, nonsense")
        with pytest.raises(ConfigErrors):
            await gateway.reloader.reload("test")
        await gateway.post(CHAT, ASKED)
        after = await scrape(gateway)
        digest = gateway.core.snapshot.digest
    assert after.of("requests_total", route="echo") == before.of("requests_total", route="echo") + 1 == 2
    assert before.by("config_reloads_total", "result") == {"ok": 0, "failed": 0}
    assert after.by("config_reloads_total", "result") == {"ok": 1, "failed": 1}
    assert after.by("config_info", "digest") == {digest: 1}
    assert before.by("config_info", "digest") != {digest: 1}


def word(dice: random.Random) -> str:
    return "".join(dice.choices(string.ascii_letters + "/-._%", k=12))


async def ask_oddly(gateway: RunningGateway, dice: random.Random) -> None:
    """Ask for what nobody has heard of: path, method, model, headers."""
    kind = dice.randrange(4)
    headers = {f"x-{dice.randrange(10**9)}": "1", "x-session-id": word(dice), "x-request-id": str(dice.random())}
    if kind == 0:
        await gateway.post(CHAT, {**ASKED, "model": word(dice)}, headers=headers)
    elif kind == 1:
        await gateway.post(
            "/v1/images/" + word(dice).replace("%", "").strip("/."), {"model": word(dice)}, headers=headers
        )
    elif kind == 2:
        await gateway.request("M" + str(dice.randrange(10**6)), "/" + word(dice).replace("%", ""), headers=headers)
    else:
        await gateway.post(CHAT, ASKED, headers={**headers, "authorization": f"Bearer {word(dice)}"})


async def test_what_clients_make_up_makes_no_series() -> None:
    dice = random.Random(4)
    async with running_gateway(HOME % "metrics", log_level="critical") as gateway:
        for _ in range(4):
            await asyncio.gather(*(ask_oddly(gateway, dice) for _ in range(25)))
        some = await scrape(gateway)
        for _ in range(20):
            await asyncio.gather(*(ask_oddly(gateway, dice) for _ in range(50)))
        many = await scrape(gateway)
    assert len(many.samples) - len(some.samples) <= 4
    assert sum(many.by("requests_total", "status").values()) == 1101  # and the scrape before
    assert set(many.by("requests_total", "endpoint")) <= {"chat_completions", "other", "metrics"}
    assert set(many.by("requests_total", "method")) <= {"GET", "POST", "other"}


def exchange_of(dice: random.Random) -> Exchange:
    """Return an exchange that has ended, of a configuration as large as it may be and clients as odd as they like."""
    request = ClientRequest(dice.choice(["GET", "POST", "PUT", word(dice)]), "/" + word(dice), "", NO_HEADERS)
    request.endpoint = find("/v1/images/" + word(dice).replace("%", "").replace("/", "")) or find("/v1/messages")
    request.model, request.stream = word(dice), True
    exchange = Exchange(word(dice), request, DIALECTS["openai_chat"], Deadline(0.0, 1.0, lambda: 0.0), 0.0)
    provider = Provider(f"p{dice.randrange(300)}", "openai", "", "", None, ())  # type: ignore[arg-type]
    target = Target(provider, f"m{dice.randrange(300)}")
    exchange.outcome = dice.choice(["completed", "failed", "disconnected"])
    exchange.first_token_at_s, exchange.ended_at_s = dice.random(), dice.random()
    exchange.notes["limited"] = f"header:{word(dice)}"
    exchange.error = UpstreamError(dice.choice(["connect", "timeout", "status", "broken", "truncated"]), "no")
    attempt = Attempt(exchange, target, 1, 0.0, TargetHealth(target.name, lambda: 0.0))
    attempt.sent_at_s, attempt.received_at_s, attempt.error = 0.0, dice.random(), exchange.error
    exchange.attempts.append(attempt)
    return exchange


ROUTES = [Route(f"r{number}", Match(), ()) for number in range(1000)]
NO_HEADERS = CIMultiDictProxy(CIMultiDict[str]())


async def driven(gateway: RunningGateway, dice: random.Random, requests: int) -> None:
    """Let the plugin see so many ends."""
    (plugin,) = gateway.core.snapshot.plugins
    for _ in range(requests // 20):
        exchange = exchange_of(dice)
        for _ in range(20):
            exchange.status, exchange.route = dice.randrange(100, 600), dice.choice(ROUTES)
            plugin.finish(exchange)


EVERY_REQUEST = (
    "requests_total", "attempts_total", "provider_requests_total", "provider_errors_total", "request_duration_seconds_count",
    "overhead_seconds_count", "time_to_first_token_seconds_count", "provider_latency_seconds_count", "fallbacks_total",
)  # fmt: skip
MANY = "plugins: [metrics]\nproviders: {echo: {}}\nroutes: [%s]" % ", ".join(  # noqa: UP031  (braces)
    f"{{name: many{n}, targets: [echo/model{n}]}}" for n in range(100)
)


async def test_there_are_never_more_than_two_thousand_series_and_nothing_is_lost() -> None:
    async with running_gateway(MANY) as gateway:
        await driven(gateway, random.Random(1), 100_000)
        told = await scrape(gateway)
    assert 1000 < len(told.samples) <= MOST
    assert [told.of(name) for name in EVERY_REQUEST] == [100_000] * len(EVERY_REQUEST)
    assert len(told.by("circuit_state", "target")) == 41


async def test_workers_that_saw_different_things_make_no_more_series_together() -> None:
    async with running_gateway(MANY) as one, running_gateway(MANY) as other:
        for gateway in (one, other):
            await driven(gateway, random.Random(gateway.url), 4000)
        own = other.core.colleagues.totals()
        (what,) = own
        one.core.colleagues.group = Sums(added(one.core.colleagues.totals()[what], own[what]))
        told = await scrape(one)
    assert 1000 < len(told.samples) <= MOST
    assert [told.of(name) for name in EVERY_REQUEST] == [8000] * len(EVERY_REQUEST)


class Sums(Group):
    """A group that has counted `total`, and of which nobody tells how it is."""

    def __init__(self, total: Any) -> None:
        self._total = total

    async def gather(self, what: str, given: Any = None) -> list[Any]:
        return []

    async def total(self, what: str) -> Any:
        return self._total


def test_the_page_names_what_is_told_and_nothing_else() -> None:
    page = (Path(__file__).parents[2] / "docs" / "metrics.md").read_text("utf-8")
    rows = [line.split("|")[1:3] for line in page.splitlines() if line.startswith("| `")]
    table = {name.strip(" `"): tuple(labels.replace("`", "").replace(",", " ").split()) for name, labels in rows}
    assert table == CONTRACT


CONTRACT: dict[str, tuple[str, ...]] = {
    "requests_total": ("method", "endpoint", "route", "status"),
    "request_duration_seconds": ("route",),
    "overhead_seconds": ("route",),
    "time_to_first_token_seconds": ("provider",),
    "provider_requests_total": ("provider",),
    "provider_latency_seconds": ("provider",),
    "provider_errors_total": ("provider", "kind"),
    "tokens_total": ("provider", "direction"),
    "cost_usd_total": ("provider",),
    "attempts_total": ("target", "outcome"),
    "fallbacks_total": ("route",),
    "circuit_state": ("target",),
    "rate_limited_total": ("limit",),
    "in_flight": (),
    "client_disconnects_total": (),
    "stream_errors_total": ("kind",),
    "config_reloads_total": ("result",),
    "config_info": ("digest",),
    "loop_lag_seconds": (),
    "ledger_rows_total": (),
    "ledger_dropped_total": (),
    "state_errors_total": (),
}


async def test_names_and_kinds_are_the_contracts() -> None:
    async with running_gateway(HOME % "metrics") as gateway:
        told = await scrape(gateway)
    found = {name.removeprefix(PREFIX) for name in told.kinds}
    assert found == {name.removesuffix("_total") for name in CONTRACT}  # the parser takes the ending off
    for name in CONTRACT:
        kind = told.kinds[PREFIX + name.removesuffix("_total")]
        histogram = name.endswith("_seconds") and name != "loop_lag_seconds"
        assert kind == ("counter" if name.endswith("_total") else "histogram" if histogram else "gauge"), name
