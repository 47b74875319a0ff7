"""Whatever the source holds, an import ends in a home that loads or in a ConfigError."""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from gateway.cli.imports import import_from
from gateway.cli.imports.draft import Surface
from gateway.cli.newhome import files_of
from gateway.errors import ConfigError
from gateway.runtime.home import Home
from gateway.runtime.known import read_known
from gateway.runtime.load import load_config
from gateway.runtime.plugins import discover

MODELS = "gpt-4 * gpt-* a/b openai/gpt-4 openai/* azure/x anthropic/claude ollama/l x/y a[b ? ${X} # null b"
PLACES = "os.environ/KEY sk-abcdefghijk http://h:1/v1 https://h ftp://h @x openai anthropic google"
MODES = "simple-shuffle least-busy fallback loadbalance conditional single simple"
WORDS = st.sampled_from([*MODELS.split(), *PLACES.split(), *MODES.split(), "", "\n", "é", "🙂"])
SCALARS = st.none() | st.booleans() | st.integers(-2, 600) | st.floats(allow_nan=False, allow_infinity=False) | WORDS


def tree(keys: list[str]) -> st.SearchStrategy[Any]:
    names = st.sampled_from(keys) | WORDS
    return st.recursive(
        SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=4), max_leaves=12
    )


PARAMS = ["model", "api_key", "api_base", "weight", "rpm", "temperature", "max_tokens", "custom_llm_provider", "stop"]
SETTINGS = [
    "routing_strategy",
    "num_retries",
    "timeout",
    "request_timeout",
    "allowed_fails",
    "cooldown_time",
    "disable_cooldowns",
    "redis_url",
    "redis_host",
    "redis_port",
    "cache",
    "model_group_alias",
    "fallbacks",
    "context_window_fallbacks",
    "default_fallbacks",
    "drop_params",
    "master_key",
]
ENTRY = st.fixed_dictionaries(
    {
        "model_name": WORDS,
        "litellm_params": st.fixed_dictionaries({"model": WORDS}, optional={key: tree(PARAMS) for key in PARAMS[1:]}),
    }
)
SECTION = st.dictionaries(st.sampled_from(SETTINGS), tree(SETTINGS), max_size=5) | tree(SETTINGS)
LITELLM = st.fixed_dictionaries(
    {"model_list": st.lists(ENTRY | tree(PARAMS), max_size=4)},
    optional={"router_settings": SECTION, "litellm_settings": SECTION, "general_settings": SECTION},
)
KEYS = [
    "provider",
    "api_key",
    "virtual_key",
    "custom_host",
    "weight",
    "override_params",
    "retry",
    "requestTimeout",
    "cache",
    "strategy",
    "targets",
    "name",
    "mode",
    "on_status_codes",
    "conditions",
    "default",
    "query",
    "then",
    "attempts",
    "params.model",
    "$eq",
    "model",
]
TARGET = st.dictionaries(st.sampled_from(KEYS), tree(KEYS), max_size=6)
STRATEGY = st.fixed_dictionaries(
    {"mode": WORDS}, optional={"conditions": tree(KEYS), "default": WORDS, "on_status_codes": tree(KEYS)}
)
PORTKEY = st.fixed_dictionaries(
    {"targets": st.lists(TARGET | tree(KEYS), max_size=3)},
    optional={
        "strategy": STRATEGY | tree(KEYS),
        "retry": tree(KEYS),
        "cache": tree(KEYS),
        "override_params": tree(KEYS),
    },
)


@given(LITELLM | PORTKEY | TARGET)
def test_anything_becomes_a_home_that_loads_or_a_config_error(source: Any) -> None:
    with tempfile.TemporaryDirectory() as folder:
        home = Home(Path(folder), Path(folder) / "gateway.yaml")
        file = home.folder / "source.json"
        file.write_text(json.dumps(source))
        plugins = discover(home).names()
        surface = Surface(read_known(home, {}), frozenset(plugins) | {"cache"}, frozenset({"ordered"}))
        try:
            draft = import_from(file, surface)
        except ConfigError:
            return
        assert "sk-abcdefghijk" not in str(draft.providers)
        draft.plugins.pop("cache", None)
        for name, text in files_of(draft, plugins, "source.json").items():
            (home.folder / name).parent.mkdir(exist_ok=True)
            (home.folder / name).write_text(text)
        load_config(home, os.environ, discover(home))
