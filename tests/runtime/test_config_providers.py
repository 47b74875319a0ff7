"""The providers of a home: what is known of them, keys, addresses."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import trustme

from gateway.runtime.document import read_document
from gateway.runtime.home import STANDARD
from gateway.runtime.load import load_config
from tests.runtime.configuration import ENVIRON, FixedCatalog, errors, load, write


def provider(tmp_path: Path, entry: str, name: str = "openai") -> Any:
    config = load(tmp_path, f"version: 1\nproviders:\n  {name}: {entry}\n")
    return next(one for one in config.providers if one.name == name)


def test_a_known_name_brings_dialect_base_url_and_quirks(tmp_path: Path) -> None:
    found = provider(tmp_path, "{api_key: k}", "anthropic")
    assert (found.dialect, found.base_url, found.enabled) == ("anthropic", "https://api.anthropic.com", True)
    assert found.quirks["key_header"] == "x-api-key"
    assert [key.reveal() for key in found.credentials] == ["k"]


def test_setting_base_url_keeps_the_rest_of_what_is_known(tmp_path: Path) -> None:
    found = provider(tmp_path, "{base_url: http://127.0.0.1:9/v1/, api_key: k}")
    assert (found.base_url, found.dialect, found.key_variable) == ("http://127.0.0.1:9/v1", "openai", "OPENAI_API_KEY")
    assert found.quirks["max_tokens_field"] == "max_completion_tokens"


@pytest.mark.parametrize("entry", ["", "{}", "{headers: {}}"])
def test_an_absent_key_is_taken_from_the_known_variable(entry: str, tmp_path: Path) -> None:
    home = write(tmp_path, f"version: 1\nproviders:\n  openai: {entry}\n")
    config = load_config(home, {"OPENAI_API_KEY": "sk-1"}, FixedCatalog())
    assert [key.reveal() for key in config.providers[0].credentials] == ["sk-1"]
    assert config.warnings == ()


@pytest.mark.parametrize(
    "entry", ["{}", '{api_key: ""}', '{api_key: "${OPENAI_API_KEY:-}"}', '{api_keys: ["${OPENAI_API_KEY:-}", ""]}']
)
def test_an_empty_key_disables_with_one_warning_that_names_the_variable(entry: str, tmp_path: Path) -> None:
    config = load(tmp_path, f"version: 1\nproviders:\n  openai: {entry}\n")
    assert not config.providers[0].enabled
    assert config.warnings == ('providers.openai: provider "openai" is disabled, its key is empty; set OPENAI_API_KEY',)


def test_servers_of_ones_own_need_no_key_and_are_free(tmp_path: Path) -> None:
    config = load(tmp_path, "version: 1\nproviders: {ollama: {num_ctx: 8192, keep_alive: 5m}, vllm: {}, llamacpp: {}}")
    assert all(one.enabled and one.free for one in config.providers)
    assert config.providers[0].quirks == {"num_ctx": 8192, "keep_alive": "5m"}
    assert config.warnings == ()


def test_a_provider_of_ones_own_needs_a_key_only_when_one_is_named(tmp_path: Path) -> None:
    text = """
    version: 1
    providers:
      keyless: {dialect: openai_chat, base_url: "http://127.0.0.1:8000/v1"}
      keyed: {dialect: openai_chat, base_url: "http://127.0.0.1:8000/v1", api_keys: ["${KEY_A:-}", "${KEY_B:-}"]}
      two: {dialect: openai_chat, base_url: "http://127.0.0.1:8000/v1", api_keys: ["${SECRET}", "${EMPTY:-}", b]}
    """
    config = load(tmp_path, text)
    keyless, keyed, two = config.providers[:3]
    assert (keyless.enabled, keyed.enabled, two.enabled) == (True, False, True)
    assert [key.reveal() for key in two.credentials] == [ENVIRON["SECRET"], "b"]
    assert config.warnings == ('providers.keyed: provider "keyed" is disabled, its key is empty; set KEY_A or KEY_B',)


def test_passthrough_needs_no_key(tmp_path: Path) -> None:
    config = load(tmp_path, "version: 1\nproviders: {openai: {auth: passthrough}}")
    assert config.providers[0].enabled
    assert config.warnings == ()


def test_a_key_of_digits_stays_text_after_expansion(tmp_path: Path) -> None:
    assert provider(tmp_path, '{api_key: "${NUMBER}"}').credentials[0].reveal() == "42"


def test_the_echo_can_be_slow_and_failing(tmp_path: Path) -> None:
    found = provider(tmp_path, "{delay: 250ms, fail: 10%}", "echo")
    assert found.quirks == {"delay_s": 0.25, "fail": 0.1}
    assert found.enabled
    assert found.free


def test_headers_tls_and_proxy_are_kept(tmp_path: Path) -> None:
    entry = (
        '{api_key: k, headers: {x-team: platform}, tls: {verify: false, ca: ca.pem}, proxy: "http://127.0.0.1:3128"}'
    )
    config = load(
        tmp_path, f"version: 1\nproviders: {{openai: {entry}}}", **{"ca.pem": trustme.CA().cert_pem.bytes().decode()}
    )
    found = config.providers[0]
    assert found.headers == {"x-team": "platform"}
    assert (found.tls_verify, found.tls_ca) == (False, tmp_path / "ca.pem")
    assert (found.transport, found.proxy) == ("http", "http://127.0.0.1:3128")


def test_the_homes_own_providers_file_goes_before_the_standard_one(tmp_path: Path) -> None:
    known = """
    openai: {base_url: http://127.0.0.1:1/v1}
    ours: {dialect: anthropic, base_url: http://127.0.0.1:2, needs_key: false}
    """
    config = load(
        tmp_path, "version: 1\nproviders: {openai: {api_key: k}, ours: {}}", **{"config/providers.yaml": known}
    )
    openai, ours = config.providers[:2]
    assert (openai.base_url, openai.key_variable) == ("http://127.0.0.1:1/v1", "OPENAI_API_KEY")
    assert (ours.dialect, ours.enabled) == ("anthropic", True)
    assert tmp_path / "config/providers.yaml" in config.files


def test_a_broken_providers_file_is_told_at_its_place(tmp_path: Path) -> None:
    said = errors(tmp_path, "version: 1", **{"config/providers.yaml": "ours:\n  dialekt: openai\n"})
    assert said == ['config/providers.yaml:2:3: ours: unknown key "dialekt"; did you mean "dialect"?']


def test_every_standard_provider_is_complete() -> None:
    known = read_document((STANDARD / "config/providers.yaml").read_bytes(), "providers.yaml").plain()
    assert {
        "openai",
        "anthropic",
        "ollama",
        "groq",
        "deepseek",
        "gemini",
        "openrouter",
        "mistral",
        "together",
        "vllm",
        "llamacpp",
    } <= known.keys()
    for name, facts in known.items():
        if name in ("echo", "azure"):  # one has no address, the other's names the customer's resource
            continue
        assert facts["dialect"] and facts["base_url"] and facts["key_variable"], name
        assert facts["base_url"].endswith("/v1") is (
            facts["dialect"].startswith("openai") and name not in ("gemini", "perplexity")
        ), name
