"""Keys taken in turn, rested when refused or exhausted, or about to be; the last one is never taken out."""

from __future__ import annotations

import json
from typing import Any

import pytest
from multidict import CIMultiDict, CIMultiDictProxy

from gateway.exchange import ClientRequest
from gateway.secret import Secret
from gateway.testing import ManualClock
from gateway.upstream.keys import Keys, Resting
from gateway.upstream.need import completion_tokens, tokens


class Bench:
    """Keys of one provider over a clock that stands still."""

    def __init__(self, count: int = 2, dialect: str = "openai") -> None:
        self.clock = ManualClock()
        self.resting = Resting(self.clock.monotonic)
        secrets = [Secret(f"key-number-{number}") for number in range(count)]
        self.keys = Keys(secrets, self.clock.monotonic, self.clock.time, dialect, self.resting)

    def learn(self, number: int, status: int = 200, model: str = "m", asked_at_s: float | None = None, **headers: str) -> float:  # fmt: skip
        head = CIMultiDict({name.replace("_", "-"): value for name, value in headers.items()})
        asked_at_s = self.clock.monotonic() if asked_at_s is None else asked_at_s
        return self.keys.learn(number, model, status, head, asked_at_s)

    def takes(self, times: int = 4, model: str = "m", size: int = 0) -> set[int]:
        found = [self.keys.take(model, request(size)) for _ in range(times)]
        return {taken[0] for taken in found if taken is not None}

    def sleeps(self, model: str = "m", size: int = 0) -> float:
        until = self.keys.rests_until(model, request(size))
        return until and until - self.clock.monotonic()


def request(size: int = 0, **fields: object) -> ClientRequest:
    made = ClientRequest("POST", "/", "", CIMultiDictProxy(CIMultiDict()))
    made.body = b" " * size
    made.fields = {name: json.dumps(value).encode() for name, value in fields.items()}  # type: ignore[misc]
    return made


def test_keys_take_turns() -> None:
    bench = Bench(3)
    assert [bench.keys.take("m", request())[0] for _ in range(4)] == [0, 1, 2, 0]  # type: ignore[index]


@pytest.mark.parametrize("status", [401, 402, 403])
def test_a_refused_key_rests_a_minute_for_every_model(status: int) -> None:
    bench = Bench()
    assert bench.learn(0, status) == 60.0
    assert bench.takes() == bench.takes(model="other") == {1}
    bench.clock.advance(60.0)
    assert bench.takes() == {0, 1}


def test_a_rate_limit_rests_the_key_for_its_model_as_long_as_was_asked() -> None:
    bench = Bench()
    assert bench.learn(0, 429, retry_after="7") == 7.0
    assert bench.takes() == {1}
    assert bench.takes(model="other") == {0, 1}
    bench.clock.advance(7.0)
    assert bench.takes() == {0, 1}


def test_money_spent_rests_the_key_longer_and_for_every_model() -> None:
    bench = Bench()
    bench.learn(0, 429)
    bench.clock.advance(299.0)
    assert bench.takes(model="other") == {1}
    bench.clock.advance(1.0)
    assert bench.takes() == {0, 1}


def test_no_rest_is_longer_than_an_hour() -> None:
    bench = Bench()
    assert bench.learn(0, 429, retry_after="999999999") == 3600.0


def test_a_provider_without_keys_has_no_money_to_spend() -> None:
    bench = Bench(0)
    assert bench.learn(0, 429) == 0.0
    assert bench.sleeps() == 0.0
    assert bench.learn(0, 429, retry_after="5") == 5.0
    assert bench.sleeps() == 5.0


def test_when_all_rest_the_one_that_wakes_first_is_taken() -> None:
    bench = Bench(3)
    for number, wait in enumerate(("30", "10", "20")):
        bench.learn(number, 429, retry_after=wait)
    assert bench.takes() == {1}
    assert bench.sleeps() == 10.0


def test_a_resting_sibling_is_no_key_to_go_on_with() -> None:
    bench = Bench(3)
    bench.learn(1, 401)
    assert bench.keys.take("m", request(), frozenset({0}))[0] == 2  # type: ignore[index]
    assert bench.keys.take("m", request(), frozenset({0, 2})) is None


def test_one_that_rests_already_is_not_told_of_again() -> None:
    bench = Bench(1)
    assert (bench.learn(0, 401), bench.learn(0, 401)) == (60.0, 0.0)


def test_an_answer_wakes_a_key_unless_it_was_asked_for_before_the_rest_began() -> None:
    bench = Bench(1)
    before = bench.clock.monotonic()
    bench.clock.advance(1.0)
    bench.learn(0, 429, retry_after="60")
    bench.learn(0, 200, asked_at_s=before)
    assert bench.sleeps() == 60.0
    bench.clock.advance(1.0)
    bench.learn(0, 200)
    assert bench.sleeps() == 0.0
    assert not bench.resting.keys


