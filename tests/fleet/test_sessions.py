"""One conversation through two processes loses no turn."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from tests.fleet.kit import Fleet, fleet, write_home
from tests.fleet.upstream import upstream
from tests.state.servers import Servers

TURNS = 100
HOME = """\
version: 1
state: "%s"
server: {workers: %d}
plugins: [{session: {max_messages: 400}}]
providers: {up: {dialect: openai_chat, base_url: "%s", api_key: k}}
routes: [{name: all, targets: ["up/*"]}]
"""


async def begin(gateways: Fleet) -> str:
    url = gateways.next().url + "/v1/sessions"
    async with gateways.session.post(url, json={"context": {"of": "everybody"}}) as answer:
        assert answer.status == 201
        id: str = (await answer.json())["id"]
        return id


async def show(gateways: Fleet, id: str) -> list[dict[str, Any]]:
    """Return its messages, on a connection of its own: any worker may answer."""
    url, close = gateways.next().url + f"/v1/sessions/{id}", {"connection": "close"}
    async with gateways.session.get(url, headers=close) as answer:
        assert answer.status == 200
        told = await answer.json()
        assert told["context"] == {"of": "everybody"}
        messages: list[dict[str, Any]] = told["messages"]
        return messages


async def turn(gateways: Fleet, id: str, number: int) -> None:
    """Speak to the next process; on a connection of its own, so that any worker may take it."""
    how: dict[str, Any] = {"stream": number % 2 == 0, "headers": {"connection": "close"}}
    while (said := await gateways.ask("m", f"turn {number}", session_id=id, **how)).status == 503:
        assert "state_unavailable" in said.text  # a busy machine; nothing was asked, nothing was stored
    assert said.is_whole


def conversation(count: int) -> list[str]:
    return [words for number in range(count) for words in (f"turn {number}", f"answer to turn {number}")]


@pytest.mark.parametrize(("where", "processes", "workers"), [("one", 2, 1), ("cluster", 2, 1), ("sqlite", 1, 2)])
async def test_a_hundred_turns_through_two_processes_lose_nothing(
    where: str, processes: int, workers: int, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    state = "sqlite:var/state.db"
    if where != "sqlite":
        servers: Servers = request.getfixturevalue(where)
        state = servers.url + "?prefix=sessions:"
    async with upstream() as up:
        async with fleet(write_home(tmp_path, HOME % (state, workers, up.url)), processes) as gateways:
            id, other = await begin(gateways), await begin(gateways)
            for number in range(TURNS):
                await turn(gateways, id, number)
                # Each found all that were before it, whichever process they went through.
                assert up.prompts[-1] == [*conversation(number), f"turn {number}"]
            assert [each["content"] for each in await show(gateways, id)] == conversation(TURNS)
            await asyncio.gather(*(turn(gateways, other, number) for number in range(20)))
            said = [each["content"] for each in await show(gateways, other)]
            pairs = set(zip(said[0::2], said[1::2], strict=True))
            assert pairs == {(f"turn {number}", f"answer to turn {number}") for number in range(20)}
            assert len(said) == 40
