"""What store.py promises, of every store."""

from __future__ import annotations

import asyncio

import pytest

from gateway.state.store import Bucket, Claim, Lease, Quota
from tests.state.conftest import Kit

LONG = 1000.0
SLOW = 1e-6
"""A refill that no test lives to see."""


async def test_a_value_is_found_until_its_lifetime_ends(kit: Kit) -> None:
    store = kit.store
    assert await store.get("a") is None
    assert await store.put("a", b"\x00\xffone", LONG)
    assert await store.get("a") == b"\x00\xffone"
    assert await store.put("a", b"", 0.05)
    assert await store.get("a") in (b"", None)

    async def is_gone() -> bool:
        return await store.get("a") is None

    await kit.until(is_gone, 0.05)


async def test_put_if_absent_keeps_what_is_there(kit: Kit) -> None:
    store = kit.store
    assert await store.put("a", b"1", LONG, if_absent=True)
    assert not await store.put("a", b"2", LONG, if_absent=True)
    assert await store.get("a") == b"1"

    await store.put("a", b"3", 0.05)

    async def is_free() -> bool:
        return await store.put("a", b"4", LONG, if_absent=True)

    await kit.until(is_free, 0.05)
    assert await store.get("a") == b"4"


async def test_delete_counts_what_was_there(kit: Kit) -> None:
    store = kit.store
    await store.put("{x}v", b"1", LONG)
    await store.add("{y}c", 1, LONG)
    await store.push("{z}l", [b"1"], LONG)
    assert await store.delete("{x}v", "{y}c", "{z}l", "{x}none") == 3
    assert await store.delete("{x}v") == 0
    assert await store.delete() == 0
    assert (await store.get("{x}v"), await store.items("{z}l"), await store.add("{y}c", 5, LONG)) == (None, [], 5)


async def test_a_counter_lives_from_its_first_addition(kit: Kit) -> None:
    store = kit.store
    assert await store.add("c", 5, 0.1) == 5
    assert await store.add("c", -2, LONG) == 3

    async def begins_anew() -> bool:
        return await store.add("c", 0, LONG) == 0

    await kit.until(begins_anew, 0.1)


async def test_a_counter_holds_more_than_a_float_can(kit: Kit) -> None:
    great = 2**62 + 1
    await kit.store.add("c", great, LONG)
    assert await kit.store.add("c", 1, LONG) == great + 1


async def test_a_list_keeps_its_order_and_its_last(kit: Kit) -> None:
    store = kit.store
    assert await store.items("l") == []
    assert await store.push("l", [b"a", b"b"], LONG) == 2
    assert await store.push("l", [b"c", b"\x00"], LONG, at_most=3) == 3
    assert await store.items("l") == [b"b", b"c", b"\x00"]
    assert await store.push("l", [], LONG) == 3
    assert await store.push("none", [], LONG) == 0
    assert not await store.touch("none", LONG)


async def test_a_push_begins_the_lists_lifetime_anew(kit: Kit) -> None:
    store = kit.store
    await store.push("l", [b"a"], LONG)
    await store.push("l", [b"b"], 0.05)

    async def is_gone() -> bool:
        return await store.items("l") == []

    await kit.until(is_gone, 0.05)
    assert await store.push("l", [b"c"], LONG) == 1


async def test_a_push_only_with_another_key_renews_that_too(kit: Kit) -> None:
    store = kit.store
    assert await store.push("{s}l", [b"a"], LONG, only_with="{s}head") == -1
    assert await store.items("{s}l") == []
    await store.put("{s}head", b"h", LONG)
    assert await store.push("{s}l", [b"a"], 0.05, only_with="{s}head") == 1

    async def both_are_gone() -> bool:
        return await store.get("{s}head") is None and await store.items("{s}l") == []

    await kit.until(both_are_gone, 0.05)
    assert await store.push("{s}l", [b"a"], LONG, only_with="{s}head") == -1


