"""Which target follows which failure: every rule of the plan, for any order of failures."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.attempts.plan import Available, Plan, kind_of
from gateway.errors import TargetSkipped, UpstreamError
from gateway.route import Match, Retry, Route, Target
from gateway.upstream.balance import Candidate, ordered
from gateway.upstream.echo import EchoTransport
from gateway.upstream.health import TargetHealth
from gateway.upstream.keys import Resting
from gateway.upstream.provider import Provider


def available(targets: int, fallbacks: int = 0, special: int = 0, **retry: Any) -> Available:
    def of(names: str, count: int) -> tuple[Target, ...]:
        return tuple(
            Target(Provider(f"{names}{number}", "echo", "", "", EchoTransport()), "m") for number in range(count)
        )

    route = Route(
        "r", Match(), of("t", targets), {"any": of("f", fallbacks), "context_length": of("c", special)},
        retry=Retry(**retry),
    )  # fmt: skip

    def candidate(target: Target) -> Candidate:
        return Candidate(target, TargetHealth(target.name, lambda: 0.0), None)

    return Available(route, ordered, candidate, Resting(lambda: 0.0))


class Played:
    """An exchange played out: `answer` is asked at every try, until nothing more may be tried."""

    def __init__(self, found: Available, answers: Any, remaining_s: float = 600.0) -> None:
        self.now_s = 0.0
        self.tried: list[str] = []
        self.repeated = 0
        self.pauses: list[float] = []
        self.skipped: list[str] = []
        order = (*found.targets, *found.fallbacks["any"])
        self.plan = plan = Plan(order, found, lambda: self.now_s, lambda: 1.0)
        candidate: Candidate | None = order[0]
        while candidate is not None:
            name = candidate.target.provider.name
            error = answers(name, len(self.tried))
            if isinstance(error, TargetSkipped):
                self.skipped.append(name)
                candidate = plan.skip(error, remaining_s)
            else:
                self.tried.append(name)
                candidate = plan.next(error, remaining_s)
            self.last = error
            if candidate is not None and plan.repeats:
                self.repeated += 1
                self.pauses.append(plan.pause_s)
                self.now_s += plan.pause_s
        self.told = plan.refusal(self.last)


def failing(status: int, retry_after_s: float | None = None, code: str | None = None) -> UpstreamError:
    return UpstreamError(
        "status", "no", status=status, upstream_status=status, retry_after_s=retry_after_s, code=code or "x"
    )


FAILURES: dict[str, Any] = {
    "500": lambda: failing(500),
    "529": lambda: failing(529, 0.5),
    "429 soon": lambda: failing(429, 1.0),
    "429 late": lambda: failing(429, 90.0),
    "429 money": lambda: failing(429),
    "401": lambda: failing(401),
    "connect": lambda: UpstreamError("connect", "no"),
    "truncated": lambda: UpstreamError("truncated", "no"),
    "open": lambda: TargetSkipped("open", retry_after_s=9.0),
    "400": lambda: failing(400),
    "overflow": lambda: failing(400, code="context_length_exceeded"),
}
STOPPING = {"400", "overflow"}


@settings(max_examples=300, deadline=None)
@given(
    targets=st.integers(1, 4),
    fallbacks=st.integers(0, 3),
    special=st.integers(0, 2),
    attempts=st.integers(1, 6),
    names=st.lists(st.sampled_from(sorted(FAILURES)), min_size=1, max_size=30),
)
def test_tries_are_capped_and_untried_targets_come_first(
    targets: int, fallbacks: int, special: int, attempts: int, names: list[str]
) -> None:
    met: list[tuple[str, str]] = []

    def answers(target: str, number: int) -> Any:
        met.append((target, names[len(met) % len(names)]))
        return FAILURES[met[-1][1]]()

    played = Played(available(targets, fallbacks, special, attempts=attempts), answers)
    count = targets + fallbacks
    assert len(played.tried) <= max(attempts, count + special)
    if not special:
        assert len(played.tried) <= max(attempts, count)
    listed = [f"t{number}" for number in range(targets)] + [f"f{number}" for number in range(fallbacks)]
    firsts = [name for name in dict.fromkeys(name for name, _ in met) if name in listed]
    assert firsts == listed[: len(firsts)]
    assert played.repeated == len(met) - len({name for name, _ in met})
    repeats_from = next((at for at, (name, _) in enumerate(met) if name in [n for n, _ in met[:at]]), len(met))
    new = {name for name, _ in met[repeats_from:]} - {name for name, _ in met[:repeats_from]}
    assert not new & set(listed)
    if not any(failure in STOPPING for _, failure in met):
        assert set(firsts) == set(listed)
    for at, (name, failure) in enumerate(met):
        if failure in ("429 money", "401", "open"):
            assert name not in {later for later, _ in met[at + 1 :]}
    assert all(pause <= 5.0 for pause in played.pauses)


@pytest.mark.parametrize("name", ["400", "overflow"])
def test_a_fault_of_the_request_ends_it_at_once(name: str) -> None:
    assert Played(available(2, 1), lambda target, number: FAILURES[name]()).tried == ["t0"]


def test_repeats_go_round_the_targets() -> None:
    played = Played(available(2, attempts=6), lambda target, number: failing(500))
    assert played.tried == ["t0", "t1", "t0", "t1", "t0", "t1"]
    assert Counter(played.tried) == {"t0": 3, "t1": 3}


def test_each_target_is_waited_for_as_it_asked_itself() -> None:
    answers = {"t0": failing(429, 2.0), "t1": failing(500), "t2": failing(429, 30.0)}
    played = Played(available(3, attempts=6), lambda target, number: answers[target])
    assert played.tried == ["t0", "t1", "t2", "t1", "t0", "t1"]
    assert played.pauses[0] == 0.2
    assert played.pauses[1] == pytest.approx(1.8)


def test_a_target_without_money_or_key_is_not_repeated_while_another_is() -> None:
    answers = {"t0": failing(500), "t1": failing(429), "t2": failing(401)}
    played = Played(available(3, attempts=5), lambda target, number: answers[target])
    assert played.tried == ["t0", "t1", "t2", "t0", "t0"]


def test_a_target_passed_over_leaves_its_tries_to_the_others() -> None:
    answers: dict[str, Any] = {"t0": failing(500), "t1": TargetSkipped("open", retry_after_s=9.0)}
    played = Played(available(2, attempts=3), lambda target, number: answers[target])
    assert (played.tried, played.skipped) == (["t0", "t0", "t0"], ["t1"])
    assert played.told is answers["t0"]


def test_when_all_are_passed_over_the_soonest_probe_is_told() -> None:
    waits = {"t0": 9.0, "t1": 0.0, "f0": 4.0}
    played = Played(available(2, 1), lambda target, number: TargetSkipped("open", retry_after_s=waits[target]))
    assert played.tried == []
    assert played.told.retry_after_s == 0.0


def test_a_429_is_told_with_the_longest_wait_of_all_targets() -> None:
    waits = {"t0": 90.0, "t1": 30.0}
    played = Played(available(2), lambda target, number: failing(429, waits[target]))
    assert (played.told.status, played.told.retry_after_s) == (429, 90.0)


def test_a_pause_that_outlasts_the_deadline_is_not_begun() -> None:
    assert Played(available(1), lambda target, number: failing(429, 2.0), remaining_s=2.0).tried == ["t0"]
    assert len(Played(available(1), lambda target, number: failing(429, 2.0), remaining_s=2.5).tried) == 3


def test_backoff_doubles_up_to_its_end() -> None:
    played = Played(available(1, attempts=8), lambda target, number: failing(500))
    assert played.pauses == [0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0]


def test_fallbacks_of_a_cause_come_first_and_are_left_for_the_others_when_they_break() -> None:
    answers: dict[str, Any] = {"t0": failing(400, code="context_length_exceeded"), "c0": failing(500), "c1": failing(500), "t1": failing(400)}  # fmt: skip
    played = Played(available(2, special=2), lambda target, number: answers[target])
    assert played.tried == ["t0", "c0", "c1", "t1"]


def test_a_fallback_of_a_cause_that_overflows_too_is_followed_by_the_next_of_its_kind() -> None:
    overflow = failing(400, code="context_length_exceeded")
    played = Played(available(2, special=2), lambda target, number: overflow)
    assert played.tried == ["t0", "c0", "c1"]


def test_retry_on_says_which_failures_are_worth_another_try() -> None:
    assert Played(available(2, on=frozenset({"connect"})), lambda target, number: failing(500)).tried == ["t0"]
    refused = Played(available(2, on=frozenset({"connect"})), lambda target, number: failing(401))
    assert refused.tried == ["t0", "t1"]  # a refused key is no failure of the request's


def test_kinds_are_the_words_of_retry_on() -> None:
    kinds = [kind_of(FAILURES[name]()) for name in FAILURES if name != "open"]
    assert kinds == ["5xx", "5xx", "429", "429", "429", "credential", "connect", "broken", None, None]
