"""However an exchange ends, it leaves one row, with what it used and what that costs."""

from __future__ import annotations

import asyncio
import random

from gateway.testing import ScriptedUpstream, running_gateway
from tests.accounting.endings import ENDINGS, PRICES, answer, config, end, rows_of, wrong

DIALECTS = ("openai", "anthropic", "responses", "ollama")


async def all_end(asked: list[tuple[str, str]], at_once: int) -> None:
    """Let every client ask for its model and end; each must leave one row, and the right one."""
    crowd = asyncio.Semaphore(at_once)

    async def one(number: int) -> None:
        async with crowd:
            client, model = asked[number]
            await end(gateway, client, model, f"r{number}")

    async with ScriptedUpstream(answer) as upstream:
        async with running_gateway(config(upstream.url), files=PRICES, log_level="error") as gateway:
            await asyncio.gather(*(one(number) for number in range(len(asked))))
            rows = await rows_of(gateway)
    found = {row.request_id: row for row in rows}
    assert len(rows) == len(found) == len(asked)
    assert len({row.exchange_id for row in rows}) == len(rows)
    assert [told for n, (client, model) in enumerate(asked) if (told := wrong(found[f"r{n}"], client, model))] == []


async def test_every_ending_is_accounted_for() -> None:
    await all_end([(client, f"{up}-{ending}") for client in DIALECTS for up in DIALECTS for ending in ENDINGS], 240)


async def test_a_thousand_mixed_endings_leave_a_thousand_rows() -> None:
    dice = random.Random(5)
    asked = [(dice.choice(DIALECTS), f"{dice.choice(DIALECTS)}-{dice.choice(list(ENDINGS))}") for _ in range(1000)]
    await all_end(asked, 100)
