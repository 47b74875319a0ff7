from __future__ import annotations

import os

import pytest
from click.testing import Result

from gateway.runtime.config import Config
from gateway.runtime.decided import Asked, decide
from gateway.runtime.home import find_home
from gateway.runtime.load import load_config
from gateway.runtime.plugins import discover
from tests.cli.conftest import Command

SOURCE = """
model_list:
  - model_name: gpt-4o
    litellm_params:
      model: azure/gpt-4o-eu
      api_base: https://eu.openai.azure.com/
      api_key: os.environ/AZURE_EU
      api_version: "2024-02-01"
  - model_name: gpt-4o
    litellm_params:
      model: azure/gpt-4o-us
      api_base: https://us.openai.azure.com/
      api_key: os.environ/AZURE_US
      rpm: 60
      temperature: 0.2
    model_info: {mode: chat}
  - model_name: claude
    litellm_params: {model: anthropic/claude-sonnet-4-5, api_key: sk-ant-LITERALSECRET}
  - model_name: claude
    litellm_params: {model: claude-haiku-4-5, api_key: os.environ/SECOND_KEY, stop: [x]}
  - model_name: "*"
    litellm_params: {model: "openai/*", api_key: os.environ/OPENAI_API_KEY}
  - model_name: local
    litellm_params: {model: hosted_vllm/meta/llama, api_base: "http://10.0.0.1:8000/v1", api_key: none}
  - model_name: bed
    litellm_params: {model: bedrock/anthropic.claude}
router_settings:
  routing_strategy: usage-based-routing-v2
  num_retries: 2
  timeout: 45
  redis_host: localhost
  model_group_alias: {gpt-4: gpt-4o, nobody: nothing}
  fallbacks: [{gpt-4o: [claude, local]}, {zzz: [claude]}]
litellm_settings:
  drop_params: true
  context_window_fallbacks: [{claude: [local]}]
  default_fallbacks: [local]
general_settings: {master_key: sk-1234, database_url: "postgresql://u:hiddenpass@h/db"}
"""


def imported(command: Command, text: str) -> tuple[Result, Config]:
    source = command.folder.with_name("source.yaml")
    source.write_text(text)
    result = command("init", str(command.folder), "--from", str(source))
    assert result.exit_code == 0, result.output
    home = find_home(str(command.folder), os.environ)
    return result, load_config(home, os.environ, discover(home))


@pytest.fixture
def result_and_config(command: Command) -> tuple[Result, Config]:
    return imported(command, SOURCE)


def route(config: Config, name: str) -> tuple[list[str], dict[str, list[str]]]:
    found = next(each for each in config.routes if each.name == name)
    targets = [f"{each.provider}/{each.model}" for each in found.targets]
    return targets, {key: [f"{each.provider}/{each.model}" for each in value] for key, value in found.fallbacks.items()}


def test_groups_become_routes_with_their_fallbacks(result_and_config: tuple[Result, Config]) -> None:
    _, config = result_and_config
    assert route(config, "gpt-4o") == (
        ["azure/gpt-4o-eu", "azure-2/gpt-4o-us"],
        {"any": ["anthropic/claude-sonnet-4-5", "anthropic-2/claude-haiku-4-5", "vllm/meta/llama"]},
    )
    assert route(config, "claude") == (
        ["anthropic/claude-sonnet-4-5", "anthropic-2/claude-haiku-4-5"],
        {"context_length": ["vllm/meta/llama"], "any": ["vllm/meta/llama"]},
    )
    gpt = config.routes[0]
    assert (gpt.model, gpt.retry_attempts, gpt.on_unsupported) == (("gpt-4o", "gpt-4"), 3, "drop")
    assert gpt.targets[1].params == {"temperature": 0.2}


def test_exact_names_go_before_the_pattern_that_would_hide_them(result_and_config: tuple[Result, Config]) -> None:
    _, config = result_and_config
    assert [each.name for each in config.routes] == ["gpt-4o", "claude", "local", "*"]
    taken = decide(config, Asked(model="local")).route
    assert taken is not None and taken.name == "local"


def test_providers_differ_by_place_and_key_and_keep_what_is_known(result_and_config: tuple[Result, Config]) -> None:
    _, config = result_and_config
    providers = {each.name: each for each in config.providers}
    assert providers["azure"].base_url == "https://eu.openai.azure.com/openai/v1"
    assert providers["azure-2"].base_url == "https://us.openai.azure.com/openai/v1"
    assert providers["azure-2"].quirks["key_header"] == "api-key"
    assert providers["anthropic-2"].quirks["key_header"] == "x-api-key"
    assert providers["anthropic-2"].base_url == "https://api.anthropic.com"
    assert providers["vllm"].base_url == "http://10.0.0.1:8000/v1"
    assert providers["vllm"].enabled


def test_timeouts_go_to_the_plugin(result_and_config: tuple[Result, Config]) -> None:
    _, config = result_and_config
    timeouts = next(plugin for plugin in config.plugins if plugin.name == "timeouts")
    assert timeouts.options is not None and timeouts.options["total"] == 45.0


