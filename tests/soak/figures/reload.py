"""Reload: nothing fails while the configuration is replaced over and over, one in ten of them invalid.

Sixteen clients ask again as soon as they are answered, each on one connection for as long as it lives, while streams
stand open from before the first reload to after the last. nginx and HAProxy are asked by the same clients.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from tests.soak import peers
from tests.soak.client import Answer, Gone, Line, request, told
from tests.soak.row import Row, Size, SoakError, pick, progress
from tests.soak.running import Gateway, Upstream, gateway, home, upstream

CLIENTS = 16
PEER_RELOADS = {"nginx": 50, "haproxy": 30}
PEER_PAUSE_S = 0.1
STREAM_WORDS = 5
Reload = Callable[[int], Awaitable[None]]


@dataclass(slots=True)
class Tally:
    """What the clients saw. `cut`: asked on an open connection, and it closed without an answer."""

    served: int = 0
    cut: int = 0
    refused: int = 0
    wrong: int = 0
    streams: int = 0
    streams_lost: int = 0
    example: str = ""

    @property
    def failed(self) -> int:
        return self.cut + self.refused + self.wrong


async def press(port: int, up: Upstream, reload: Reload, reloads: int, each: int, streams: int) -> Tally:
    """Reload `reloads` times under load, with `each` requests at least for every one."""
    tally = Tally()
    before = await up.count("held")
    readers = [asyncio.create_task(_stream(port)) for _ in range(streams)]
    while await up.count("held") < before + streams:
        if early := [reader for reader in readers if reader.done()]:
            raise SoakError(f"a stream ended before the first reload: {early[0].result()!r}")
        await asyncio.sleep(0.02)
    over = asyncio.Event()
    clients = [asyncio.create_task(_client(port, tally, over)) for _ in range(CLIENTS)]
    try:
        for number in range(reloads):
            await reload(number)
            while tally.served + tally.failed < (number + 1) * each:
                if done := [client for client in clients if client.done()]:
                    done[0].result()
                await asyncio.sleep(0.002)
            if number % 100 == 99:
                progress(f"{number + 1} reloads, {tally.served:,} requests, {tally.failed} failed")
        over.set()
        await asyncio.gather(*clients)
        await up.tell("/release")
        for reader in readers:
            answer = await reader
            seen = told(answer.body, "/v1/chat/completions") if answer is not None and answer.status == 200 else None
            whole = seen is not None and seen.succeeded and not seen.failed and seen.text.split()[-1] == "word4"
            tally.streams += whole
            tally.streams_lost += not whole
    finally:
        for task in (*clients, *readers):
            task.cancel()
    return tally


async def _stream(port: int) -> Answer | None:
    line = await Line.open(port)
    try:
        return await line.ask(request(f"soak:held:{STREAM_WORDS}", stream=True))
    except Gone:
        return None
    finally:
        line.leave()


async def _client(port: int, tally: Tally, over: asyncio.Event) -> None:
    data = request("soak:plain:500")
    line: Line | None = None
    while not over.is_set():
        try:
            # A connection that the server closed between two requests is nobody's failure, when that is seen in time.
            if line is None or line.reader.at_eof():
                line = await Line.open(port)
        except OSError as error:
            tally.refused += 1
            tally.example = tally.example or f"refused: {error}"
            await asyncio.sleep(0.01)
            continue
        try:
            answer = await line.ask(data)
        except (Gone, OSError) as error:
            tally.cut += 1
            tally.example = tally.example or f"cut: {error}"
            line = None
            continue
        if answer.status == 200:
            tally.served += 1
        else:
            tally.wrong += 1
            tally.example = tally.example or f"{answer.status}: {answer.body[:200]!r}"
        if answer.headers.get("connection", "").lower() == "close":
            line.leave()
            line = None
    if line is not None:
        line.leave()


def reloading(running: Gateway, port: int) -> Reload:
    """Return what replaces the gateway's file and has it read; every tenth file is wrong, and must be refused."""

    async def reload(number: int) -> None:
        broken = number % 10 == 9
        target = "nobody/*" if broken else "up/*"
        running.write(home(port, routes=f'  - {{name: r{number}, match: {{model: r{number}}}, targets: ["{target}"]}}'))
        status, said = await running.admin("POST", "/api/reload")
        if status != (400 if broken else 200):
            raise SoakError(f"reload {number} was answered {status}: {said}")

    return reload


async def measure(size: Size) -> list[Row]:
    reloads = pick(size, 20, 1000, 1000)
    each, streams = pick(size, 10, 20, 200), pick(size, 10, 200, 200)
    async with upstream() as up:
        async with gateway(home(up.port), admin=True) as running:
            tally = await press(running.port, up, reloading(running, up.port), reloads, each, streams)
            status = (await running.admin("GET", "/api/status"))[1]
        if status["reloads"] != reloads - reloads // 10:
            raise SoakError(f"{status['reloads']} reloads took place of {reloads}")
        rows = [
            Row(
                "reload",
                f"0 failed requests, 0 of {streams} open streams, over 1,000 reloads, one in ten invalid",
                f"{tally.failed} of {tally.served + tally.failed:,} requests, {tally.streams_lost} of {streams} streams, "
                f"over {reloads:,} reloads" + (f" ({tally.example})" if tally.example else ""),
                tally.failed == 0 and tally.streams_lost == 0,
                {"failed": tally.failed, "served": tally.served, "streams_lost": tally.streams_lost},
            )
        ]
        if size != "tiny":
            rows += [await _peer(name, up, streams) for name in PEER_RELOADS]
    return rows


async def _peer(name: str, up: Upstream, streams: int) -> Row:
    promise, shown = f"reload: {name}, the same test", {"nginx": "nginx", "haproxy": "HAProxy"}[name]
    if peers.program(name) is None:
        progress(f"{shown} IS NOT INSTALLED: it is missing from the comparison")
        return Row(promise, "for comparison", f"{shown} is not installed", None)
    progress(f"the same test on {shown}")
    async with peers.peer(name, up.port) as running:

        async def reload(number: int) -> None:
            await running.reload()
            await asyncio.sleep(PEER_PAUSE_S)

        tally = await press(running.port, up, reload, PEER_RELOADS[name], 200, streams)
    return Row(
        promise,
        "for comparison",
        f"{tally.failed} of {tally.served + tally.failed:,} requests ({tally.cut} cut, {tally.refused} refused, "
        f"{tally.wrong} answered with an error), {tally.streams_lost} of {streams} streams, over {PEER_RELOADS[name]} reloads",
        None,
        {"failed": tally.failed, "served": tally.served, "streams_lost": tally.streams_lost},
    )
