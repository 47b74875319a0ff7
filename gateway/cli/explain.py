"""`gateway explain`: which route takes a request, why, and what happens then."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import click

from gateway.cli import show
from gateway.cli.built import built
from gateway.cli.home import Loaded, home_argument, load
from gateway.runtime import explained, shown, written
from gateway.runtime.config import RouteConfig
from gateway.runtime.decided import DEFAULT_PATH, Asked, Decision
from gateway.runtime.plugins import chain_of


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
    loaded = built(load(home))
    known = {provider.name for provider in loaded.config.providers}
    for name in down:
        if name not in known:
            raise click.UsageError(f'--down: no provider "{name}"; there are: {", ".join(sorted(known))}')
    asked = Asked(model, path or DEFAULT_PATH, _headers(headers), key, None, frozenset(down))
    decision, report = explained.explain(loaded.config, loaded.catalog, asked)
    if as_json:
        click.echo(json.dumps(report, indent=2, ensure_ascii=False))
    elif decision.route is not None:
        _print(loaded, decision, decision.route, report)
    if decision.route is None:
        _print_refusal(decision, asked)
        ctx.exit(2)
    if "refused" in report:
        click.echo(f"{report['refused']}: the answer would be 403", err=True)
        ctx.exit(2)


def _headers(pairs: Sequence[str]) -> dict[str, str]:
    found = {}
    for pair in pairs:
        name, equals, text = pair.partition("=")
        if not equals or not name:
            raise click.UsageError(f'--header {pair}: write it as NAME=VALUE, such as "x-env=prod"')
        found[name.strip()] = text
    return found


def _print(loaded: Loaded, decision: Decision, route: RouteConfig, report: Mapping[str, Any]) -> None:
    place = route.place
    show.facts(
        [
            ("route", f"{route.name} ({place.file}:{place.line})"),
            ("why", decision.why),
            ("balance", explained.balance(route, decision)),
            ("retry", shown.retry(route)),
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
    if route.plugin:
        click.echo(f"answered by the plugin {route.plugin}")
    else:
        show.table("targets", ("#", "target", "model", "fallback for", "state", "why"), rows)
    if not candidates and not route.plugin:
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
