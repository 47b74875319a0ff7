"""config/prices.yaml: the operator's words go before what is published."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import pytest

from gateway.chat import Usage
from gateway.errors import ConfigError
from gateway.pricing import Billed, Prices, Published
from gateway.runtime.home import STANDARD, Home
from gateway.runtime.prices import PRICES_FILE, read_prices
from gateway.testing import running_gateway

MILLION = Usage(prompt_tokens=1_000_000)
PUBLISHED = Published()


def home_with(folder: Path, text: str) -> Home:
    (folder / "config").mkdir()
    (folder / PRICES_FILE).write_text(text)
    return Home(folder, folder / "gateway.yaml")


def prices(folder: Path, text: str, free: frozenset[str] = frozenset()) -> Prices:
    names = ("openai", "azure", "own", "local")
    billed = {name: Billed(free=name in free) for name in names}
    return Prices(billed, read_prices(home_with(folder, text), {}), PUBLISHED, lambda: 0.0)


def test_an_entry_goes_before_the_published_price_kind_by_kind(tmp_path: Path) -> None:
    asked = prices(tmp_path, '"openai/gpt-4o": {input: 1.1}\n')
    assert asked.cost("openai", "gpt-4o", MILLION) == Decimal("1.1")  # a tenth is a tenth
    assert asked.cost("openai", "gpt-4o", Usage(completion_tokens=1_000_000)) == 10  # as published
    assert asked.cost("openai", "gpt-4o-mini", MILLION) == Decimal("0.15")


def test_the_first_entry_that_fits_counts_and_a_star_crosses_slashes(tmp_path: Path) -> None:
    asked = prices(tmp_path, '"own/big-*": {input: 5, output: 5}\n"own/*": {input: 1, output: 1}\n')
    assert asked.cost("own", "big-one", MILLION) == 5
    assert asked.cost("own", "org/small", MILLION) == 1
    assert asked.cost("azure", "small", MILLION) is None


def test_a_provider_may_have_anothers_prices(tmp_path: Path) -> None:
    asked = prices(tmp_path, '"own/*": {like: openai}\n"azure/ours": {like: openai/gpt-4o, output: 3}\n')
    assert asked.cost("own", "gpt-4o", MILLION) == asked.cost("azure", "ours", MILLION) == Decimal("2.5")
    assert asked.cost("azure", "ours", Usage(completion_tokens=1_000_000)) == 3
    assert asked.cost("own", "never-heard-of", MILLION) is None


def test_tiers_begin_above_their_prompt(tmp_path: Path) -> None:
    asked = prices(tmp_path, '"own/*": {input: 1, output: 2, tiers: [{above: 1000, input: 3}]}\n')
    assert asked.cost("own", "m", Usage(prompt_tokens=1000, completion_tokens=1)) == Decimal("0.001002")
    assert asked.cost("own", "m", Usage(prompt_tokens=1001, completion_tokens=1)) == Decimal("0.003005")
    assert asked.bound("own", "m", 1001, 1) == Decimal("0.003005")


def test_a_kind_that_nobody_priced_stays_unknown(tmp_path: Path) -> None:
    asked = prices(tmp_path, '"own/*": {input: 1}\n')
    assert asked.cost("own", "m", MILLION) == 1
    assert asked.cost("own", "m", Usage(prompt_tokens=1, completion_tokens=1)) is None


def test_a_free_provider_stays_free(tmp_path: Path) -> None:
    assert prices(tmp_path, '"local/*": {input: 1}\n', frozenset({"local"})).cost("local", "m", MILLION) == 0


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("openai: {input: 1}\n", 'config/prices.yaml:1:1: "openai" names no model; write provider/model, such as "openai/*"'),
        ('"a/b": {inputs: 1}\n', 'config/prices.yaml:1:9: a/b: unknown key "inputs"; did you mean "input"?'),
        ('"a/b": {input: -1}\n', "config/prices.yaml:1:16: a/b.input: "),
        ('"a/b": {input: cheap}\n', "config/prices.yaml:1:16: a/b.input: "),
        ('"a/b": {like: opnai}\n', 'config/prices.yaml:1:15: a/b.like: no published prices are known for "opnai"; did you mean "openai"?'),
        ('"a/b": {input: 1, tiers: [{above: 5, output: 1}]}\n', 'config/prices.yaml:1:26: a/b.tiers: tiers state a price for "output", the entry itself none; add output'),
        ('"a/b": {}\n', "config/prices.yaml:1:8: a/b: "),
        ("- a\n", "config/prices.yaml:1:1: must be a mapping"),
    ],
)  # fmt: skip
def test_a_wrong_file_is_told_with_its_place(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(ConfigError) as met:
        read_prices(home_with(tmp_path, text), {})
    assert str(met.value).startswith(said)


def test_the_standard_file_loads_and_is_looked_at_last(tmp_path: Path) -> None:
    assert (STANDARD / PRICES_FILE).is_file()
    read: dict[Path, bytes] = {}
    entries = read_prices(home_with(tmp_path, '"openai/*": {input: 9, output: 9}\n'), read)
    assert list(read) == [tmp_path / PRICES_FILE, STANDARD / PRICES_FILE]
    assert len(entries) > 1
    asked = prices_of(entries)
    assert asked.cost("openai", "omni-moderation-latest", MILLION) == 9
    assert prices_of(entries[1:]).cost("openai", "omni-moderation-latest", MILLION) == 0


def prices_of(entries: object) -> Prices:
    return Prices({"openai": Billed()}, entries, PUBLISHED, lambda: 0.0)  # type: ignore[arg-type]


async def test_a_reload_takes_new_prices_and_refuses_wrong_ones() -> None:
    config = "providers: {openai: {api_key: k}}\nroutes: [{name: all, targets: [echo/echo]}]"
    async with running_gateway(config, files={str(PRICES_FILE): '"openai/m": {input: 1}'}) as gateway:
        assert gateway.core.snapshot.pricing.cost("openai", "m", MILLION) == 1
        (gateway.home / PRICES_FILE).write_text('"openai/m": {input: 2}')
        await gateway.reloader.reload("test")
        assert gateway.core.snapshot.pricing.cost("openai", "m", MILLION) == 2
        (gateway.home / PRICES_FILE).write_text('"openai/m": {inputt: 3}')
        with pytest.raises(ConfigError):
            await gateway.reloader.reload("test")
        assert gateway.core.snapshot.pricing.cost("openai", "m", MILLION) == 2
