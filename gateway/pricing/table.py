"""The published prices as plain facts: what a model's name fits, and which price holds when.

The same answers as the package gives whose data it is, in a fifteenth of its memory; a test compares every model.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, date, datetime, time
from functools import cached_property
from typing import Any, Final, Literal

from msgspec import Raw, Struct, json, structs

from gateway.pricing.price import Price

_COMPACT_DATE: Final = re.compile(r"-(20\d{2})(0[1-9]|1[0-2])(0[1-9]|[12]\d|3[01])(?=-|:|$)")


class Match(Struct, frozen=True, gc=False):
    """Which names fit: by `text`, or by several others. Case does not count, except in an expression."""

    kind: Literal["starts", "ends", "contains", "equals", "regex", "or", "and"]
    text: str = ""
    parts: tuple[Match, ...] = ()

    def fits(self, name: str) -> bool:
        """Return whether `name`, in lower case, fits."""
        match self.kind:
            case "starts":
                return name.startswith(self.text.lower())
            case "ends":
                return name.endswith(self.text.lower())
            case "contains":
                return self.text.lower() in name
            case "equals":
                return name == self.text.lower()
            case "regex":
                return re.search(self.text, name) is not None
            case "or":
                return any(part.fits(name) for part in self.parts)
        return all(part.fits(name) for part in self.parts)


class When(Struct, frozen=True, gc=False):
    """From a day on, or between two times of every day, in UTC; both None: always."""

    since: date | None = None
    hours: tuple[time, time] | None = None

    def holds(self, moment: datetime) -> bool:
        """Return whether it is so at `moment`, in UTC."""
        if self.since is not None:
            return moment.date() >= self.since
        if self.hours is None:
            return True
        start, end = self.hours
        now = moment.time()
        return start <= now < end if start <= end else now >= start or now < end


class Variant(Struct, frozen=True):
    """Prices that go before the others, kind by kind, for answers that say of themselves all that `told` has."""

    told: dict[str, str]
    price: Price
    when: When = When()


class Model(Struct, frozen=True):
    """One model. Of its prices the last that holds counts, else the first; of variants that set a kind the first."""

    id: str
    match: Match
    prices: tuple[tuple[When, Price], ...]
    variants: tuple[Variant, ...] = ()

    @property
    def every(self) -> Sequence[Price]:
        """Each price that may hold at some time."""
        return [price for _, price in self.prices]

    def at(self, now_s: float, context: Mapping[str, str]) -> Price:
        """Return the price at Unix time `now_s` for a request of that `service_tier` and `speed`."""
        price = self.prices[0][1]
        variants = self.variants if context else ()
        if len(self.prices) == 1 and not variants:
            return price
        moment = datetime.fromtimestamp(now_s, UTC)
        price = next((each for when, each in reversed(self.prices) if when.holds(moment)), price)
        set_by: dict[str, Any] = {}
        for variant in variants:
            if variant.when.holds(moment) and all(context.get(key) == value for key, value in variant.told.items()):
                for kind, rate in structs.asdict(variant.price).items():
                    if rate is not None:
                        set_by.setdefault(kind, rate)
        return structs.replace(price, **set_by) if set_by else price


class Provider(Struct, frozen=True, dict=True):
    """One provider. Its models stay unread until somebody asks: most providers are asked for by nobody."""

    id: str
    address: str
    elsewhere: tuple[str, ...]
    """The providers whose models it offers too."""
    unread: Raw

    @cached_property
    def models(self) -> Sequence[Model]:
        """What it offers; of several that fit a name the first counts."""
        return json.decode(self.unread, type=list[Model])

    def named(self, name: str) -> Model | None:
        """Return its own model whose names `name`, in lower case, is one of."""
        return next((model for model in self.models if model.match.fits(name)), None)


class Table(Struct, frozen=True):
    """All of them."""

    providers: tuple[Provider, ...]

    def find(self, known: str | None, base_url: str, model: str) -> Model | None:
        """Return `model` of the provider of id `known`; without one, of that which `base_url` is an address of."""
        for provider in self.providers:
            if provider.id == known if known is not None else base_url and re.match(provider.address, base_url):
                names = dict.fromkeys((model.lower(), _COMPACT_DATE.sub(_dashed, model.lower())))
                return next((found for name in names if (found := self._offered(provider, name)) is not None), None)
        return None

    def _offered(self, provider: Provider, name: str) -> Model | None:
        for each in (provider, *self._by_id(provider.elsewhere)):
            if (found := each.named(name)) is not None:
                return found
        return None

    def _by_id(self, ids: Sequence[str]) -> Iterator[Provider]:
        for wanted in ids:
            yield from [each for each in self.providers if each.id == wanted][:1]


def _dashed(found: re.Match[str]) -> str:
    """Return the date as the data writes it: 20251211 is 2025-12-11, where there is such a day."""
    year, month, day = map(int, found.groups())
    try:
        return f"-{date(year, month, day).isoformat()}"
    except ValueError:
        return found[0]
