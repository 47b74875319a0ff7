"""SIGTERM: nothing is refused while the lame duck lasts; what fits the grace ends whole, the rest is told so."""

from __future__ import annotations

import asyncio
import json
import signal
import time
from collections import Counter

from tests.soak.client import PATHS, Gone, Line, get, request, told
from tests.soak.row import Row, Size, SoakError, pick
from tests.soak.running import Gateway, gateway, home, once, upstream

MARGIN_S = 0.25
"""Requests of the lame duck's last moment are not counted: who asks then may be answered after it."""


async def measure(size: Size) -> list[Row]:
    lame_duck_s, grace_s = pick(size, 1.0, 5.0, 5.0), pick(size, 1.5, 4.0, 30.0)
    count = pick(size, 8, 100, 100)
    drain = f"{{drain: {{lame_duck: {int(lame_duck_s * 1000)}ms, grace: {int(grace_s * 1000)}ms}}}}"
    fits_ms = int((lame_duck_s + grace_s / 3) * 1000)
    async with upstream() as up, gateway(home(up.port, server=drain)) as running:
        # Half of the streams go on past the lame duck and end within the grace; the others never do.
        whole = [asyncio.create_task(_stream(running, f"soak:stream:10:{fits_ms // 10}", n)) for n in range(count)]
        stuck = [asyncio.create_task(_stream(running, "soak:begun", n)) for n in range(count)]
        while await up.count("posts") < 2 * count:
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.1)
        running.process.send_signal(signal.SIGTERM)
        began = time.monotonic()
        asked = asyncio.create_task(_ask_until(running, began + lame_duck_s - MARGIN_S))
        await asyncio.sleep(0.2)
        ready = await once(running.port, get("/ready"))
        if (ready.status, json.loads(ready.body)["status"]) != (503, "not_ready"):
            raise SoakError(f"/ready in the lame duck: {ready.status} {ready.body!r}")
        outcomes = await asked
        code = await running.process.wait()
        took_s = time.monotonic() - began
        endings = [await asyncio.gather(*group) for group in (whole, stuck)]
    refused = sum(outcomes.values()) - outcomes["200"]
    ended, told_so = (Counter(group) for group in endings)
    most_s = lame_duck_s + grace_s + 2
    return [
        Row(
            "SIGTERM: lame duck",
            f"0 refused for {lame_duck_s:g} s",
            f"{refused} of {sum(outcomes.values()):,} new connections {dict(outcomes) if refused else ''}".strip(),
            refused == 0 and outcomes["200"] > 0,
            {"refused": refused, "asked": outcomes["200"]},
        ),
        Row(
            "SIGTERM: streams",
            "those that fit the grace whole, the rest an error event and no success",
            f"{ended['whole']} of {count} whole, {told_so['told']} of {count} told"
            + (f" {dict(ended)} {dict(told_so)}" if (ended["whole"], told_so["told"]) != (count, count) else ""),
            (ended["whole"], told_so["told"]) == (count, count),
            {"whole": ended["whole"], "told": told_so["told"], "count": count},
        ),
        Row(
            "SIGTERM: exit",
            f"code 0 within lame duck + grace + 2 s = {most_s:g} s",
            f"code {code} after {took_s:.2f} s",
            code == 0 and took_s <= most_s,
            {"code": code, "took_s": took_s},
        ),
    ]


async def _stream(running: Gateway, order: str, number: int) -> str:
    path = PATHS[number % len(PATHS)]
    line = await Line.open(running.port)
    try:
        answer = await line.ask(request(order, path, stream=True))
    except Gone as gone:
        return f"cut {told(gone.came, path)}"
    finally:
        line.leave()
    seen = told(answer.body, path)
    if seen.failed:
        return "told" if not seen.succeeded else "told, and ended as a success"
    return "whole" if seen.succeeded and seen.text.endswith("word9 ") else f"neither: {answer.body[-200:]!r}"


async def _ask_until(running: Gateway, until: float) -> Counter[str]:
    """Ask on new connections, as clients do that a balancer still sends here."""
    outcomes: Counter[str] = Counter()
    while time.monotonic() < until:
        try:
            outcomes[str((await once(running.port, request("soak:plain:10"))).status)] += 1
        except (OSError, Gone) as error:
            outcomes[type(error).__name__] += 1
        await asyncio.sleep(0.005)
    return outcomes
