"""How long each plugin takes on the way down: what a chain notes, what the dashboard is told, what a row keeps."""

from __future__ import annotations

import asyncio
from typing import Any

from gateway.runtime.plugin_times import ALL_OF_THE_FIRST, EVERY, merged
from gateway.testing import ManualClock, RunningGateway, running_gateway
from tests.tracing.kit import CHAT, asked

SLOW = """
from gateway.plugin import Plugin, Principal, Reply
class Slow(Plugin):
    options_schema = {"type": "object", "properties": {"s": {"type": "number", "default": 0}, "answers": {}, "again": {}}}
    async def handle(self, exchange, call_next):
        self.services.clock.advance(self.options["s"])
        if self.options.get("answers"):
            return Reply(200, {}, b"{}")
        if self.options.get("again"):
            await call_next(exchange)
        try:
            return await call_next(exchange)
        finally:
            self.services.clock.advance(5)
"""
KNOWS = """
from gateway.plugin import Plugin, Principal
class Knows(Plugin):
    async def identify(self, request):
        self.services.clock.advance(0.002)
        return Principal("somebody")
"""
FILES = {"one": SLOW, "two": SLOW.replace("Slow", "Two"), "three": SLOW.replace("Slow", "Three"), "knows": KNOWS}
CONFIG = """
{admin}
ledger: sqlite:rows.db
plugins: [knows, {{one: {{s: 0.25}}}}, {{two: {{s: {two}{more}}}}}]
providers: {{echo: {{}}}}
routes:
  - {{name: plain, match: {{model: m}}, targets: ["echo/*"]}}
  - {{name: own, match: {{model: o}}, targets: ["echo/*"], plugins: [{{three: {{s: 0.5}}}}]}}
"""


def config(two: float = 0.003, more: str = "", admin: str = "") -> str:
    return CONFIG.format(two=two, more=more, admin=admin)


def clock() -> ManualClock:
    return ManualClock(monotonic=asyncio.get_running_loop().time())


async def times(gateway: RunningGateway) -> dict[str, Any]:
    await gateway.settled()
    return merged(await gateway.core.group.gather("plugin_times"))


async def plugins_of_rows(gateway: RunningGateway) -> list[dict[str, float]]:
    await gateway.settled()
    ledger = gateway.core.snapshot.ledger
    assert ledger is not None
    await ledger.flush()
    found = sorted(await ledger.rows(), key=lambda row: row.ts)
    return [each["ms"] for row in found for each in row.tries if each.get("kind") == "plugins"]


async def test_a_plugins_time_is_what_it_takes_until_it_calls_next() -> None:
    async with running_gateway(config(), plugins=FILES, clock=clock()) as gateway:
        for model in ("m", "o", "m"):
            assert (await gateway.post(CHAT, asked(model))).status == 200
        assert await times(gateway) == {
            "plain": {"identify": (2, 4.0, 2.0), "one": (2, 500.0, 250.0), "two": (2, 6.0, 3.0)},
            "own": {"identify": (1, 2.0, 2.0), "one": (1, 250.0, 250.0), "two": (1, 3.0, 3.0), "three": (1, 500.0, 500.0)},
        }  # fmt: skip
        rows = await plugins_of_rows(gateway)
        assert rows[0] == {"identify": 2.0, "one": 250.0, "two": 3.0}
        assert rows[1] == {"identify": 2.0, "one": 250.0, "two": 3.0, "three": 500.0}


async def test_a_row_keeps_no_plugin_that_took_less_than_a_twentieth_of_a_millisecond() -> None:
    async with running_gateway(config(two=0.00004), plugins=FILES, clock=clock()) as gateway:
        await gateway.post(CHAT, asked())
        assert await plugins_of_rows(gateway) == [{"identify": 2.0, "one": 250.0}]


async def test_one_that_answers_itself_has_no_time_and_those_further_in_neither() -> None:
    async with running_gateway(config(more=", answers: true"), plugins=FILES, clock=clock()) as gateway:
        await gateway.post(CHAT, asked("o"))
        assert await times(gateway) == {"own": {"identify": (1, 2.0, 2.0), "one": (1, 250.0, 250.0)}}


async def test_going_down_a_second_time_counts_nothing() -> None:
    async with running_gateway(config(more=", again: true"), plugins=FILES, clock=clock()) as gateway:
        await gateway.post(CHAT, asked("o"))
        found = (await times(gateway))["own"]
    assert (found["two"], found["three"]) == ((1, 3.0, 3.0), (1, 500.0, 500.0))


async def test_without_an_admin_listener_nothing_is_noted() -> None:
    async with running_gateway(config(admin="admin: {listen: off}"), plugins=FILES, clock=clock()) as gateway:
        await gateway.post(CHAT, asked())
        assert await times(gateway) == {}
        assert await plugins_of_rows(gateway) == []


async def test_numbers_outlive_a_reload() -> None:
    async with running_gateway(config(), plugins=FILES, clock=clock()) as gateway:
        await gateway.post(CHAT, asked())
        gateway.configure(config(two=0.005))
        await gateway.reloader.reload("test")
        await gateway.post(CHAT, asked())
        assert (await times(gateway))["plain"]["two"] == (2, 8.0, 5.0)


async def test_many_quick_ones_are_added_up_from_a_few_of_them() -> None:
    quick = "plugins: [{one: {s: 0.0001}}]\nproviders: {echo: {}}\nroutes: [{name: all, targets: ['echo/*']}]"
    count = ALL_OF_THE_FIRST + 2 * EVERY
    async with running_gateway(quick, plugins=FILES, clock=clock(), log_level="warning") as gateway:
        for _ in range(count):
            await gateway.post(CHAT, asked())
        assert await times(gateway) == {"all": {"one": (count, round(count * 0.1, 3), 0.1)}}


def test_processes_are_told_together() -> None:
    one = {"r": {"auth": (2, 4.0, 3.0)}}
    other = {"r": {"auth": (1, 1.0, 1.0), "cache": (1, 2.0, 2.0)}, "s": {"auth": (1, 1.0, 1.0)}}
    assert merged([one, other]) == {
        "r": {"auth": (3, 5.0, 3.0), "cache": (1, 2.0, 2.0)}, "s": {"auth": (1, 1.0, 1.0)}
    }  # fmt: skip