async def test_touch_begins_a_lifetime_anew(kit: Kit) -> None:
    store = kit.store
    assert not await store.touch("a", LONG)
    await store.put("a", b"1", LONG)
    assert await store.touch("a", 0.05)

    async def is_gone() -> bool:
        return not await store.touch("a", 0.05) if kit.clock else await store.get("a") is None

    await kit.until(is_gone, 0.05)


async def test_a_key_written_as_another_kind_becomes_it(kit: Kit) -> None:
    store = kit.store
    await store.put("k", b"5", LONG)
    assert await store.add("k", 2, LONG) == 2
    assert await store.get("k") is None
    assert await store.push("k", [b"a"], LONG) == 1
    assert await store.get("k") is None
    await store.put("k", b"v", LONG)
    assert (await store.items("k"), await store.get("k")) == ([], b"v")
    assert await store.push("k", [b"b"], LONG) == 1
    assert await store.items("k") == [b"b"]


async def test_names_are_literal_prefixes_and_not_too_many(kit: Kit) -> None:
    store = kit.store.under("p:")
    for name in ("a1", "a2", "a*", "b1", "a?[x]\\"):
        await store.put(name, b"1", LONG)
    await kit.store.put("a3", b"1", LONG)
    assert sorted(await store.names("a", 100)) == ["a*", "a1", "a2", "a?[x]\\"]
    assert await store.names("a*", 100) == ["a*"]
    assert await store.names("a?[x]", 100) == ["a?[x]\\"]
    assert len(await store.names("", 2)) == 2
    assert await store.names("c", 9) == []


async def test_prefixes_keep_plugins_apart_and_closing_a_view_closes_nothing(kit: Kit) -> None:
    one, other = kit.store.under("one:"), kit.store.under("other:")
    await one.put("k", b"1", LONG)
    await one.take([Bucket("b", 3, 3, SLOW), Quota("q", 3, 3, LONG), Lease("l", "h", 1)])
    assert await other.get("k") is None
    assert (await other.take([Bucket("b", 3, 3, SLOW)])).allowed
    assert (await other.take([Quota("q", 3, 3, LONG)])).allowed
    assert (await other.take([Lease("l", "x", 1)])).allowed
    await other.close()
    assert await kit.store.get("one:k") == b"1"
    await kit.store.ping()
    assert (kit.store.is_lost, kit.store.errors) == (False, 0)


async def test_a_bucket_begins_full_and_refills(kit: Kit) -> None:
    store, claim = kit.store, Bucket("b", 4, 10, 40.0)
    first = await store.take([claim])
    assert (first.allowed, first.refused, first.retry_after_s) == (True, (), 0.0)
    assert first.left == (6,)
    assert first.reset_s[0] == pytest.approx(0.1, abs=0.02)
    full = Bucket("b", 10, 10, 40.0)
    refused = await store.take([full])
    assert (refused.allowed, refused.refused) == (False, (0,))
    assert refused.retry_after_s == pytest.approx(0.1, abs=0.1)

    async def is_full() -> bool:
        return (await store.take([full])).allowed

    await kit.until(is_full, refused.retry_after_s)


async def test_an_amount_of_nothing_only_looks(kit: Kit) -> None:
    store = kit.store
    looked = await store.take([Bucket("{t}b", 0, 10, SLOW), Quota("{t}q", 0, 7, LONG)])
    assert (looked.allowed, looked.left) == (True, (10, 7))
    await store.settle([Bucket("{t}b", 12, 10, SLOW), Quota("{t}q", 9, 7, LONG)])
    looked = await store.take([Bucket("{t}b", 0, 10, SLOW), Quota("{t}q", 0, 7, LONG)])
    assert (looked.allowed, looked.left) == (True, (-2, -2))
    assert await store.names("", 10) == ["{t}q"]


