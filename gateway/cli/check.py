"""`gateway check`: prove that a home's configuration can run, and that its `checks:` hold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import click

from gateway.cli import show
from gateway.cli.built import built
from gateway.cli.home import Loaded, home_argument, load
from gateway.errors import ConfigError, ConfigErrors
from gateway.router import Router
from gateway.runtime.config import CheckConfig, Config, RouteConfig
from gateway.runtime.decided import DEFAULT_PATH, Asked, Decision, Step, decide, router_of


@click.command()
@home_argument
def check(home: str | None) -> None:
    """Validate the file, the plugins and the `checks:`; print what was resolved, or every error."""
    loaded = load(home)
    errors: list[ConfigError] = []
    try:
        loaded = built(loaded)
    except ConfigErrors as error:
        errors = error.errors
    except ConfigError as error:
        errors = [error]
    errors = [*errors, *failures(loaded.config)]
    if errors:
        raise ConfigErrors(errors)
    _print(loaded)


def failures(config: Config) -> list[ConfigError]:
    """Return an error, at its place, for everything that `checks:` expects and the configuration does not do."""
    router = router_of(config)
    return [error for one in config.checks for error in _failures(config, router, one)]


def _failures(config: Config, router: Router[RouteConfig], one: CheckConfig) -> list[ConfigError]:
    asked = _asked(one.given)
    # Keys are set where the gateway runs, not where it is checked: without one a provider counts as enabled.
    decision = decide(config, asked, router)
    candidates = decision.candidates(with_disabled=True)
    found: list[tuple[str, str]] = []
    expected_route, expected_target = one.expect.get("route"), one.expect.get("target")
    taken = decision.route.name if decision.route else None
    if expected_route is not None and expected_route != taken:
        why = decision.why if decision.route else _nobody(decision)
        found.append((f"expected route {expected_route}, but {_takes(taken)} ({why})", _cure(asked)))
    # Where the balance chooses, a check holds when its target is among those that may be chosen.
    if expected_target is not None and not any(expected_target in step.names for step in candidates):
        would = f"it would go to {_any_of(candidates)}" if candidates else "no target could be used"
        would = would if decision.route else "no route takes the request"
        found.append((f"expected target {expected_target}, but {would}", _cure(asked)))
    place = one.place
    return [
        ConfigError(problem, file=place.file, line=place.line, column=place.column, path=place.path, cure=cure)
        for problem, cure in found
    ]


def _any_of(candidates: Sequence[Step]) -> str:
    return " or ".join(dict.fromkeys(step.names[1] for step in candidates))


def _asked(given: Mapping[str, Any]) -> Asked:
    headers, tags = given.get("header") or {}, given.get("tags")
    return Asked(
        model=str(given.get("model") or ""),
        path=str(given.get("path") or DEFAULT_PATH),
        headers={str(name): str(text) for name, text in headers.items()},
        key=given.get("key"),
        tags=None if tags is None else {str(name): str(text) for name, text in tags.items()},
        down=frozenset(given.get("down") or ()),
    )


def _takes(route: str | None) -> str:
    return f"route {route} takes the request" if route else "no route takes the request"


def _nobody(decision: Decision) -> str:
    return (
        "; ".join(f"{verdict.value.name}: {verdict.reason}" for verdict in decision.verdicts) or "there are no routes"
    )


def _cure(asked: Asked) -> str:
    words = [f"--model {asked.model}"] if asked.model else []
    words += [f"--path {asked.path}"] if asked.path != DEFAULT_PATH or not asked.model else []
    words += [f"--key {asked.key}"] if asked.key else []
    words += [f"--header {name}={text}" for name, text in asked.headers.items()]
    words += [f"--down {name}" for name in sorted(asked.down)]
    return "see gateway explain " + " ".join(words)


def _print(loaded: Loaded) -> None:
    config = loaded.config
    held = len(config.checks)
    show.facts(
        [
            ("home", str(config.home)),
            ("files", ", ".join(loaded.home.shown(path) for path in config.files)),
            ("digest", config.digest),
            ("listen", config.server.listen),
            ("admin", config.admin.listen or "off"),
            ("checks", f"{held} of {held} hold" if held else "none"),
        ]
    )
    for section in (show.providers, show.routes):
        click.echo()
        section(config)
    click.echo()
    show.table(
        "plugins, outermost first", ("name", "from", "hooks", "options"), show.chain(loaded.catalog, config.plugins)
    )
    if config.warnings:
        click.echo("\nwarnings:")
        for warning in config.warnings:
            click.echo(f"  {warning}")
    click.echo("\nok")
