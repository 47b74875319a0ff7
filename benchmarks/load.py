"""The one load generator: raw keep-alive connections, every answer compared byte for byte with what the mock sent.

    python -m benchmarks.load < order.json      runs in a process of its own and prints the outcome as JSON

Any error (a status that is not 200, a byte that differs, a connection that ends) ends the run with a message and
exit 1: a figure from a system that drops answers is worth nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import os
import sys
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from itertools import cycle
from typing import cast

import httptools
import uvloop

from benchmarks.clocks import cpu_ns, machine_busy_s
from benchmarks.scenarios import Scenario
from benchmarks.translation import without_id

SETTLE_S = 0.05  # what a system still does when the last byte has arrived (its log, its pool) belongs to its account
ROUND_LIMIT_S = 120.0


class LoadError(Exception):
    """An answer was wrong or did not come; the run is void."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """One measured round of one scenario. `cpu_ns` is the system's, not the generator's.

    `others` is what the machine did meanwhile for anyone but system, mock and generator, in cores: a machine with
    other work gives figures that are too high, because caches, and often the cores themselves, are shared.
    """

    scenario: str
    exchanges: int
    units: int
    elapsed_s: float
    cpu_ns: int
    p50_us: float
    p99_us: float
    others: float

    @property
    def cpu_us_per_unit(self) -> float:
        return self.cpu_ns / self.units / 1000

    @property
    def exchanges_per_s(self) -> float:
        return self.exchanges / self.elapsed_s


class Phase:
    """One scenario on open connections: who asks next, and how long each took (nanoseconds)."""

    def __init__(self, scenario: Scenario, host: str, loop: asyncio.AbstractEventLoop) -> None:
        self.scenario = scenario
        self.next_turn = cycle(scenario.turns(host)).__next__
        self.translated = scenario.client != "openai_chat"
        self.latencies_ns: list[int] = []
        self.over: asyncio.Future[None] = loop.create_future()
        self._loop = loop
        self._left = scenario.exchanges
        self._idle: deque[Line] = deque()
        self._late: deque[int] = deque()

    async def run(self, lines: list[Line]) -> None:
        """Return when every exchange was answered. Raises: LoadError."""
        for line in lines:
            line.phase = self
        with contextlib.ExitStack() as stack:
            if self.scenario.rate_per_s:
                self._idle.extend(lines)
                self._begun_at_s, self._due = self._loop.time(), 0
                self._ask_when_due()
            else:
                # Streams that began in the same instant would send every event in the same instant.
                apart_s = self.scenario.pace_ms / 1000 / len(lines)
                for number, line in enumerate(lines):
                    handle = self._loop.call_later(number * apart_s, self._ask_again, line)
                    stack.callback(handle.cancel)
            try:
                await asyncio.wait_for(self.over, ROUND_LIMIT_S)
            except TimeoutError:
                done, asked = len(self.latencies_ns), self.scenario.exchanges
                raise LoadError(f"{done} of {asked} answers after {ROUND_LIMIT_S:.0f} s") from None

    def _ask_again(self, line: Line) -> None:
        if self._left:
            self._left -= 1
            line.ask(time.perf_counter_ns())

    def _ask_when_due(self) -> None:
        """Send one request now, come back for the next; without a free connection it waits, and its latency counts."""
        if self.over.done():
            return
        self._left -= 1
        self._due += 1
        if self._idle:
            self._idle.popleft().ask(time.perf_counter_ns())
        else:
            self._late.append(time.perf_counter_ns())
        if self._left:
            self._loop.call_at(self._begun_at_s + self._due / self.scenario.rate_per_s, self._ask_when_due)

    def answered(self, line: Line, took_ns: int) -> None:
        self.latencies_ns.append(took_ns)
        if len(self.latencies_ns) == self.scenario.exchanges:
            self.over.set_result(None)
        elif not self.scenario.rate_per_s:
            self._ask_again(line)
        elif self._late:
            line.ask(self._late.popleft())
        else:
            self._idle.append(line)

    def fail(self, message: str) -> None:
        if not self.over.done():
            self.over.set_exception(LoadError(message))


class Line(asyncio.Protocol):
    """One connection to the system under test, one exchange at a time."""

    phase: Phase

    def __init__(self) -> None:
        self._pieces: list[bytes] = []
        self.on_body = self._pieces.append  # the parser looks its callbacks up when it is made
        self._parser = httptools.HttpResponseParser(self)
        self._asked_at_ns = 0
        self._answer = b""
        self._closing = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def ask(self, due_ns: int) -> None:
        """Send the phase's request; its latency counts from `due_ns`."""
        self._asked_at_ns = due_ns
        request, self._answer = self.phase.next_turn()
        self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            self.phase.fail(f"the answer is not HTTP: {error!r}: {data[:200]!r}")

    def on_message_complete(self) -> None:
        took_ns = time.perf_counter_ns() - self._asked_at_ns
        pieces, phase = self._pieces, self.phase
        body = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        if phase.translated:
            body = without_id(body)
        pieces.clear()
        status = self._parser.get_status_code()
        if status != 200 or not phase.scenario.is_right(body, self._answer):
            sizes = f"{len(body)} bytes where {len(self._answer)} were sent"
            phase.fail(f"{phase.scenario.name}: status {status}, {sizes}: {difference(body, self._answer)}")
        else:
            phase.answered(self, took_ns)

    def connection_lost(self, exc: Exception | None) -> None:
        if not self._closing:
            self.phase.fail(f"{self.phase.scenario.name}: the connection was closed: {exc!r}")

    def close(self) -> None:
        self._closing = True
        self._transport.close()


