"""`gateway explain`: which route takes a request, why, and what happens then."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from typing import Any

import click

from gateway.cli import show, written
from gateway.cli.decide import DEFAULT_PATH, Asked, Decision, decide, key_of, match_of
from gateway.cli.home import Loaded, home_argument, load
from gateway.errors import PermissionDenied
from gateway.exchange import Principal, Timeouts
from gateway.runtime.config import Config, PluginConfig, RouteConfig
from gateway.runtime.plugins import chain_of, hooks_of
from gateway.server.allowed import refuse_foreign

LIMITING = ("rate_limit", "budget")
"""The standard plugins whose options are limits."""
HELD_BY = (("limits", "rate_limit"), ("budget", "budget"))
"""What stands beside a key, and the plugin that holds it: without that it is none."""

CHOSEN_BY = {
    "weighted": "in proportion to weight",
    "round_robin": "in turn",
    "least_busy": "by attempts under way for its weight",
    "fastest": "by the times of late",
    "cheapest": "by the price of the request",
    "sticky": "by its conversation",
}


@click.command()
@home_argument
@click.option("--model", default="", help="The model the request names.")
@click.option("--path", default=None, help=f"The request's path; {DEFAULT_PATH} when absent.")
@click.option("--key", default=None, metavar="NAME", help="The name of the caller's key; its tags are the file's.")
@click.option("--header", "headers", multiple=True, metavar="K=V", help="A request header; may be repeated.")
@click.option("--down", multiple=True, metavar="PROVIDER", help="Take a provider as down; may be repeated.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_context
def explain(
    ctx: click.Context,
    home: str | None,
    model: str,
    path: str | None,
    key: str | None,
    headers: Sequence[str],
    down: Sequence[str],
    as_json: bool,
) -> None:
    """Say which route takes a request, why, and which targets and plugins it meets. Sends nothing."""
    if not model and path is None:
        raise click.UsageError("say what the request is: --model M, --path P or both")
    loaded = load(home)
    known = {provider.name for provider in loaded.config.providers}
    for name in down:
        if name not in known:
            raise click.UsageError(f'--down: no provider "{name}"; there are: {", ".join(sorted(known))}')
    asked = Asked(model, path or DEFAULT_PATH, _headers(headers), key, None, frozenset(down))
    decision = decide(loaded.config, asked)
    report = explanation(loaded, decision, key_of(loaded.config, key))
    refusal = _refusal(loaded.config, asked, decision)
    if refusal:
        report["refused"] = refusal
    if as_json:
        click.echo(json.dumps(report, indent=2, ensure_ascii=False))
    elif decision.route is not None:
        _print(loaded, decision, decision.route, report)
    if decision.route is None:
        _print_refusal(decision, asked)
        ctx.exit(2)
    if refusal:
        click.echo(f"{refusal}: the answer would be 403", err=True)
        ctx.exit(2)


def _headers(pairs: Sequence[str]) -> dict[str, str]:
    found = {}
    for pair in pairs:
        name, equals, text = pair.partition("=")
        if not equals or not name:
            raise click.UsageError(f'--header {pair}: write it as NAME=VALUE, such as "x-env=prod"')
        found[name.strip()] = text
    return found


def explanation(loaded: Loaded, decision: Decision, key: Mapping[str, Any]) -> dict[str, Any]:
    """Return everything `--json` prints; `route` is null when no route takes the request. `key` stands in the file."""
    route = decision.route
    passed = [
        {"route": verdict.value.name, "why": verdict.reason} for verdict in decision.verdicts if not verdict.taken
    ]
    if route is None:
        return {"route": None, "passed_over": passed}
    chain = chain_of(loaded.config.plugins, route.plugins)
    first = decision.first(with_disabled=False)
    candidates = decision.candidates(with_disabled=False)
    return {
        "route": route.name,
        "why": decision.why,
        "match": show.match(match_of(route)),
        "passed_over": passed,
        "first": first.names[1] if first else None,
        "first_of": [step.names[1] for step in candidates],
        "targets": [
            {
                "target": step.names[0],
                "model": step.model,
                "for": step.cause,
                "weight": step.target.weight,
                "state": step.state,
                "why": step.why,
            }
            for step in decision.steps
        ],
        "balance": route.balance,
        "retry": {
            "attempts": route.retry_attempts,
            "on": sorted(route.retry_on),
            "backoff": f"{written.duration(route.backoff_min_s)}..{written.duration(route.backoff_max_s)}",
        },
        "plugins": [
            {
                "name": plugin.name,
                "from": loaded.catalog.origin(plugin.name, plugin.use).path,
                "hooks": list(hooks_of(loaded.catalog.load(plugin.name, plugin.use))),
                "options": show.options(loaded.catalog, plugin),
            }
            for plugin in chain
        ],
        "limits": _limits(loaded, chain, key),
        "timeouts": _timeouts(loaded.config, chain),
    }


def _balance(route: RouteConfig, decision: Decision) -> str:
    """Return the balance, and what it chooses by where the file alone does not say which target is first."""
    count = len(decision.candidates(with_disabled=False))
    return f"{route.balance}: one of {count} targets first, {CHOSEN_BY[route.balance]}" if count > 1 else route.balance


def _limits(loaded: Loaded, chain: Sequence[PluginConfig], key: Mapping[str, Any]) -> dict[str, Any]:
    server = loaded.config.server
    limits: dict[str, Any] = {"max_body": written.size(server.max_body_bytes), "max_in_flight": server.max_in_flight}
    limits |= {plugin.name: show.options(loaded.catalog, plugin) for plugin in chain if plugin.name in LIMITING}
    own = {name: written.value(key[name]) for name, by in HELD_BY if name in key and by in limits}
    return limits | ({"key": own} if own else {})


def _refusal(config: Config, asked: Asked, decision: Decision) -> str:
    """Return why the caller's key may not do this, "" when it may."""
    entry, route = key_of(config, asked.key), decision.route
    if route is None or not entry:
        return ""
    models, routes = (_several(entry.get(name)) for name in ("models", "routes"))
    try:
        refuse_foreign(Principal(str(entry["name"]), models=models, routes=routes), asked.model, route.name)
    except PermissionDenied as error:
        return error.message
    return ""


