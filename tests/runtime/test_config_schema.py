"""The published schema: current, valid, and of the same opinion as the loader."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator

from gateway.runtime.document import read_document
from gateway.runtime.home import STANDARD, Home, find_home
from gateway.runtime.load import load_config
from gateway.runtime.plugins import discover
from gateway.runtime.quirks import QUIRKS
from gateway.runtime.schema import build_schema
from tests.runtime.configuration import FixedCatalog

ROOT = STANDARD
PUBLISHED = json.loads((ROOT / "config/schema.json").read_text())

# What a schema cannot say: the loader alone knows names, files, variables, other sections, and YAML itself.
LOADER_ALONE = {
    "admin_open_without_token", "alias_inside_itself", "api_key_twice", "api_key_with_newline", "backoff_backwards",
    "bad_glob", "bad_listen", "base_url_no_host", "base_url_password", "base_url_query", "base_url_scheme",
    "both_listeners_at_one_address", "check_down_unknown", "complex_key", "duplicate_key", "duplicate_route",
    "echo_option_elsewhere", "fail_over_hundred", "header_hop_by_hop", "header_name_with_space", "header_twice",
    "header_with_newline", "include_nothing", "keep_alive_elsewhere",
    "ledger_bad_port", "ledger_kept_too_short", "ledger_names_no_file", "ledger_unknown",
    "listen_port_too_large", "path_without_slash", "plugin_twice", "provider_name_with_slash",
    "provider_not_declared", "provider_unknown", "provider_without_base_url", "proxy_over_the_direct_transport",
    "route_plugin_twice", "state_ca_missing", "state_sentinel_without_service", "state_unknown", "tab", "tag",
    "target_model_glob", "target_override_infinite",
    "target_without_slash", "tls_ca_missing", "too_deep", "trusted_proxies", "two_documents", "unclosed_list",
    "unknown_alias", "unknown_provider_in_fallback", "unknown_provider_in_target", "variable_bad_name",
    "variable_file_missing", "variable_in_duration", "variable_in_enum", "variable_in_listen", "variable_in_number",
    "variable_in_target", "variable_in_workers", "variable_unclosed", "variable_unset", "workers",
}  # fmt: skip
MARKED = [path for path in sorted((Path(__file__).parent / "broken").glob("*.yaml")) if path.stem not in LOADER_ALONE]


def test_the_committed_schema_is_current() -> None:
    current = build_schema(discover(Home(ROOT, ROOT / "gateway.yaml")))
    assert current == PUBLISHED, "run `gateway schema > config/schema.json`"


def test_the_committed_schema_is_a_schema() -> None:
    Draft202012Validator.check_schema(PUBLISHED)


def test_every_setting_of_the_core_is_described() -> None:
    def undescribed(schema: object, path: str) -> list[str]:
        if not isinstance(schema, dict):
            return []
        found = []
        for name, inner in schema.get("properties", {}).items():
            if not inner.get("description"):
                found.append(f"{path}.{name}")
            found += undescribed(inner, f"{path}.{name}")
        return (
            found
            + undescribed(schema.get("items"), f"{path}[]")
            + undescribed(schema.get("additionalProperties"), f"{path}.*")
        )

    assert undescribed(PUBLISHED, "") == []


@pytest.mark.parametrize("path", MARKED, ids=[path.stem for path in MARKED])
def test_an_editor_sees_what_a_schema_can_say(path: Path) -> None:
    document = read_document(path.read_bytes(), "gateway.yaml").plain()
    assert list(Draft202012Validator(build_schema(FixedCatalog())).iter_errors(document))


def test_the_repositorys_own_home_loads_without_any_key_and_fits_its_schema() -> None:
    home = find_home(str(ROOT), {})
    config = load_config(home, {}, discover(home))
    assert len(config.warnings) == 2
    assert {provider.name for provider in config.providers if provider.enabled} >= {"echo", "ollama"}
    assert home.file.read_text().splitlines()[0] == "# yaml-language-server: $schema=config/schema.json"
    document = read_document(home.file.read_bytes(), "gateway.yaml").plain()
    assert list(Draft202012Validator(PUBLISHED).iter_errors(document)) == []


def test_an_expansion_may_stand_for_any_value() -> None:
    document = {
        "version": 1,
        "server": {"max_in_flight": "${N}", "max_body": "${SIZE:-20MiB}", "timeouts": {"body": "${T}"}},
        "providers": {"mine": {"dialect": "${D}", "base_url": "${URL}", "tls": {"verify": "${V:-true}"}}},
    }
    assert list(Draft202012Validator(PUBLISHED).iter_errors(document)) == []


def test_a_plugins_own_references_still_point_into_its_schema() -> None:
    schema = build_schema(FixedCatalog())
    good = {"plugins": [{"limits": {"limits": [{"per": "key", "requests": "60/min"}]}}]}
    bad = {"plugins": [{"limits": {"limits": [{"per": "key", "requests": "60"}]}}]}
    assert list(Draft202012Validator(schema).iter_errors(good)) == []
    assert list(Draft202012Validator(schema).iter_errors(bad))


@pytest.mark.parametrize(
    ("entry", "fits"),
    [
        ("cors", True), ({"cors": {"origins": []}}, True), ({"cors": None}, True), ({"cors": "off"}, False),
        ({"use": "a.b:C"}, True), ({"use": "a.b:C", "mine": {"x": 1}}, True), (7, False),
        ({"cors": {}, "timeouts": {}}, False),
    ],
)  # fmt: skip
def test_an_entry_of_the_chain_is_a_name_a_mapping_or_a_use(entry: object, fits: bool) -> None:
    found = list(Draft202012Validator(build_schema(FixedCatalog())).iter_errors({"plugins": [entry]}))
    assert (found == []) is fits


def test_off_is_for_routes() -> None:
    document = {"routes": [{"name": "a", "targets": ["echo/echo"], "plugins": [{"cors": "off"}]}]}
    assert list(Draft202012Validator(build_schema(FixedCatalog())).iter_errors(document)) == []


def test_every_quirk_that_code_looks_up_can_be_set_and_every_other_is_gone() -> None:
    looked_up = {
        name
        for path in (ROOT / "gateway").rglob("*.py")
        if path.parent.name != "runtime"
        for name in re.findall(r'quirks(?:\.get\(|\[)"(\w+)"', path.read_text())
    }
    own_settings = {"num_ctx", "keep_alive", "delay_s", "fail"}
    assert looked_up - own_settings == QUIRKS["properties"].keys()
