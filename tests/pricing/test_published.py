"""The table made of genai-prices says what the package says: of every model, by every name, at every time."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from genai_prices.data import providers as theirs
from hypothesis import given
from hypothesis import strategies as st

from gateway.pricing import packaged
from gateway.pricing.published import NAMES, Published
from gateway.pricing.table import Table

TABLE = packaged.table()
MOMENTS = [
    datetime(year, month, 3, hour, 31, tzinfo=UTC) for year in (2024, 2026) for month in (2, 11) for hour in (4, 17)
]
CONTEXTS: list[Mapping[str, str]] = [
    {}, {"service_tier": "priority"}, {"service_tier": "batch"}, {"service_tier": "flex", "speed": "fast"},
    {"speed": "fast"}, {"service_tier": "Priority"},
]  # fmt: skip


def asked(provider: Any, name: str) -> str | None:
    found = provider.find_model(name, all_providers=theirs)
    return None if found is None else found.id


def answered(provider: Any, name: str) -> str | None:
    found = TABLE.find(provider.id, "", name)
    return None if found is None else found.id


@pytest.mark.parametrize("provider", theirs, ids=lambda each: each.id)
def test_every_model_has_the_price_that_the_package_has(provider: Any) -> None:
    [mine] = [each for each in TABLE.providers if each.id == provider.id]
    assert [model.id for model in mine.models] == [model.id for model in provider.models]
    for model, found in zip(provider.models, mine.models, strict=True):
        for moment in MOMENTS:
            for context in CONTEXTS:
                expected = packaged._price(model.get_prices(moment, context or None))
                assert found.at(moment.timestamp(), context) == expected, (model.id, moment, context)


@pytest.mark.parametrize("provider", theirs, ids=lambda each: each.id)
def test_every_name_finds_the_model_that_the_package_finds(provider: Any) -> None:
    for model in provider.models[:: 1 + len(provider.models) // 100]:
        base = model.id
        for name in (base, f"{base.upper()}-20251211", f"{base}-20250231", f"x-{base}"):
            assert answered(provider, name) == asked(provider, name), name


@given(
    st.sampled_from([each for each in theirs if each.id in NAMES.values()]), st.text(max_size=12), st.integers(0, 300)
)
def test_any_text_finds_what_the_package_finds(provider: Any, text: str, at: int) -> None:
    name = provider.models[at % len(provider.models)].id
    for each in (text, f"{text}{name}", f"{name}{text}"):
        assert answered(provider, each) == asked(provider, each)


def test_an_address_finds_the_provider_that_it_belongs_to() -> None:
    found = TABLE.find(None, "https://api.openai.com/v1", "gpt-4o")
    assert found is not None and found == TABLE.find("openai", "", "gpt-4o")
    assert TABLE.find(None, "http://127.0.0.1:8000/v1", "gpt-4o") is None
    assert TABLE.find(None, "", "gpt-4o") is None


def test_a_process_that_has_not_imported_the_package_gets_the_same_table_and_never_imports_it() -> None:
    program = (
        "import sys; from gateway.pricing import Published; import msgspec; table = Published().load();"
        "assert not any(name.startswith(('genai_prices', 'pydantic')) for name in sys.modules), 'imported';"
        "sys.stdout.buffer.write(msgspec.json.encode(table))"
    )
    said = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True).stdout
    assert msgspec.json.decode(said, type=Table) == TABLE


def test_where_no_process_can_be_started_the_package_is_imported() -> None:
    program = (
        "import sys; sys.executable = '/nowhere/python'; from gateway.pricing import Published;"
        "assert Published().find('openai', '', 'gpt-4o') is not None; assert 'genai_prices.data' in sys.modules"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


def test_a_table_that_is_loaded_is_not_loaded_again() -> None:
    published = Published()
    assert not published.is_loaded
    assert published.load() is published.load()
    assert published.is_loaded