@pytest.mark.parametrize("tags", ["{t}{t}{t}", "{1}{2}{3}"])
async def test_all_claims_are_taken_or_none(kit: Kit, tags: str) -> None:
    store, (one, two, three) = kit.store, [tags[at : at + 3] for at in (0, 3, 6)]
    claims: list[Claim] = [Bucket(one + "b", 6, 10, SLOW), Lease(two + "l", "h", 1), Quota(three + "q", 6, 10, LONG)]
    taken = await store.take(claims)
    assert (taken.allowed, taken.left) == (True, (4, 0, 4))
    assert taken.reset_s[1] == pytest.approx(30.0, abs=1.0)
    assert taken.reset_s[2] == pytest.approx(LONG, abs=1.0)
    again: list[Claim] = [Bucket(one + "b", 2, 10, SLOW), Lease(two + "l", "h2", 1), Quota(three + "q", 6, 10, LONG)]
    refused = await store.take(again)
    assert (refused.allowed, refused.refused, refused.left) == (False, (1, 2), (4, 0, 4))
    assert refused.retry_after_s == pytest.approx(LONG, abs=1.0)
    looked = await store.take([Bucket(one + "b", 0, 10, SLOW), Quota(three + "q", 0, 10, LONG)])
    assert looked.left == (4, 4)
    assert not (await store.take([Lease(two + "l", "h2", 1)])).allowed


async def test_a_key_that_stands_twice_is_refused(kit: Kit) -> None:
    with pytest.raises(ValueError, match="claimed twice"):
        await kit.store.take([Bucket("b", 1, 1, 1.0), Bucket("b", 1, 1, 1.0)])
    assert (await kit.store.take([])).allowed


async def test_settling_a_bucket_may_overdraw_and_never_overfills(kit: Kit) -> None:
    store = kit.store
    assert (await store.take([Bucket("b", 10, 10, SLOW)])).left == (0,)
    await store.settle([Bucket("b", 5, 10, SLOW)])
    assert (await store.take([Bucket("b", 1, 10, SLOW)])).left == (-5,)
    await store.settle([Bucket("b", -8, 10, SLOW)])
    assert (await store.take([Bucket("b", 1, 10, SLOW)])).left == (2,)
    await store.settle([Bucket("b", -100, 10, SLOW)])
    assert (await store.take([Bucket("b", 0, 10, SLOW)])).left == (10,)


async def test_settling_a_quota_may_overdraw_and_never_goes_below_nothing(kit: Kit) -> None:
    store, great = kit.store, 5_000_000_000_000_000
    assert (await store.take([Quota("q", great, great, LONG)])).left == (0,)
    await store.settle([Quota("q", 7, great, LONG)])
    assert (await store.take([Quota("q", 1, great, LONG)])).left == (-7,)
    await store.settle([Quota("q", -great, great, LONG)])
    assert (await store.take([Quota("q", 0, great, LONG)])).left == (great - 7,)
    await store.settle([Quota("q", -100, great, LONG)])
    assert (await store.take([Quota("q", 0, great, LONG)])).left == (great,)
    assert await store.add("q", 0, LONG) == 0
    await store.settle([Quota("new", -5, 10, LONG), Bucket("full", -5, 10, SLOW)])
    assert await store.names("new", 1) == []


async def test_a_quota_is_forgotten_a_lifetime_after_it_began(kit: Kit) -> None:
    store = kit.store
    await store.take([Quota("q", 6, 10, 0.1)])
    await store.take([Quota("q", 4, 10, LONG)])
    refused = await store.take([Quota("q", 1, 10, LONG)])
    assert refused.retry_after_s == pytest.approx(0.1, abs=0.1)

    async def is_forgotten() -> bool:
        return (await store.take([Quota("q", 10, 10, LONG)])).allowed

    await kit.until(is_forgotten, 0.1)


