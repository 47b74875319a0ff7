"""Random operations: the memory store against exact arithmetic, the others against the memory store."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Coroutine
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, TypeVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.scripted import ManualClock
from gateway.state.memory import MemoryStore
from gateway.state.redis import RedisStore
from gateway.state.sqlite import SqliteStore
from gateway.state.store import Bucket, Claim, Lease, Quota, StateStore
from gateway.state.url import parse_state
from tests.state.conftest import told

_T = TypeVar("_T")


def run(work: Coroutine[Any, Any, _T]) -> _T:
    return asyncio.run(work)


@dataclass
class Exact:
    """A token bucket in fractions."""

    burst: int
    rate: Fraction
    level: Fraction
    at: Fraction

    def now(self, at: Fraction) -> Fraction:
        return min(Fraction(self.burst), self.level + (at - self.at) * self.rate)

    def change(self, by: int, at: Fraction) -> None:
        self.level, self.at = min(Fraction(self.burst), self.now(at) + by), at


RATES = st.fractions(min_value=Fraction(1, 3600), max_value=10_000, max_denominator=3600)
STEPS = st.lists(
    st.tuples(st.sampled_from(["take", "settle"]), st.integers(-50, 120), st.integers(0, 3_000_000)), max_size=40
)


@given(burst=st.integers(1, 100), rate=RATES, steps=STEPS)
def test_a_bucket_follows_exact_arithmetic_over_any_span(
    burst: int, rate: Fraction, steps: list[tuple[str, int, int]]
) -> None:
    clock = ManualClock(monotonic=0.0)
    store = MemoryStore(clock.monotonic)
    exact = Exact(burst, rate, Fraction(burst), Fraction(0))
    at = Fraction(0)

    async def follow() -> None:
        nonlocal at
        for what, amount, wait_us in steps:
            at += Fraction(wait_us, 1_000_000)
            clock.advance(float(at) - clock.monotonic()) if float(at) > clock.monotonic() else None
            level = exact.now(at)
            if what == "settle":
                await store.settle([Bucket("b", amount, burst, float(rate))])
                exact.change(-amount, at)
                continue
            taken = await store.take([Bucket("b", max(0, amount), burst, float(rate))])
            if abs(level - amount) > Fraction(1, 100_000):
                assert taken.allowed is (amount <= 0 or amount <= level)
            if not taken.allowed:
                assert taken.retry_after_s == pytest.approx(float((amount - level) / rate), abs=1e-3, rel=1e-6)
            elif amount > 0:
                exact.change(-amount, at)
            assert taken.left[0] == pytest.approx(float(exact.now(at)), abs=1.001)

    run(follow())


@given(
    burst=st.integers(1, 20),
    rate=st.sampled_from([0.5, 1.0, 3.0, 7.0, 1 / 3]),
    waits=st.lists(st.sampled_from([0.0, 0.05, 0.1, 1 / 3, 0.5, 1.0, 3.0]), min_size=1, max_size=60),
)
def test_over_no_span_is_more_admitted_than_burst_and_rate_allow(burst: int, rate: float, waits: list[float]) -> None:
    clock = ManualClock()
    store = MemoryStore(clock.monotonic)
    admitted: list[float] = []

    async def take_all() -> None:
        for wait in waits:
            clock.advance(wait)
            while (await store.take([Bucket("b", 1, burst, rate)])).allowed:
                admitted.append(clock.monotonic())

    run(take_all())
    for first, last in itertools.combinations_with_replacement(range(len(admitted)), 2):
        span = admitted[last] - admitted[first]
        assert last - first + 1 <= burst + rate * span + 1e-5


# --- the others against memory ---------------------------------------------------------------------------

KEYS = st.sampled_from(["{t}1", "{t}2", "{u}1"])
AMOUNTS = st.integers(0, 6)
CLAIMS = st.one_of(
    st.builds(lambda key, amount: Bucket(key, amount, 10, 1e-9), KEYS, AMOUNTS),
    st.builds(lambda key, amount: Quota(key, amount, 12, 1e6), KEYS, AMOUNTS),
    st.builds(lambda key, holder: Lease(key, holder, 2, 1e6), KEYS, st.sampled_from("abc")),
)
SETTLED = st.one_of(
    st.builds(lambda key, amount: Bucket(key, amount, 10, 1e-9), KEYS, st.integers(-9, 9)),
    st.builds(lambda key, amount: Quota(key, amount, 12, 1e6), KEYS, st.integers(-9, 9)),
    st.builds(lambda key, holder: Lease(key, holder, 2, 1e6), KEYS, st.sampled_from("abc")),
)


def few(claims: st.SearchStrategy[Bucket | Quota | Lease]) -> st.SearchStrategy[list[Bucket | Quota | Lease]]:
    return st.lists(claims, max_size=4, unique_by=lambda claim: (type(claim), claim.key))


VALUES = st.lists(st.binary(max_size=3), max_size=3)
OPERATIONS = st.lists(
    st.one_of(
        st.tuples(st.just("take"), few(CLAIMS)),
        st.tuples(st.just("settle"), few(SETTLED)),
        st.tuples(
            st.just("renew"), st.builds(lambda key, who: [Lease(key, who, 2, 1e6)], KEYS, st.sampled_from("abc"))
        ),
        st.tuples(st.just("put"), KEYS, st.binary(max_size=3), st.booleans()),
        st.tuples(st.just("get"), KEYS),
        st.tuples(st.just("add"), KEYS, st.integers(-9, 9)),
        st.tuples(st.just("push"), KEYS, VALUES, st.integers(0, 3), st.sampled_from([None, "{t}1", "{t}2"])),
        st.tuples(st.just("items"), KEYS),
        st.tuples(st.just("delete"), st.lists(KEYS, max_size=2, unique=True)),
        st.tuples(st.just("names"), st.sampled_from(["", "{t}", "{u}1"])),
    ),
    max_size=30,
)


async def did(store: StateStore, what: str, *args: Any) -> Any:
    """Do one operation and return what can be compared."""
    match what:
        case "take":
            claims: list[Claim] = args[0]
            taken = await store.take(claims)
            return taken.allowed, taken.refused, taken.left
        case "put":
            return await store.put(args[0], args[1], 1e6, if_absent=args[2])
        case "add":
            return await store.add(args[0], args[1], 1e6)
        case "push":
            beside = args[3] if args[3] is not None and args[3][:3] == args[0][:3] else None
            return await store.push(args[0], args[1], 1e6, at_most=args[2], only_with=beside)
        case "delete":
            return await store.delete(*args[0])
        case "names":
            return sorted(await store.names(args[0], 100))
        case _:
            return await getattr(store, what)(*args)


@pytest.mark.parametrize("where", ["sqlite", "one", "cluster"])
def test_every_store_does_what_the_memory_store_does(
    where: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    clock, numbers = ManualClock(), itertools.count()
    with asyncio.Runner() as runner:
        if where == "sqlite":
            store: StateStore = SqliteStore(tmp_path / "state.db", told, clock.monotonic)
        else:
            store = RedisStore(parse_state(request.getfixturevalue(where).url + "?prefix=model:"), told)
        runner.run(store.start())

        async def compare(operations: list[tuple[Any, ...]]) -> None:
            one, other = MemoryStore(clock.monotonic), store.under(f"{next(numbers)}:")
            for operation in operations:
                assert await did(one, *operation) == await did(other, *operation), operation

        @settings(max_examples=60)
        @given(operations=OPERATIONS)
        def follow(operations: list[tuple[Any, ...]]) -> None:
            runner.run(compare(operations))

        follow()
        runner.run(store.close())
