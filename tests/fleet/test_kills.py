"""Gateways are killed under load: what they had said stays true."""

from __future__ import annotations

import asyncio
import itertools
import json
import time
from pathlib import Path
from typing import Any

import pytest

from tests.fleet.books import rows
from tests.fleet.kit import Fleet, fleet, write_home
from tests.fleet.upstream import Upstream, upstream
from tests.state.servers import Servers

KILLS = 2
SAFE_AFTER_S = 0.2
BUSY_S = 0.3
"""What a machine that others use too may add to what is promised."""
HOME = """\
version: 1
state: "%s"
ledger: sqlite:var/ledger.db
plugins:
  - budget: {limits: [{per: key, cost: $100000/month}]}
  - session: {max_messages: 10000}
providers: {up: {dialect: openai_chat, base_url: "%s", api_key: k}}
routes: [{name: all, targets: ["up/*"]}]
"""
PRICES = '"*/*": {input: 1000, output: 1000}\n'


class Load:
    """Clients that ask until told to stop, each in a session of its own. `answered` is when which request was."""

    def __init__(self, gateways: Fleet, sessions: dict[str, list[str]]) -> None:
        self.gateways, self.sessions = gateways, sessions
        self.answered: dict[str, float] = {}
        self.refused: set[str] = set()
        self._numbers = itertools.count()
        self.runs = True

    async def client(self, run: int, session: str) -> None:
        turns = self.sessions[session]
        while self.runs:
            name = f"{run}-{next(self._numbers)}"
            said = await self.gateways.ask(
                "m",
                name,
                headers={"x-request-id": name},
                session_id=session,
                stream=len(turns) % 2 == 0,
                max_tokens=20,
                use=[1, 1],
            )
            if said.status == 200 and (not said.text.startswith("data:") or said.text.endswith("[DONE]\n\n")):
                turns.append(name)
                self.answered[name] = time.monotonic()
            elif 400 <= said.status < 500:
                self.refused.add(f"{said.status} {said.text}")


async def show(gateways: Fleet, session: str) -> list[Any]:
    async with gateways.session.get(gateways.next().url + f"/v1/sessions/{session}") as answer:
        assert answer.status == 200
        messages: list[Any] = (await answer.json())["messages"]
        return messages


@pytest.mark.timeout(180)
@pytest.mark.parametrize("where", ["one", "sqlite"])
async def test_nothing_that_was_acknowledged_is_lost(
    where: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    state = "sqlite:var/state.db"
    if where == "one":
        servers: Servers = request.getfixturevalue("one")
        state = servers.url + "?prefix=kills:"
    async with upstream() as up:
        home = write_home(tmp_path, HOME % (state, up.url), PRICES)
        sessions: dict[str, list[str]] = {}
        for run in range(KILLS):
            await killed_under_load(home, run, sessions, up)
        async with fleet(home, 1) as gateways:
            for session, turns in sessions.items():
                said = [message["content"] for message in await show(gateways, session)]
                asked, answers = said[0::2], said[1::2]
                assert answers == [f"answer to {words}" for words in asked]
                # All that were answered whole, in order; one that was not may have been stored before its last byte.
                assert [words for words in asked if words in turns] == turns
                assert len(asked) - len(turns) <= KILLS
            # What was spent is known: 2 tokens a request, nothing twice.
            assert rows(home, "count(*) - count(DISTINCT request_id)")[0][0] == 0


def old_enough(load: Load, at: float | None = None) -> set[str]:
    """Return what was answered so long before `at`, or now, that its row must be safe."""
    end = (at or time.monotonic()) - SAFE_AFTER_S - BUSY_S
    return {name for name, answered_at in load.answered.items() if answered_at < end}


async def killed_under_load(home: Path, run: int, sessions: dict[str, list[str]], up: Upstream) -> None:
    async with fleet(home, 2) as gateways:
        made = []
        for _ in range(4):
            async with gateways.session.post(gateways.next().url + "/v1/sessions", json={}) as answer:
                made.append((await answer.json())["id"])
        sessions.update({id: [] for id in made})
        load = Load(gateways, sessions)
        clients = [asyncio.create_task(load.client(run, id)) for id in made]
        seen: set[str] = set()
        try:
            async with asyncio.timeout(60):
                while len(load.answered) < 50 or not seen:
                    await asyncio.sleep(0.05)
                    seen |= {id for (id,) in rows(home, "request_id")}
                while not old_enough(load):
                    await asyncio.sleep(0.05)
        finally:
            for each in gateways.gateways:
                each.process.kill()
            killed_at = time.monotonic()
            load.runs = False
            await asyncio.gather(*clients)
        kept = {id for (id,) in rows(home, "request_id")}
        old = old_enough(load, killed_at)
        assert load.refused == set()
        assert seen <= kept
        assert old <= kept


async def test_a_budget_goes_on_where_it_was_over_kill_9(tmp_path: Path) -> None:
    """The state file remembers what rows that were lost with the process cannot tell."""
    async with upstream() as up:
        text = (HOME % ("sqlite:var/state.db", up.url)).replace("$100000/month", "$1/month")
        home = write_home(tmp_path, text, PRICES)
        for _ in range(3):
            async with fleet(home, 1) as gateways:
                for _ in range(7):
                    assert (await gateways.ask("m", max_tokens=20)).status == 200
                gateways.gateways[0].process.kill()
        async with fleet(home, 1) as gateways:
            while (last := await gateways.ask("m", max_tokens=20)).status == 200:
                continue
            assert json.loads(last.text)["error"]["code"] == "insufficient_quota"
        # What was reserved for an answer that a kill came too close behind stays reserved: 13 tokens a time at most.
        assert 1000 - 3 * 13 - 45 <= up.tokens["m"] <= 1000