def _several(given: str | list[str] | None) -> tuple[str, ...] | None:
    return given if given is None else (given,) if isinstance(given, str) else tuple(given)


def _timeouts(config: Config, chain: Sequence[PluginConfig]) -> dict[str, str]:
    """Return the upstream timeouts in effect: the plugin's, else the defaults, which hold without it too."""
    named: Mapping[str, Any] = next((plugin.options or {} for plugin in chain if plugin.name == "timeouts"), {})
    found = {}
    for each in dataclasses.fields(Timeouts):
        name = each.name.removesuffix("_s")
        given = named.get(name, each.default)
        found[name] = written.duration(given) if isinstance(given, (int, float)) else str(given)
    return found


def _print(loaded: Loaded, decision: Decision, route: RouteConfig, report: Mapping[str, Any]) -> None:
    place = route.place
    show.facts(
        [
            ("route", f"{route.name} ({place.file}:{place.line})"),
            ("why", decision.why),
            ("balance", _balance(route, decision)),
            ("retry", show.retry(route)),
            ("limits", written.line(report["limits"])),
            ("timeouts", written.line(report["timeouts"])),
        ]
    )
    click.echo()
    candidates = decision.candidates(with_disabled=False)
    drawn = candidates if len(candidates) > 1 else ()
    rows = [
        (
            "any" if step in drawn else str(number),
            step.names[0],
            step.model,
            "" if step.cause == "target" else step.cause,
            step.state,
            step.why,
        )
        for number, step in enumerate(decision.steps, start=1)
    ]
    show.table("targets", ("#", "target", "model", "fallback for", "state", "why"), rows)
    if not candidates:
        click.echo("no target can be used: the answer would be 503")
    click.echo()
    chain = show.chain(loaded.catalog, chain_of(loaded.config.plugins, route.plugins))
    show.table("plugins, outermost first", ("name", "from", "hooks", "options"), chain)
    if report["passed_over"]:
        click.echo()
        show.table("passed over", ("route", "why"), [(each["route"], each["why"]) for each in report["passed_over"]])


def _print_refusal(decision: Decision, asked: Asked) -> None:
    what = f'model "{asked.model}"' if asked.model else "a request without a model"
    click.echo(f"no route takes {what} on {asked.path}: the answer would be 404", err=True)
    for verdict in decision.verdicts:
        click.echo(f"  {verdict.value.name}: {verdict.reason}", err=True)
    if not decision.verdicts:
        click.echo("  there are no routes", err=True)
