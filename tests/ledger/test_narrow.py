"""Several filters at once: what the sums leave out is nothing that fits."""

from __future__ import annotations

import random
from typing import Any

from gateway.ledger.ledger import Row
from tests.ledger.kit import NOON, Place, ids, recorded, row

DAY_S = 86_400
FACTS: dict[str, list[Any]] = {
    "principal": ["ann", "bob", None],
    "model_requested": ["m1", "m2", "m" * 300],
    "route": ["r1", None],
    "target": ["a/x", "a/y", "b/x", None],
    "status": [200, 429, 502],
    "outcome": ["completed", "failed"],
    # Of these the sums know nothing.
    "error_code": ["timeout", "rare", None, None],
    "session": [None, None, None, "s1"],
    "stream": [True, False],
    "dialect": ["openai_chat", "anthropic"],
}


def made(rng: random.Random) -> list[Row]:
    """Return rows over twenty days, most of them on few of those."""
    days = [rng.randrange(20) for _ in range(6)]
    return [
        row(f"e{n:03}", ts=NOON + rng.choice(days) * DAY_S + rng.randrange(-43_200, 43_200),
            **{name: rng.choice(values) for name, values in FACTS.items()})
        for n in range(300)
    ]  # fmt: skip


def fits(each: Row, filters: dict[str, Any]) -> bool:
    for name, value in filters.items():
        if name == "ts":
            if not (value[0] or 0) <= each.ts < (value[1] or 1e12):
                return False
        elif getattr(each, name) not in (value if isinstance(value, list) else [value]):
            return False
    return True


async def test_any_filters_together_find_what_a_look_at_every_row_finds(place: Place) -> None:
    rng = random.Random(7)
    rows = made(rng)
    async with place.opened() as ledger:
        await recorded(ledger, *rows)
        kept = {each.exchange_id: each for each in await ledger.rows(at_most=1000)}
        assert len(kept) == len(rows)
        for _ in range(150):
            names = rng.sample(sorted(FACTS), rng.randint(2, 4))
            filters: dict[str, Any] = {
                name: rng.choice(FACTS[name]) if rng.random() < 0.7 else rng.sample(FACTS[name], 2) for name in names
            }
            if rng.random() < 0.3:
                start = NOON + rng.uniform(-1, 20) * DAY_S
                filters["ts"] = rng.choice([(start, None), (None, start), (start, start + 3 * DAY_S)])
            before = NOON + rng.uniform(-1, 21) * DAY_S if rng.random() < 0.3 else None
            at_most = rng.choice([1, 5, 1000])
            cut = {name: _cut(value) for name, value in filters.items()}
            expected = sorted(
                (e for e in kept.values() if fits(e, cut) and (before is None or e.ts < before)),
                key=lambda each: (each.ts, each.exchange_id),
                reverse=True,
            )[:at_most]
            found = await ledger.rows(filters=filters, at_most=at_most, before=before)
            assert ids(found) == ids(expected), (filters, at_most, before)


def _cut(value: Any) -> Any:
    """Return a filter's value as rows keep it: text is cut at 256 characters."""
    if isinstance(value, list):
        return [_cut(one) for one in value]
    return value[:256] if isinstance(value, str) else value
