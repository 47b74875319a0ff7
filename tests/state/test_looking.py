"""Claims that take nothing: what the dashboard asks with."""

from __future__ import annotations

from gateway.state.store import Bucket, Lease, Quota
from tests.state.conftest import Kit


async def test_a_place_among_none_is_refused_and_tells_how_many_are_held(kit: Kit) -> None:
    store = kit.store
    looking = Lease("{a}places", "", 0)
    assert (await store.take([looking])).left == (0,)
    for holder in ("one", "two"):
        assert (await store.take([Lease("{a}places", holder, 3)])).allowed
    for _ in range(3):
        looked = await store.take([looking])
        assert not looked.allowed and looked.left == (-2,)
    assert (await store.take([Lease("{a}places", "three", 3)])).left == (0,)
    await store.settle([Lease("{a}places", "one", 3)])
    assert (await store.take([looking])).left == (-2,)


async def test_an_amount_of_0_looks_at_what_is_left_and_begins_nothing(kit: Kit) -> None:
    store = kit.store
    bucket, quota = Bucket("{a}rate", 0, 5, 1e-6), Quota("{a}sum", 0, 100, 60.0)
    for _ in range(2):
        assert (await store.take([bucket])).left == (5,) and (await store.take([quota])).left == (100,)
    assert await store.names("", 10) == []
    assert (await store.take([Bucket("{a}rate", 3, 5, 1e-6), Quota("{a}sum", 30, 100, 60.0)])).allowed
    for _ in range(2):
        assert (await store.take([bucket])).left == (2,) and (await store.take([quota])).left == (70,)
    await store.settle([Quota("{a}sum", 90, 100, 60.0)])
    looked = await store.take([quota])
    assert looked.allowed and looked.left == (-20,)
