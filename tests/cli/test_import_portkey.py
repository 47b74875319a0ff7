from __future__ import annotations

import json
from typing import Any

from click.testing import Result

from gateway.runtime.config import Config
from tests.cli.conftest import Command
from tests.cli.test_import_litellm import imported


def carried(command: Command, config: dict[str, Any]) -> tuple[Result, Config, set[str]]:
    result, loaded = imported(command, json.dumps(config, indent="\t"))
    left = result.stdout.partition("not carried over:\n")[2]
    return result, loaded, {line.split(": ")[0].strip() for line in left.splitlines()}


def names(config: Config, route: int = 0) -> list[str]:
    return [f"{each.provider}/{each.model}" for each in config.routes[route].targets]


def test_fallback_targets_keep_their_order_and_overrides(command: Command) -> None:
    _, config, left = carried(
        command,
        {
            "strategy": {"mode": "fallback", "on_status_codes": [429]},
            "request_timeout": 30000,
            "targets": [
                {
                    "provider": "openai",
                    "api_key": "$OPENAI_API_KEY",
                    "override_params": {"model": "gpt-5", "temperature": 0.1},
                },
                {"provider": "anthropic", "override_params": {"model": "claude-sonnet-4-5"}},
                {"provider": "groq"},
            ],
        },
    )
    assert names(config) == ["openai/gpt-5", "anthropic/claude-sonnet-4-5", "groq/*"]
    route = config.routes[0]
    assert (route.name, route.model, route.targets[0].override) == ("all", None, {"temperature": 0.1})
    assert route.retry_on == {"connect", "timeout", "broken", "429"}
    assert route.plugins[0].options is not None and route.plugins[0].options["total"] == 30.0
    assert left == set()


def test_what_portkey_keeps_or_only_it_has_is_listed(command: Command) -> None:
    result, config, left = carried(
        command,
        {
            "retry": {"attempts": 4, "onStatusCodes": [429, 503, 401], "use_retry_after_headers": True},
            "cache": {"mode": "semantic", "max_age": 60},
            "input_guardrails": ["pg-1"],
            "strategy": {"mode": "fallback"},
            "targets": [
                {"provider": "openai", "apiKey": "sk-LITERALSECRET", "overrideParams": {"model": "gpt-5"}},
                {"provider": "anthropic", "virtual_key": "anth-1", "override_params": {"logit_bias": {}}},
                {"provider": "@bedrock-prod"},
                {
                    "strategy": {"mode": "loadbalance"},
                    "targets": [{"provider": "google", "weight": 0}, {"provider": "groq"}],
                },
            ],
        },
    )
    assert names(config) == ["openai/gpt-5", "anthropic/*", "groq/*"]
    assert config.routes[0].retry_attempts == 5
    assert left == {
        "input_guardrails",
        "targets[0].api_key",
        "targets[1].virtual_key",
        "targets[1].override_params.logit_bias",
        "targets[2].provider",
        "targets[3].strategy",
        "targets[3].targets[0].weight",
        "retry.use_retry_after_headers",
        "retry.on_status_codes",
        "cache.mode",
    }
    assert "LITERALSECRET" not in result.output


def test_conditions_on_the_model_become_routes_and_the_default_comes_last(command: Command) -> None:
    _, config, left = carried(
        command,
        {
            "strategy": {
                "mode": "conditional",
                "conditions": [
                    {"query": {"params.model": {"$eq": "fast[est]"}}, "then": "small"},
                    {"query": {"params.model": {"$in": ["smart", "smarter"]}}, "then": "large"},
                    {"query": {"metadata.plan": {"$eq": "paid"}}, "then": "large"},
                ],
                "default": "small",
            },
            "targets": [
                {"name": "small", "provider": "openai", "override_params": {"model": "gpt-5-mini"}},
                {"name": "large", "provider": "openai", "override_params": {"model": "gpt-5"}},
            ],
        },
    )
    assert [each.model for each in config.routes] == [("fast[[]est]",), ("smart", "smarter"), None]
    assert [each.name for each in config.routes] == ["small", "large", "small-2"]
    assert left == {"strategy.conditions[2].query"}


def test_weights_are_told_when_this_version_cannot_share_by_weight(command: Command) -> None:
    result, config, left = carried(
        command,
        {
            "strategy": {"mode": "loadbalance"},
            "targets": [{"provider": "openai", "weight": 0.7}, {"provider": "groq", "weight": 0.3}],
        },
    )
    assert names(config) == ["openai/*", "groq/*"]
    if config.routes[0].balance == "weighted":
        assert [each.weight for each in config.routes[0].targets] == [700, 300]
        assert left == set()
    else:
        assert left == {"strategy.mode"}
    assert command("check", str(command.folder)).exit_code == 0, result.output


def test_a_single_provider_is_a_route_for_every_model(command: Command) -> None:
    _, config, left = carried(command, {"provider": "ollama", "custom_host": "http://10.0.0.2:11434/v1"})
    assert (names(config), left) == (["ollama/*"], set())
    assert {each.name: each.base_url for each in config.providers}["ollama"] == "http://10.0.0.2:11434"