LAST_REQUEST = [
    ("openai", {"x_ratelimit_remaining_requests": "0", "x_ratelimit_reset_requests": "1m30s"}),
    ("anthropic", {"anthropic_ratelimit_requests_remaining": "0", "anthropic_ratelimit_requests_reset": "2027-01-15T08:01:30Z"}),
]  # fmt: skip


@pytest.mark.parametrize(("dialect", "headers"), LAST_REQUEST)
def test_a_key_without_requests_left_rests_until_they_are_full(dialect: str, headers: dict[str, str]) -> None:
    bench = Bench(dialect=dialect)  # whose clock says 2027-01-15T08:00:00Z
    bench.learn(0, **headers)  # type: ignore[arg-type]
    assert bench.takes() == {1}
    bench.clock.advance(89.0)
    assert bench.takes() == {1}
    bench.clock.advance(1.0)
    assert bench.takes() == {0, 1}


FEW_TOKENS = [
    ("openai", {"x_ratelimit_remaining_tokens": "3000", "x_ratelimit_reset_tokens": "20s"}),
    ("anthropic", {"anthropic_ratelimit_tokens_remaining": "3000", "anthropic_ratelimit_tokens_reset": "2027-01-15T08:00:20Z"}),
    ("anthropic", {"anthropic_ratelimit_input_tokens_remaining": "3000", "anthropic_ratelimit_input_tokens_reset": "2027-01-15T08:00:20Z"}),
]  # fmt: skip


@pytest.mark.parametrize(("dialect", "headers"), FEW_TOKENS)
def test_a_key_with_few_tokens_left_rests_for_long_requests_alone(dialect: str, headers: dict[str, str]) -> None:
    bench = Bench(dialect=dialect)
    bench.learn(0, **headers)  # type: ignore[arg-type]
    assert bench.takes(size=8000) == {0, 1}  # 2000 and 1000 for the answer
    assert bench.takes(size=8001) == {1}
    bench.clock.advance(20.0)
    assert bench.takes(size=8001) == {0, 1}


def test_what_a_later_answer_says_of_tokens_holds() -> None:
    bench = Bench(1)
    bench.learn(0, x_ratelimit_remaining_tokens="10", x_ratelimit_reset_tokens="60s")
    assert bench.sleeps() == 60.0
    bench.learn(0, x_ratelimit_remaining_tokens="9000", x_ratelimit_reset_tokens="60s")
    assert bench.sleeps() == 0.0


@pytest.mark.parametrize("text", ["", "-1", "many", "9" * 40, "١", "1.5"])
def test_remaining_tokens_that_make_no_sense_are_passed_over(text: str) -> None:
    bench = Bench(1)
    bench.learn(0, x_ratelimit_remaining_tokens=text, x_ratelimit_reset_tokens="60s")
    assert bench.sleeps(size=1 << 20) == 0.0


@pytest.mark.parametrize("text", ["", "-1", "soon", "2026-99-99", "-1s"])
def test_a_reset_that_makes_no_sense_is_now(text: str) -> None:
    bench = Bench(1)
    bench.learn(0, x_ratelimit_remaining_tokens="0", x_ratelimit_reset_tokens=text)
    bench.learn(0, x_ratelimit_remaining_requests="0", x_ratelimit_reset_requests=text)
    assert bench.sleeps() == 0.0


def test_nothing_is_asked_of_keys_while_none_rests_and_bodies_fit() -> None:
    bench = Bench()
    bench.learn(
        0, x_ratelimit_remaining_tokens="3000", x_ratelimit_reset_tokens="20s", x_ratelimit_remaining_requests="9"
    )
    assert not bench.resting.keys
    assert bench.resting.least_bytes == 8000
    bench.clock.advance(20.0)
    bench.resting.sweep()
    assert bench.resting.least_bytes > 1 << 60


def test_a_rest_that_is_over_is_forgotten_when_the_next_key_is_taken() -> None:
    bench = Bench(1)
    bench.learn(0, 429, retry_after="5", x_ratelimit_remaining_tokens="3")
    bench.clock.advance(5.0)
    assert bench.takes() == {0}
    assert not bench.resting.keys


def test_what_is_remembered_of_models_is_bounded() -> None:
    bench = Bench(1)
    for number in range(5000):
        bench.learn(0, 429, model=f"model {number}", retry_after="60")
    assert bench.sleeps("model 4999") == 60.0
    assert bench.sleeps("model 0") == 0.0


def test_an_answer_is_reckoned_with_its_own_limit_up_to_a_thousand() -> None:
    limits: list[dict[str, Any]] = [
        {"max_tokens": 16},
        {"max_completion_tokens": 5000},
        {"max_output_tokens": 0},
        {"max_tokens": "x"},
        {},
    ]
    assert [completion_tokens(request(**each)) for each in limits] == [16, 1000, 0, 1000, 1000]
    assert tokens(request(5, max_tokens=1)) == 3