def difference(got: bytes, expected: bytes) -> str:
    """Return the place where `got` leaves `expected`, with a little of both."""
    at = next((n for n, (a, b) in enumerate(zip(got, expected, strict=False)) if a != b), min(len(got), len(expected)))
    return f"from byte {at}: {got[at : at + 160]!r} instead of {expected[at : at + 80]!r}"


def percentile(values: Sequence[float], share: float) -> float:
    """Return the value below which `share` of all lie."""
    return float(sorted(values)[min(len(values) - 1, int(len(values) * share))])


async def measure(scenario: Scenario, host: str, port: int, pids: list[int], mock_pid: int) -> Outcome:
    """Run `scenario` once against a system and charge it the CPU of `pids`. Raises: LoadError.

    First every connection makes a few short exchanges, unmeasured: handshakes, pools and caches are not the
    question here.
    """
    loop = asyncio.get_running_loop()
    warm_up = replace(
        scenario, exchanges=scenario.connections * 4, events=min(scenario.events, 4), pace_ms=0, rate_per_s=0.0
    )
    first = Phase(warm_up, f"{host}:{port}", loop)
    lines: list[Line] = []
    try:
        for _ in range(scenario.connections):
            try:
                _, line = await loop.create_connection(Line, host, port)
            except OSError as error:
                raise LoadError(f"cannot connect to {host}:{port}: {error}") from error
            line.phase = first
            lines.append(line)
        await first.run(lines)
        phase = Phase(scenario, f"{host}:{port}", loop)
        gc.collect()
        gc.disable()
        await asyncio.sleep(SETTLE_S)
        crew = {*pids, mock_pid, os.getpid()}
        others_before_s = machine_busy_s() - cpu_ns(crew) / 1e9
        cpu_before, began_ns = cpu_ns(pids), time.perf_counter_ns()
        await phase.run(lines)
        elapsed_s = (time.perf_counter_ns() - began_ns) / 1e9
        await asyncio.sleep(SETTLE_S)
        used_ns = cpu_ns(pids) - cpu_before
        others_s = machine_busy_s() - cpu_ns(crew) / 1e9 - others_before_s
    finally:
        gc.enable()
        for line in lines:
            line.close()
    p50, p99 = (percentile(phase.latencies_ns, share) / 1000 for share in (0.5, 0.99))
    others = max(0.0, others_s) / (elapsed_s + SETTLE_S)
    return Outcome(scenario.name, scenario.exchanges, scenario.units, elapsed_s, used_ns, p50, p99, others)


def main() -> None:
    order = json.load(sys.stdin)
    try:
        asked = order.pop("scenario")
        scenario = Scenario(**{**asked, "headers": tuple((name, value) for name, value in asked["headers"])})
        outcome = uvloop.run(measure(scenario, **order))
    except LoadError as error:
        sys.exit(str(error))
    json.dump(asdict(outcome), sys.stdout)


if __name__ == "__main__":
    main()
