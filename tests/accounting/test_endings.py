"""However an exchange ends, it leaves one row, with what it used and what that costs."""

from __future__ import annotations

import asyncio
import random

import pytest

from gateway.testing import ScriptedUpstream, running_gateway
from tests.accounting.endings import ENDINGS, PRICES, answer, config, end, rows_of, wrong

DIALECTS = ("openai", "anthropic", "responses", "ollama")


@pytest.mark.parametrize("upstream_speaks", DIALECTS)
@pytest.mark.parametrize("client", DIALECTS)
async def test_every_ending_is_accounted_for(client: str, upstream_speaks: str) -> None:
    models = [f"{upstream_speaks}-{ending}" for ending in ENDINGS]
    async with ScriptedUpstream(answer) as upstream, running_gateway(config(upstream.url), files=PRICES) as gateway:
        await asyncio.gather(*(end(gateway, client, model, model) for model in models))
        rows = {row.request_id: row for row in await rows_of(gateway)}
    assert sorted(rows) == sorted(models)
    assert [told for model in models if (told := wrong(rows[model], client, model))] == []


async def test_a_thousand_mixed_endings_leave_a_thousand_rows() -> None:
    dice = random.Random(5)
    asked = [(dice.choice(DIALECTS), f"{dice.choice(DIALECTS)}-{dice.choice(list(ENDINGS))}") for _ in range(1000)]
    crowd = asyncio.Semaphore(64)

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