def test_all_that_was_left_out_is_listed_by_its_path(
    command: Command, result_and_config: tuple[Result, Config]
) -> None:
    result, _ = result_and_config
    listed = {line.split(": ")[0].strip() for line in result.stdout.partition("not carried over:\n")[2].splitlines()}
    assert listed == {
        "model_list[0].litellm_params.api_version",
        "model_list[1].litellm_params.rpm",
        "model_list[1].model_info",
        "model_list[2].litellm_params.api_key",
        "model_list[3].litellm_params.stop",
        "model_list[6].litellm_params.model",
        "router_settings.routing_strategy",
        "router_settings.model_group_alias.nobody",
        "router_settings.fallbacks[1].zzz",
        "general_settings.master_key",
        "general_settings.database_url",
    }
    text = (command.folder / "gateway.yaml").read_text()
    assert all(path in text for path in listed)


def test_no_credential_reaches_the_new_home(command: Command, result_and_config: tuple[Result, Config]) -> None:
    result, _ = result_and_config
    texts = [path.read_text() for path in command.folder.rglob("*") if path.is_file()]
    for secret in ("LITERALSECRET", "hiddenpass", "sk-1234"):
        assert not any(secret in text for text in [*texts, result.output])
    assert "AZURE_EU=\n" in (command.folder / ".env.example").read_text()
    assert command("check", str(command.folder)).exit_code == 0


def test_a_name_that_a_pattern_would_change_is_left_out(command: Command) -> None:
    entry = '{model_name: "groq/*", litellm_params: {model: "groq/*"}}'
    kept = "{model_name: 'gpt-*', litellm_params: {model: 'openai/gpt-*'}}"
    result, config = imported(command, f"model_list: [{entry}, {kept}]\n")
    assert [each.name for each in config.routes] == ["gpt-*"]
    assert "model_list[0].litellm_params.model" in result.stdout


def test_hostile_names_cannot_leave_the_comment_or_expand(command: Command) -> None:
    hostile = ('"a\\n}"', "'${HOME}'", "'a[b'", "'#'", "'\\'", "'null'")
    entries = [f"{{model_name: {name}, litellm_params: {{model: openai/x, api_base: {name}}}}}" for name in hostile]
    entries += [f"{{model_name: {name}, litellm_params: {{model: openai/x}}}}" for name in hostile]
    entries += ['{model_name: b, litellm_params: {model: "z\\nroutes: []/x"}}', '{"x\\ny": 1}']
    _, config = imported(command, f"model_list: [{', '.join(entries)}]\n")
    lines = (command.folder / "gateway.yaml").read_text().splitlines()
    assert sum(line.startswith("routes:") for line in lines) == 1
    assert [each.model for each in config.routes] == [("a[[]b",), ("#",), ("\\",), ("null",)]


SMALL = "model_list: [{model_name: gpt, litellm_params: {model: openai/gpt-5}}]\n"


def test_where_proxies_share_their_counts_is_the_state(
    command: Command, result_and_config: tuple[Result, Config]
) -> None:
    assert result_and_config[1].state.addresses == (("localhost", 6379),)


@pytest.mark.parametrize(
    "redis",
    [
        "redis_url: redis://:hiddenpass@cache:6379",
        "redis_host: cache, redis_password: hiddenpass",
        "redis_host: os.environ/REDIS_HOST, redis_port: 6379",
        "redis_host: cache, redis_port: 99999",
    ],
)
def test_a_shared_place_with_a_credential_or_a_variable_is_left_to_its_owner(command: Command, redis: str) -> None:
    result, config = imported(command, SMALL + f"router_settings: {{{redis}}}\n")
    assert config.state.kind == "memory"
    assert "  router_settings.redis_" in result.stdout
    assert "hiddenpass" not in result.stdout + (command.folder / "gateway.yaml").read_text()


def options_of(config: Config, name: str) -> object:
    return next((plugin.options for plugin in config.plugins if plugin.name == name), None)


@pytest.mark.parametrize("never", ["cooldown_time: 0", "disable_cooldowns: true", "cooldown_time: 0, allowed_fails: 3"])
def test_targets_that_never_rest_have_no_breaker(command: Command, never: str) -> None:
    result, config = imported(command, SMALL + f"router_settings: {{{never}}}\n")
    assert options_of(config, "circuit_breaker") is None
    assert "not carried over: nothing" in result.stdout


def test_cooldowns_become_the_breakers(command: Command) -> None:
    result, config = imported(command, SMALL + "router_settings: {allowed_fails: 3, cooldown_time: 45}\n")
    options = options_of(config, "circuit_breaker")
    assert isinstance(options, dict)
    assert (options["failures"], options["open_for"]) == (4, 45.0)
    assert "not carried over: nothing" in result.stdout


def test_a_cooldown_that_is_no_time_is_told(command: Command) -> None:
    result, _ = imported(command, SMALL + "router_settings: {allowed_fails: -1, cooldown_time: soon}\n")
    for name in ("allowed_fails", "cooldown_time"):
        assert f"  router_settings.{name}: is no" in result.stdout


def test_a_gateway_that_asked_for_a_key_does_not_let_everybody_in(command: Command) -> None:
    _, config = imported(command, SMALL + "general_settings: {master_key: os.environ/MASTER}\n")
    options = options_of(config, "auth")
    assert isinstance(options, dict)
    assert options["anonymous"] == "never"
    _, config = imported(Command(command.folder.with_name("open")), SMALL)
    options = options_of(config, "auth")
    assert isinstance(options, dict)
    assert options["anonymous"] == "when_unconfigured"
