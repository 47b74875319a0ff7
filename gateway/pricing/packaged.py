"""The published prices as the package genai-prices has them, made into a table.

`python -m gateway.pricing.packaged` writes it as JSON. The package is built on pydantic: it takes a third of a second
and 18 MB, which is a process of its own for that long instead of the gateway's for ever; see published.py.
"""

from __future__ import annotations

import sys
from datetime import UTC, date, datetime, time
from decimal import Decimal
from typing import Any, Final

import genai_prices.types as theirs
from genai_prices.data import providers
from msgspec import Raw, json

from gateway.pricing.price import Price, Rate
from gateway.pricing.table import Match, Model, Provider, Table, Variant, When

_RATES: Final = {
    "input_mtok": "input", "output_mtok": "output", "cache_read_mtok": "cache_read", "cache_write_mtok": "cache_write",
    "cache_write_1h_mtok": "cache_write_1h", "output_reasoning_mtok": "reasoning", "input_audio_mtok": "input_audio",
    "output_audio_mtok": "output_audio",
}  # fmt: skip
_COUNTS: Final = {"web_searches_kcount": "search", "requests_kcount": "request"}


def table() -> Table:
    """Return all of the package's data that prices are made of."""
    return Table(tuple(_provider(each) for each in providers))


def _provider(given: theirs.Provider) -> Provider:
    models = [
        Model(each.id, _match(each.match), _prices(each), tuple(_variant(one) for one in each.price_variants or ()))
        for each in given.models
        if each.prices
    ]
    elsewhere = tuple(given.fallback_model_providers or ())
    return Provider(given.id, given.api_pattern, elsewhere, Raw(json.encode(models)))


def _prices(model: theirs.ModelInfo) -> tuple[tuple[When, Price], ...]:
    if isinstance(model.prices, list):
        return tuple((_when(each.constraint), _price(each.prices)) for each in model.prices)
    return ((When(), _price(model.prices)),)


def _variant(given: theirs.PriceVariant) -> Variant:
    return Variant(dict(given.when), _price(given.prices), _when(given.constraint))


def _match(clause: Any) -> Match:
    match clause:
        case theirs.ClauseStartsWith():
            return Match("starts", clause.starts_with)
        case theirs.ClauseEndsWith():
            return Match("ends", clause.ends_with)
        case theirs.ClauseContains():
            return Match("contains", clause.contains)
        case theirs.ClauseEquals():
            return Match("equals", clause.equals)
        case theirs.ClauseRegex():
            return Match("regex", clause.regex)
        case theirs.ClauseOr():
            return Match("or", parts=tuple(map(_match, clause.or_)))
        case theirs.ClauseAnd():
            return Match("and", parts=tuple(map(_match, clause.and_)))
    raise TypeError(f"genai-prices has a clause that is not known here: {type(clause).__name__}")


def _when(constraint: Any) -> When:
    match constraint:
        case None:
            return When()
        case theirs.StartDateConstraint():
            return When(since=constraint.start_date)
        case theirs.TimeOfDateConstraint():
            return When(hours=(_utc(constraint.start_time), _utc(constraint.end_time)))
    raise TypeError(f"genai-prices has a constraint that is not known here: {type(constraint).__name__}")


def _utc(given: time) -> time:
    if given.tzinfo is None:
        return given
    return datetime.combine(date(1970, 1, 1), given).astimezone(UTC).time()


def _price(published: theirs.ModelPrice) -> Price:
    given: dict[str, Any] = {}
    for name, value in published.__dict__.items():
        if value is None:
            continue
        if (field := _RATES.get(name)) is not None:
            given[field] = _rate(value)
        elif (field := _COUNTS.get(name)) is not None:
            given[field] = value if isinstance(value, Decimal) else value.base
    return Price(**given)


def _rate(value: Any) -> Rate:
    if isinstance(value, Decimal):
        return Rate(value)
    return Rate(value.base, tuple((tier.start, tier.price) for tier in value.tiers))


if __name__ == "__main__":
    sys.stdout.buffer.write(json.encode(table()))
