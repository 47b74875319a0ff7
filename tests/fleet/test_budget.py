"""A dollar stays a dollar: over two processes, whatever becomes of the requests."""

from __future__ import annotations

from collections import Counter
from hashlib import sha256
from pathlib import Path
from typing import Any

from tests.fleet.books import rows, written
from tests.fleet.kit import Fleet, Said, fleet, together, write_home
from tests.fleet.upstream import Upstream, upstream
from tests.state.servers import Servers

KEY = "key-of-somebody-who-has-one-dollar"
HASH = sha256(KEY.encode()).hexdigest()
NANO = 1_000_000_000
PRICES = '"*/*": {input: 1000, output: 1000}\n'
"""A token costs a tenth of a cent: an answer of 10 + 20 tokens three cents."""
HOME = """\
version: 1
state: "%s"
ledger: sqlite:var/ledger.db
plugins:
  - auth: {keys: [{name: somebody, hash: "sha256:%s", budget: $1/month}]}
  - budget: {}
providers:
  first: {dialect: openai_chat, base_url: "%s", api_key: k}
  up: {dialect: openai_chat, base_url: "%s", api_key: k}
routes: [{name: all, targets: ["first/*"], fallbacks: ["up/*"]}]
"""
WAYS: tuple[dict[str, Any], ...] = (
    {"stream": False},
    {"stream": True},
    {"stream": True, "do": "hang", "leave": True},
    {"stream": True, "do": "cut"},
    {"stream": False, "do": "fail"},
    {"stream": True, "do": "fail"},
)


def home(folder: Path, state: str, up: Upstream) -> Path:
    return write_home(folder, HOME % (state, HASH, up.first_url, up.url), PRICES)


def spent_nano(folder: Path) -> int:
    return sum(cost for (cost,) in rows(folder, "cost_nano_usd"))


async def spend(gateways: Fleet, count: int, **more: Any) -> list[Said]:
    """Ask in every way there is, all at once."""
    asking = (WAYS[number % len(WAYS)] for number in range(count))
    return await together((gateways.ask("m", key=KEY, **{**way, **more}) for way in asking), at_once=count)


async def test_two_hundred_at_once_spend_at_most_the_dollar(one: Servers, tmp_path: Path) -> None:
    async with upstream() as up:
        folder = home(tmp_path, one.url + "?prefix=budget:", up)
        async with fleet(folder, 2) as gateways:
            said = await spend(gateways, 200, max_tokens=20)
            counted = Counter(each.status for each in said)
            # 502: the first target had failed when nothing was left for the second.
            assert counted.keys() <= {0, 200, 402, 502}
            assert counted[402]
            assert all("insufficient_quota" in each.text for each in said if each.status == 402)
            await written(folder, 200)
            # No answer was longer than was reserved for it, so not even a running request took it above.
            assert up.tokens["m"] * NANO // 1000 <= spent_nano(folder) <= NANO
            asked = 200
            while True:  # what was reserved and not used is there for others, to the last cent but one reservation
                last = await gateways.ask("m", key=KEY, max_tokens=20)
                asked += 1
                if last.status == 402:
                    break
            await written(folder, asked)
            assert NANO - 70 * NANO // 1000 < spent_nano(folder) <= NANO
            assert up.tokens["m"] == 30 * sum(
                count for status, count in rows(folder, "status, count(*)", "WHERE outcome='completed' GROUP BY 1")
            )


async def test_answers_longer_than_reserved_go_over_by_no_more_than_those_running(one: Servers, tmp_path: Path) -> None:
    """The upstream takes 100 tokens where the request allowed 20: what was in flight may exceed the budget, once."""
    async with upstream() as up:
        folder = home(tmp_path, one.url + "?prefix=longer:", up)
        async with fleet(folder, 2) as gateways:
            said = await spend(gateways, 200, max_tokens=20, use=[10, 90])
            served = sum(each.status != 402 for each in said)
            await written(folder, 200)
            # Each was let in while what was reserved fitted; it may have used 100 tokens where ~60 were reserved.
            assert spent_nano(folder) <= NANO + served * 100 * NANO // 1000
            # What an answer used more than was reserved reaches the other process a moment after it, and not at all
            # where that took longer than the 100 ms that a state is waited for: each of those may let in one more.
            for _ in range(served + 1):
                last = await gateways.ask("m", key=KEY, max_tokens=20)
                if last.status == 402:
                    break
            assert last.status == 402


async def test_turns_that_bring_a_long_history_reserve_what_it_costs(one: Servers, tmp_path: Path) -> None:
    async with upstream() as up:
        text = HOME % (one.url + "?prefix=turns:", HASH, up.first_url, up.url)
        folder = write_home(tmp_path, text.replace("  - budget: {}", "  - session\n  - budget: {}"), PRICES)
        async with fleet(folder, 2) as gateways:
            url, who = gateways.next().url + "/v1/sessions", {"authorization": f"Bearer {KEY}"}
            async with gateways.session.post(url, json={}, headers=who) as answer:
                session = (await answer.json())["id"]
            # A turn of 1,200 characters, which come back in its answer: 600 tokens more in every turn after it.
            turn = {"key": KEY, "session_id": session, "max_tokens": 1}
            assert (await gateways.ask("m", "x" * 1200, use=[4, 1], **turn)).status == 200
            await written(folder, 1)
            said = await together(gateways.ask("m", use=[610, 1], **turn) for _ in range(30))
            assert Counter(each.status for each in said) == {200: 1, 402: 29}


async def test_a_budget_is_remembered_over_kill_9_by_the_ledger_alone(tmp_path: Path) -> None:
    async with upstream() as up:
        folder = home(tmp_path, "memory:", up)
        async with fleet(folder, 1) as gateways:
            for _ in range(20):
                assert (await gateways.ask("m", key=KEY, max_tokens=20)).status == 200
            await written(folder, 20)
            gateways.gateways[0].process.kill()
        async with fleet(folder, 1) as gateways:
            served = 0
            while (await gateways.ask("m", key=KEY, max_tokens=20)).status == 200:
                served += 1
            await written(folder, 20 + served + 1)
            assert NANO - 70 * NANO // 1000 < spent_nano(folder) <= NANO


async def test_who_has_no_key_has_a_budget_that_is_remembered_too(tmp_path: Path) -> None:
    async with upstream() as up:
        text = (HOME % ("memory:", HASH, up.first_url, up.url)).splitlines()
        kept = "\n".join(line for line in text if "auth:" not in line)
        folder = write_home(tmp_path, kept.replace("{}", "{limits: [{per: key, cost: $1/month}]}"), PRICES)
        async with fleet(folder, 1) as gateways:
            while (await gateways.ask("m", max_tokens=20)).status == 200:
                continue
            await written(folder, up.came["m"] + 1)
        async with fleet(folder, 1) as gateways:
            assert (await gateways.ask("m", max_tokens=20)).status == 402
