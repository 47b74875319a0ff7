"""What holds the event loop is measured, and told with the place that held it."""

from __future__ import annotations

import asyncio
import io
import json
import sys

from gateway.runtime.watchdog import KEPT, Lag, Watchdog, stack_of
from gateway.telemetry import Logger
from gateway.testing import RunningGateway, ScriptedUpstream, running_gateway
from tests.server.conftest import edge_config

BLOCKING = '''
    """Holds the loop for requests that ask for it: what no plugin may do."""
    import time
    from gateway.plugin import Plugin

    class Blocking(Plugin):
        async def handle(self, exchange, call_next):
            self.hold(float(exchange.request.headers.get("x-hold", 0)), "secret-value")
            return await call_next(exchange)

        def hold(self, seconds, value):
            time.sleep(seconds)
'''


async def stalls(gateway: RunningGateway, count: int) -> list[dict[str, object]]:
    async with asyncio.timeout(10):
        while len(found := gateway.events("loop_stalled")) < count:
            await asyncio.sleep(0.01)
    return found


async def test_a_plugin_that_holds_the_loop_is_named_once_in_ten_seconds() -> None:
    async with ScriptedUpstream() as upstream:
        config = edge_config(upstream.url).replace("[request_id,", "[blocking, request_id,")
        async with running_gateway(config, plugins={"blocking": BLOCKING}) as gateway:
            for _ in range(2):
                await gateway.get("/health", {"x-hold": "0.4"})
            (line, *others) = await stalls(gateway, 1)
            turns = len(gateway.core.watchdog._late)
            while len(gateway.core.watchdog._late) < turns + 2:  # by then it would have told of the second
                await asyncio.sleep(0)
            assert not others and len(gateway.events("loop_stalled")) == 1
            assert line["level"] == "warning" and isinstance(line["ms"], int) and line["ms"] >= 200
            stack = line["stack"]
            assert isinstance(stack, list) and stack[0].startswith("blocking.py:hold:")
            assert any(entry.startswith("blocking.py:handle:") for entry in stack)
            text = json.dumps(line)
            assert "/" not in text.replace("/__init__.py", "") and "secret-value" not in text
            assert gateway.core.lag.max_s >= 0.2


async def test_without_a_stall_nothing_is_logged_and_lag_is_known() -> None:
    lines = io.StringIO()
    watchdog = Watchdog(Logger("debug", stream=lines))
    assert watchdog.lag == Lag()
    watchdog.start()
    while not watchdog._late:
        await asyncio.sleep(0.01)
    watchdog.stop()
    watchdog.stop()
    lag = watchdog.lag
    assert 0.0 <= lag.p50_s <= lag.p99_s <= lag.max_s
    assert set(lag.in_ms()) == {"p50", "p99", "max"}
    assert lag.max_s >= 0.1 or not lines.getvalue()


def test_percentiles_are_of_the_last_minute() -> None:
    watchdog = Watchdog(Logger("error"))
    watchdog._late.extend([9.0] * 10)
    watchdog._late.extend(n / 1000 for n in range(KEPT))
    lag = watchdog.lag
    assert (lag.p50_s, lag.p99_s, lag.max_s) == (0.300, 0.594, 0.599)


def test_a_stack_says_file_function_and_line_and_no_path() -> None:
    entry, *callers = stack_of(sys._getframe())
    assert entry.startswith("test_watchdog.py:test_a_stack_says_file_function_and_line_and_no_path:")
    assert callers and not any(entry.startswith("/") for entry in callers)
