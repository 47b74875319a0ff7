"""What each balance promises, asked without a gateway: candidates in, an order out."""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import msgspec
import pytest
from multidict import CIMultiDict, CIMultiDictProxy

from gateway.dialects.endpoints import find
from gateway.dialects.table import DIALECTS
from gateway.exchange import ClientRequest, Deadline, Exchange, Principal
from gateway.route import Target
from gateway.testing import ManualClock
from gateway.upstream.balance import BALANCES, Balance, Candidate, Means
from gateway.upstream.echo import EchoTransport
from gateway.upstream.health import TargetHealth
from gateway.upstream.provider import Provider


class Bench:
    """Makes candidates and balances over one clock and one source of chance."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.prices: dict[str, Decimal | None] = {}
        self.asked = 0
        self.rng = random.Random(7)
        self._lasting: dict[str, Any] = {}

    def candidates(self, **weights: int) -> list[Candidate]:
        return [self.candidate(name, weight) for name, weight in weights.items()]

    def candidate(self, name: str, weight: int = 1) -> Candidate:
        provider = Provider(name=name, dialect="echo", base_url="", base_path="", transport=EchoTransport())
        target = Target(provider, "m", weight)
        return Candidate(target, TargetHealth(target.name, self.clock.monotonic), None)

    def balance(self, name: str) -> Balance:
        return BALANCES[name]("r", Means(self.clock.monotonic, self._bound, self._keep, self.rng.random))

    def _bound(self, provider: str, model: str, prompt: int, completion: int) -> Decimal | None:
        self.asked += 1
        return self.prices.get(provider)

    def _keep(self, name: str, factory: Any) -> Any:
        return self._lasting.setdefault(name, factory())


def exchange(body: dict[str, Any] | None = None, headers: dict[str, str] | None = None, who: str = "") -> Exchange:
    body = body if body is not None else {"model": "m", "messages": [{"role": "user", "content": "x"}]}
    request = ClientRequest("POST", "/v1/messages", "", CIMultiDictProxy(CIMultiDict(headers or {})))
    request.endpoint = find("/v1/messages")
    request.body = json.dumps(body).encode()
    request.fields = {name: _raw(value) for name, value in body.items()}
    request.model, request.stream = "m", bool(body.get("stream"))
    made = Exchange("id", request, DIALECTS["anthropic"], Deadline(0.0, 600.0, lambda: 0.0), 0.0)
    made.principal = Principal(who) if who else None
    return made


def _raw(value: Any) -> Any:

    return msgspec.Raw(json.dumps(value).encode())


def names(order: Sequence[Candidate]) -> list[str]:
    return [each.target.provider.name for each in order]


@pytest.fixture
def bench() -> Bench:
    return Bench()


@pytest.mark.parametrize("name", BALANCES)
def test_every_balance_returns_each_target_once(bench: Bench, name: str) -> None:
    balance, candidates = bench.balance(name), bench.candidates(a=1, b=2, c=3, d=1)
    for number in range(200):
        order = balance(candidates, exchange(who=f"caller {number}"))
        assert sorted(names(order)) == ["a", "b", "c", "d"]
        order[0].health.answered(bench.rng.random(), stream=False)


def test_weighted_is_exact_over_every_round(bench: Bench) -> None:
    balance, candidates = bench.balance("weighted"), bench.candidates(a=5, b=3, c=2)
    for _ in range(20):
        assert Counter(names(balance(candidates, exchange()))[0] for _ in range(10)) == {"a": 5, "b": 3, "c": 2}


def test_weighted_gives_what_a_target_passed_over_leaves_in_the_others_proportions(bench: Bench) -> None:
    balance, (a, b, c) = bench.balance("weighted"), bench.candidates(a=6, b=3, c=1)
    balance([a, b, c], exchange())
    first = Counter(names(balance([b, c], exchange()))[0] for _ in range(400))
    assert abs(first["b"] - 300) <= 3
    assert abs(first["c"] - 100) <= 3


def test_weighted_draws_who_follows_a_failure_in_proportion_too(bench: Bench) -> None:
    balance, candidates = bench.balance("weighted"), bench.candidates(a=6, b=3, c=1)
    orders = [names(balance(candidates, exchange())) for _ in range(10_000)]
    after_a = Counter(order[1] for order in orders if order[0] == "a")
    assert after_a["b"] / sum(after_a.values()) == pytest.approx(0.75, abs=0.03)


def test_a_target_that_comes_back_has_no_claims_for_the_time_it_was_away(bench: Bench) -> None:
    balance, (a, b) = bench.balance("weighted"), bench.candidates(a=1, b=1)
    for _ in range(1000):
        balance([b, bench.candidate("c")], exchange())
    assert Counter(names(balance([a, b], exchange()))[0] for _ in range(10))["a"] <= 6


def test_round_robin_takes_turns_and_goes_on_after_a_reload(bench: Bench) -> None:
    candidates = bench.candidates(a=1, b=1, c=1)
    balance = bench.balance("round_robin")
    assert [names(balance(candidates, exchange())) for _ in range(2)] == [["a", "b", "c"], ["b", "c", "a"]]
    reloaded = bench.balance("round_robin")
    changed = [bench.candidate("new"), *bench.candidates(a=1, b=1, c=1)]
    assert [names(reloaded(changed, exchange()))[0] for _ in range(3)] == ["c", "new", "a"]


def test_round_robin_skips_nobody_else_when_one_rests(bench: Bench) -> None:
    balance, (a, b, c) = bench.balance("round_robin"), bench.candidates(a=1, b=1, c=1)
    assert names(balance([a, b, c], exchange()))[0] == "a"
    assert names(balance([a, b, c], exchange()))[0] == "b"
    assert [names(balance([a, c], exchange()))[0] for _ in range(4)] == ["c", "a", "c", "a"]


def test_least_busy_of_two_is_first_whatever_chance_says(bench: Bench) -> None:
    balance, (a, b) = bench.balance("least_busy"), bench.candidates(a=1, b=1)
    a.health.in_flight = 3
    assert all(names(balance([a, b], exchange())) == ["b", "a"] for _ in range(50))


def test_least_busy_counts_load_for_each_unit_of_weight(bench: Bench) -> None:
    balance, (a, b) = bench.balance("least_busy"), bench.candidates(a=4, b=1)
    a.health.in_flight, b.health.in_flight = 6, 2
    assert names(balance([a, b], exchange()))[0] == "a"


def test_least_busy_never_begins_with_the_busiest_of_many(bench: Bench) -> None:
    balance, candidates = bench.balance("least_busy"), bench.candidates(a=1, b=1, c=1, d=1)
    for load, each in enumerate(candidates):
        each.health.in_flight = load
    first = Counter(names(balance(candidates, exchange()))[0] for _ in range(2000))
    assert "d" not in first
    assert first["a"] > first["b"] > first["c"]


def test_fastest_tries_each_untried_target_once_and_then_keeps_to_the_fastest(bench: Bench) -> None:
    balance, candidates = bench.balance("fastest"), bench.candidates(a=1, b=1, c=1)
    for took_s, name in ((0.9, "a"), (0.2, "b"), (0.5, "c")):
        first = balance(candidates, exchange())[0]
        assert first.target.provider.name == name
        first.health.answered(took_s, stream=False)
    assert names(balance(candidates, exchange())) == ["b", "c", "a"]


def test_fastest_lets_one_request_at_a_time_find_out(bench: Bench) -> None:
    balance, (a, b) = bench.balance("fastest"), bench.candidates(a=1, b=1)
    b.health.answered(5.0, stream=False)
    assert names(balance([a, b], exchange()))[0] == "a"
    a.health.in_flight = 1
    assert {names(balance([a, b], exchange()))[0] for _ in range(20)} == {"b"}


def test_fastest_leaves_a_target_that_never_answered_alone_for_a_while(bench: Bench) -> None:
    balance, (a, b) = bench.balance("fastest"), bench.candidates(a=1, b=1)
    b.health.answered(5.0, stream=False)
    assert names(balance([a, b], exchange()))[0] == "a"
    assert names(balance([a, b], exchange()))[0] == "b"
    bench.clock.advance(10.0)
    assert names(balance([a, b], exchange()))[0] == "a"


def test_fastest_goes_by_first_tokens_for_streams_and_by_whole_answers_for_the_rest(bench: Bench) -> None:
    balance, (a, b) = bench.balance("fastest"), bench.candidates(a=1, b=1)
    for each, streamed_s, plain_s in ((a, 0.1, 9.0), (b, 0.5, 2.0)):
        each.health.answered(streamed_s, stream=True)
        each.health.answered(plain_s, stream=False)
    assert names(balance([a, b], exchange({"stream": True})))[0] == "a"
    assert names(balance([a, b], exchange()))[0] == "b"


def test_fastest_looks_after_a_slow_target_now_and_then_so_that_it_recovers(bench: Bench) -> None:
    balance, (a, b) = bench.balance("fastest"), bench.candidates(a=1, b=1)
    a.health.answered(0.5, stream=False)
    b.health.answered(20.0, stream=False)
    took_s = {"a": 0.5, "b": 0.1}
    firsts: list[str] = []
    for _ in range(1000):
        first = balance([a, b], exchange())[0]
        firsts.append(first.target.provider.name)
        first.health.answered(took_s[firsts[-1]], stream=False)
        bench.clock.advance(1.0)
    assert Counter(firsts[:100])["b"] in range(1, 6)
    assert Counter(firsts[-100:])["b"] > 90


def test_cheapest_puts_unknown_prices_last_and_ties_as_listed(bench: Bench) -> None:
    bench.prices = {"b": Decimal("0.02"), "c": Decimal("0.01"), "d": Decimal("0.02")}
    balance = bench.balance("cheapest")
    assert names(balance(bench.candidates(a=1, b=1, c=1, d=1), exchange())) == ["c", "b", "d", "a"]


def test_cheapest_asks_for_a_price_once_in_five_minutes(bench: Bench) -> None:
    bench.prices = {"a": Decimal(1), "b": Decimal(2)}
    balance, candidates = bench.balance("cheapest"), bench.candidates(a=1, b=1)
    for _ in range(100):
        balance(candidates, exchange())
    assert bench.asked == 2
    bench.prices["b"] = Decimal(0)
    bench.clock.advance(300.0)
    assert names(balance(candidates, exchange()))[0] == "b"


CONVERSATION = {"system": "be brief", "messages": [{"role": "user", "content": "x"}]}


def test_sticky_sends_each_caller_to_one_target_and_callers_to_all(bench: Bench) -> None:
    balance, candidates = bench.balance("sticky"), bench.candidates(a=1, b=1, c=1)
    first = Counter(names(balance(candidates, exchange(who=f"caller {number}")))[0] for number in range(3000))
    assert all(share == pytest.approx(1000, abs=120) for share in first.values())
    assert names(balance(candidates, exchange(who="caller 1"))) == names(balance(candidates, exchange(who="caller 1")))


def test_sticky_moves_only_a_new_targets_share(bench: Bench) -> None:
    balance, candidates = bench.balance("sticky"), bench.candidates(a=1, b=1, c=1)
    more = [*candidates, bench.candidate("d")]
    moved = 0
    for number in range(2000):
        asked = exchange(who=f"caller {number}")
        before, after = names(balance(candidates, asked))[0], names(balance(more, asked))[0]
        assert after in (before, "d")
        moved += after == "d"
    assert moved == pytest.approx(500, abs=90)


def test_sticky_shares_callers_by_weight(bench: Bench) -> None:
    balance, candidates = bench.balance("sticky"), bench.candidates(a=3, b=1)
    first = Counter(names(balance(candidates, exchange(who=f"caller {number}")))[0] for number in range(4000))
    assert first["a"] == pytest.approx(3000, abs=120)


SAME = [
    ({**CONVERSATION, "session_id": "sess_1"}, {}, "a", {"session_id": "sess_1", "messages": []}, {}, "b"),
    (CONVERSATION, {"x-session-id": "s"}, "a", {"messages": []}, {"X-Session-Id": "s"}, "b"),
    (CONVERSATION, {"x-claude-code-session-id": "s"}, "a", {"messages": []}, {"X-Claude-Code-Session-Id": "s"}, "b"),
    (CONVERSATION, {"session-id": "s", "thread-id": "1"}, "a", {"input": "x"}, {"session-id": "s", "thread-id": "2"}, "b"),
    (CONVERSATION, {"x-session-affinity": "s"}, "a", {"input": "x"}, {"x-session-affinity": "s"}, "b"),
    ({**CONVERSATION, "prompt_cache_key": "k"}, {}, "a", {"input": "x", "prompt_cache_key": "k"}, {}, "b"),
    (CONVERSATION, {}, "a", {"input": "another"}, {}, "a"),
]  # fmt: skip


@pytest.mark.parametrize("case", SAME)
def test_sticky_knows_a_conversation_by_what_clients_send(bench: Bench, case: Any) -> None:
    one, other = exchange(*case[:3]), exchange(*case[3:])
    balance, candidates = bench.balance("sticky"), bench.candidates(**{f"p{number}": 1 for number in range(64)})
    assert names(balance(candidates, one)) == names(balance(candidates, other))
    assert names(balance(candidates, one)) != names(balance(candidates, exchange(who="somebody else")))


TURNS = [
    ({"messages": [{"role": "system", "content": "s"}, {"role": "user", "content": "x"}]}, {"role": "assistant", "content": "y"}),
    ({"system": [{"type": "text", "text": "s"}], "messages": [{"role": "user", "content": [{"type": "text", "text": "x", "cache_control": {"type": "ephemeral"}}]}]}, {"role": "assistant", "content": "y"}),
]  # fmt: skip


@pytest.mark.parametrize(("opening", "answer"), TURNS)
@pytest.mark.parametrize("who", ["", "anonymous"])
def test_sticky_knows_a_nameless_conversation_by_how_it_began(
    bench: Bench, opening: dict[str, Any], answer: dict[str, Any], who: str
) -> None:
    later = json.loads(json.dumps({**opening, "messages": [*opening["messages"], answer, {"role": "user", "content": "z"}]}).replace(', "cache_control": {"type": "ephemeral"}', ""))  # fmt: skip
    other = {**opening, "messages": [{"role": "user", "content": "something else"}]}
    balance, candidates = bench.balance("sticky"), bench.candidates(**{f"p{number}": 1 for number in range(64)})
    orders = [names(balance(candidates, exchange(body, who=who))) for body in (opening, later, other)]
    assert orders[0] == orders[1] != orders[2]


@pytest.mark.parametrize("body", [{"messages": 3}, {"messages": []}, {"messages": [3]}, {"session_id": 7}, {"prompt_cache_key": None}, {}])  # fmt: skip
def test_sticky_takes_odd_bodies_as_they_come(bench: Bench, body: dict[str, Any]) -> None:
    assert len(bench.balance("sticky")(bench.candidates(a=1, b=1), exchange(body))) == 2