async def test_a_lease_is_held_until_it_is_settled(kit: Kit) -> None:
    store = kit.store
    assert (await store.take([Lease("l", "a", 2)])).left == (1,)
    assert (await store.take([Lease("l", "b", 2)])).left == (0,)
    refused = await store.take([Lease("l", "c", 2)])
    assert (refused.allowed, refused.left) == (False, (0,))
    assert 0 < refused.retry_after_s <= 30.0
    assert (await store.take([Lease("l", "a", 2)])).allowed  # who holds it may take it again
    await store.settle([Lease("l", "b", 2), Lease("l", "nobody", 2)])
    assert (await store.take([Lease("l", "c", 2)])).allowed


async def test_a_lease_ends_with_its_lifetime_unless_it_is_renewed(kit: Kit) -> None:
    store = kit.store
    await store.take([Lease("l", "a", 1, 0.05)])
    await store.renew([Lease("l", "a", 1, LONG)])
    if kit.clock is not None:
        kit.clock.advance(1.0)
    assert not (await store.take([Lease("l", "b", 1, LONG)])).allowed
    await store.renew([Lease("l", "a", 1, 0.05)])

    async def is_free() -> bool:
        return (await store.take([Lease("l", "b", 1, LONG)])).allowed

    await kit.until(is_free, 0.05)


async def test_a_lease_that_is_gone_is_renewed_above_its_limit(kit: Kit) -> None:
    store = kit.store
    await store.take([Lease("l", "a", 1)])
    await store.settle([Lease("l", "a", 1)])
    await store.take([Lease("l", "b", 1)])
    await store.renew([Lease("l", "a", 1), Lease("other", "a", 1)])
    assert (await store.take([Lease("l", "c", 1)])).left == (-1,)
    await store.renew([])
    await store.settle([])


async def test_many_at_once_take_exactly_what_there_is(kit: Kit) -> None:
    claims: list[Claim] = [Bucket("{t}b", 1, 50, SLOW), Quota("{t}q", 2, 90, LONG)]
    taken = await asyncio.gather(*(kit.store.take(claims) for _ in range(200)))
    assert sum(each.allowed for each in taken) == 45
    assert sorted(each.left for each in taken if each.allowed) == [(50 - n, 90 - 2 * n) for n in range(45, 0, -1)]


async def test_who_is_cancelled_has_taken_nothing(kit: Kit) -> None:
    store = kit.store
    claims: list[Claim] = [Bucket("{t}b", 5, 5, SLOW), Lease("{t}l", "h", 1), Quota("{t}q", 5, 5, LONG)]
    await store.ping()
    task = asyncio.get_running_loop().create_task(store.take(claims))
    await asyncio.sleep(0)
    task.cancel()
    done = (await asyncio.gather(task, return_exceptions=True))[0]
    if not isinstance(done, BaseException):  # in memory nothing waits, so nothing can be cancelled
        await store.settle([Bucket("{t}b", -5, 5, SLOW), Lease("{t}l", "h", 1), Quota("{t}q", -5, 5, LONG)])

    async def all_is_free() -> bool:
        other: list[Claim] = [Bucket("{t}b", 5, 5, SLOW), Lease("{t}l", "other", 1), Quota("{t}q", 5, 5, LONG)]
        return (await store.take(other)).allowed

    end = asyncio.get_running_loop().time() + 10.0
    while not await all_is_free():
        assert asyncio.get_running_loop().time() < end


async def test_what_is_not_decided_at_once_has_taken_and_settled_nothing(kit: Kit) -> None:
    full, one, look = (Bucket("{at-once}b", amount, 3, 0.0) for amount in (3, 1, 0))
    decided = kit.store.take_at_once([full])
    assert (await kit.store.take([look])).left == ((3,) if decided is None else (0,))
    if decided is None:
        await kit.store.take([full])
    else:
        assert decided.allowed and decided.left == (0,)
        refused = kit.store.take_at_once([one])
        assert refused is not None and refused.refused == (0,) and refused.left == (0,)
    settled = kit.store.settle_at_once([Bucket("{at-once}b", -2, 3, 0.0)])
    assert (await kit.store.take([look])).left == ((2,) if settled else (0,))
