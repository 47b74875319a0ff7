"""`gateway keys`: make, list and revoke virtual keys. A key is shown once, when made; what is kept is its hash."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, TypeVar

import click

from gateway import credentials
from gateway.amounts import MoneyRate
from gateway.cli import show
from gateway.cli.home import Loaded, home_argument, load
from gateway.cli.newhome import flow
from gateway.errors import BadRequest, ConfigError, GatewayError
from gateway.ledger.ledger import Ledger, SavedKey
from gateway.ledger.opened import ledger_at
from gateway.runtime.clock import SystemClock
from gateway.runtime.issued import as_written, entry_of, issue
from gateway.telemetry import Logger

T = TypeVar("T")


@click.group()
def keys() -> None:
    """Make, list and revoke virtual keys."""


@keys.command()
@click.argument("name")
@home_argument
@click.option("--models", multiple=True, metavar="GLOBS", help="Models it may ask for, by comma; may be repeated.")
@click.option("--budget", metavar="MONEY", help="What it may spend, such as $50/month.")
@click.option("--expires-in", metavar="TIME", help="How long it holds, such as 12h, 30d or 2w.")
@click.option("--save", is_flag=True, help="Keep the hash in the ledger, where it holds at once.")
def new(
    name: str, home: str | None, models: Sequence[str], budget: str | None, expires_in: str | None, save: bool
) -> None:
    """Make a key for NAME and print it, once, with the line for auth.keys in gateway.yaml."""
    globs = tuple(glob for part in models for glob in part.split(",") if glob)
    if models and not globs:
        raise click.UsageError("--models names no model")
    try:
        issued = issue(name, SystemClock().time(), models=globs, budget=budget, expires_in=expires_in)
    except BadRequest as error:
        option = "NAME" if error.param is None or error.param == "name" else f"--{error.param.replace('_', '-')}"
        raise click.UsageError(f"{option}: {error.message}") from None
    if save:
        loaded = load(home)
        _with_ledger(loaded, lambda ledger: ledger.save_key(issued.saved))
        _warn_of_missing(loaded, ["auth"] if budget is None else ["auth", "budget"])
    click.echo(issued.key)
    click.echo(f"- {flow(issued.entry)}")
    where = "it is saved and holds at once" if save else "to let it in, put the line under auth.keys in gateway.yaml"
    click.echo(f"the key is shown this once; {where}", err=True)


def _warn_of_missing(loaded: Loaded, needed: Sequence[str]) -> None:
    """Say which of the plugins that a key needs run nowhere."""
    config = loaded.config
    chains = (config.plugins, *(route.plugins for route in config.routes))
    running = {each.name for chain in chains for each in chain if each.options is not None}
    without = {"auth": "nobody is asked for a key", "budget": "nothing holds the key's budget"}
    for name in needed:
        if name not in running:
            click.echo(f'warning: the plugin {name} is in no chain, so {without[name]}; add "- {name}"', err=True)


@keys.command(name="list")
@home_argument
def list_(home: str | None) -> None:
    """Show the keys of gateway.yaml and of the ledger, never the keys themselves."""
    loaded = load(home)
    now = SystemClock().time()
    rows = [_row("gateway.yaml", key, _state(_expiry(key), None, now)) for key in _in_file(loaded)]
    if loaded.config.ledger.url.reveal() != "none":
        saved = _with_ledger(loaded, lambda ledger: ledger.keys())
        rows += [_row("ledger", _as_entry(key), _state(key.expires_at, key.revoked_at, now)) for key in saved]
    show.table("keys", ("where", "name", "state", "hash", "models", "budget", "expires"), rows)


@keys.command()
@click.argument("name")
@home_argument
def revoke(name: str, home: str | None) -> None:
    """Revoke every saved key of NAME; it is refused everywhere within a second."""
    loaded = load(home)
    in_file = any(key["name"] == name for key in _in_file(loaded))
    if in_file and loaded.config.ledger.url.reveal() == "none":
        raise _stands_in_file(name)
    count = _with_ledger(loaded, lambda ledger: ledger.revoke_key(name, SystemClock().time()))
    if not count:
        if in_file:
            raise _stands_in_file(name)
        raise ConfigError(f'no saved key is called "{name}"', cure="`gateway keys list` shows those there are")
    click.echo(f"revoked {count} key{'' if count == 1 else 's'} of {name}")
    if in_file:
        click.echo(f"warning: a key of {name} in gateway.yaml still holds; take its line out of auth.keys", err=True)


def _stands_in_file(name: str) -> ConfigError:
    return ConfigError(f'the key "{name}" stands in gateway.yaml', cure="take its line out of auth.keys")


def _with_ledger(loaded: Loaded, work: Callable[[Ledger], Awaitable[T]]) -> T:
    """Return what `work` does with the home's ledger. Raises: ConfigError when there is none or it is out of reach."""
    config, clock = loaded.config, SystemClock()
    log = Logger("error")
    ledger = ledger_at(config.ledger.url.reveal(), config.home, keep_s=None, time=clock.time, log=log)
    if ledger is None:
        raise ConfigError(
            "this home has no ledger to keep keys in",
            path="ledger",
            cure="set for example ledger: sqlite:var/ledger.db",
        )

    async def run(opened: Ledger) -> T:
        await opened.start()
        try:
            return await work(opened)
        finally:
            await opened.close()

    try:
        return asyncio.run(run(ledger))
    except GatewayError as error:
        raise ConfigError(error.message, path="ledger", cure="see that its store can be reached") from error


def _in_file(loaded: Loaded) -> Sequence[Mapping[str, Any]]:
    found = [plugin.options or {} for plugin in loaded.config.plugins if plugin.name == "auth"]
    keys: Sequence[Mapping[str, Any]] = found[0].get("keys", ()) if found else ()
    return keys


def _expiry(key: Mapping[str, Any]) -> float | None:
    try:
        return credentials.read_expiry(key["expires"]) if "expires" in key else None
    except ValueError as error:
        raise ConfigError(f"the key {key['name']}: {error}") from None


def _as_entry(key: SavedKey) -> dict[str, Any]:
    try:
        return entry_of(key)
    except ValueError:
        return {"name": key.name, "hash": key.hash, "models": ["(cannot be read)"]}


def _state(expires_at: float | None, revoked_at: float | None, now: float) -> str:
    if revoked_at is not None:
        return "revoked"
    return "expired" if expires_at is not None and expires_at <= now else "active"


def _row(where: str, key: Mapping[str, Any], state: str) -> tuple[str, ...]:
    models, budget = key.get("models") or "all", key.get("budget")
    return (
        where,
        key["name"],
        state,
        key["hash"][:19] + "…",
        models if isinstance(models, str) else ", ".join(models),
        str(as_written(budget)) if isinstance(budget, MoneyRate) else budget or "",
        key.get("expires", ""),
    )
