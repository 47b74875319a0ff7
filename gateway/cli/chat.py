"""`gateway chat`: a console client of a running gateway, over the openai package."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import click

from gateway.errors import ConfigError
from gateway.runtime.config import Config
from gateway.runtime.home import find_home
from gateway.runtime.listen import parse_listen
from gateway.runtime.load import load_config
from gateway.runtime.plugins import discover

if TYPE_CHECKING:
    from gateway.cli.asking import Console, Where

DEFAULT = "127.0.0.1:8080"
"""Where a gateway listens that nobody told otherwise."""
EVERYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}
"""Addresses that are bound but cannot be called, and what can."""
HELP = "/new begins anew, /model NAME asks another, /quit or Ctrl-D ends; Ctrl-C stops an answer"


@click.command()
@click.argument("words", metavar="[PROMPT]", nargs=-1)
@click.option(
    "--model", envvar="GATEWAY_MODEL", metavar="M", help="The model to ask; the first that is served if none."
)
@click.option("--session", metavar="ID", help="The session to go on with; see POST /v1/sessions.")
@click.option("--request-id", metavar="ID", help="The request's id, for logs and traces.")
@click.option("--max-tokens", type=click.IntRange(1), metavar="N", help="The longest answer, in tokens.")
@click.option("--url", metavar="U", help="The gateway's address; else GATEWAY_URL, GATEWAY_LISTEN, the home's listen.")
@click.option("--key", metavar="K", help="A key or token; else GATEWAY_API_KEY.")
@click.pass_context
def chat(
    ctx: click.Context,
    words: Sequence[str],
    model: str | None,
    session: str | None,
    request_id: str | None,
    max_tokens: int | None,
    url: str | None,
    key: str | None,
) -> None:
    """Ask PROMPT and print the answer as it comes; what it took goes to stderr.

    Without PROMPT a pipe is read, or you talk when stdin is a terminal: then turns are kept in a session.
    """
    try:
        asking = importlib.import_module("gateway.cli.asking")
    except ModuleNotFoundError as error:
        _fail(ctx, f'{error.name} is not installed; install it with: pip install "llm-gateway[sdk]"')
    where = _where(asking.Where, url, os.environ)
    console: Console = asking.Console(where, key or os.environ.get("GATEWAY_API_KEY", ""), max_tokens, request_id)
    talks = not words and sys.stdin.isatty()
    try:
        if talks:
            _talk(console, model, session)
            return
        prompt = " ".join(words) if words else sys.stdin.read()
        if not prompt.strip():
            _fail(ctx, "nothing to ask: give a prompt, or pipe one in")
        console.model = model or console.first_model()
        console.session = session
        console.ask(prompt)
    except asking.Refused as error:
        _fail(ctx, str(error))
    except KeyboardInterrupt:
        click.echo(err=True)
        ctx.exit(1)


def _talk(console: Console, model: str | None, session: str | None) -> None:
    """Ask what is typed until the end of input. A refusal is told, and the talk goes on."""
    importlib.import_module("readline")  # history and editing, by being imported
    console.model = model or console.first_model()
    console.session = session or console.new_session()
    kept = f"session {console.session}" if console.session else "no session plugin: turns are kept here"
    click.echo(f"{console.model} at {console.where.shown}; {kept}\n{HELP}", err=True)
    while True:
        try:
            words = input("> ").strip()
        except EOFError:
            click.echo(err=True)
            return
        except KeyboardInterrupt:
            click.echo(err=True)
            continue
        command, _, given = words.partition(" ")
        if command in ("/quit", "/exit"):
            return
        if command == "/new":
            console.forget()
            console.session = console.new_session()
            click.echo("begun anew", err=True)
        elif command == "/model" and given.strip():
            console.model = given.strip()
            click.echo(f"asking {console.model}", err=True)
        elif command.startswith("/"):
            click.echo(HELP, err=True)
        elif words:
            _turn(console, words)


def _turn(console: Console, words: str) -> None:
    asking = importlib.import_module("gateway.cli.asking")
    try:
        console.ask(words)
    except asking.Refused as error:
        click.echo(str(error), err=True)
    except KeyboardInterrupt:
        click.echo("\nstopped", err=True)


def _where(make: type[Where], url: str | None, environ: Mapping[str, str]) -> Where:
    """Return the gateway's address, and its admin listener's where that is known. Raises: ConfigError, for a home that
    cannot be read."""
    given = url or environ.get("GATEWAY_URL", "")
    if given:
        return make(given.rstrip("/").removesuffix("/v1"), given)
    listen = environ.get("GATEWAY_LISTEN", "")
    config = None if listen else _home(environ)
    text = listen or (config.server.listen if config is not None else DEFAULT)
    try:
        place = parse_listen(text)
    except ValueError as error:
        raise ConfigError(str(error), path="GATEWAY_LISTEN") from None
    if place.path is not None:
        return make("http://gateway", text, socket=place.path)
    base = _url(place.host, place.port)
    admin = environ.get("GATEWAY_ADMIN_LISTEN") or (config.admin.listen if config is not None else None)
    token = config.admin.token.reveal() if config is not None and config.admin.token else ""
    if not admin or admin == "off" or admin.startswith("unix:"):
        return make(base, base)
    at = parse_listen(admin)
    return make(base, base, admin=_url(at.host, at.port), admin_token=token)


def _home(environ: Mapping[str, str]) -> Config | None:
    """Return the home's configuration, None where there is no home. Raises: ConfigErrors."""
    try:
        home = find_home(None, environ)
    except ConfigError:
        return None
    return load_config(home, environ, discover(home))


def _url(host: str, port: int) -> str:
    host = EVERYWHERE.get(host, host)
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _fail(ctx: click.Context, message: str) -> None:
    click.echo(message, err=True)
    ctx.exit(1)
