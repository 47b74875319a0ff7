"""`gateway init`: a new home that works at once, or one made from another gateway's configuration."""

from __future__ import annotations

import os
from pathlib import Path

import click

from gateway.cli.imports import import_from
from gateway.cli.imports.draft import Draft, Surface
from gateway.cli.newhome import Staged, files_of, refuse_unless_new
from gateway.cli.schema import schema_text
from gateway.errors import ConfigError
from gateway.runtime.home import FILE_NAME, Home
from gateway.runtime.known import read_known
from gateway.runtime.load import load_config
from gateway.runtime.plugins import discover
from gateway.runtime.surface import ROUTE


@click.command()
@click.argument("directory", metavar="DIR", type=click.Path(path_type=Path))
@click.option(
    "--from",
    "source",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="A LiteLLM config.yaml or a Portkey config.",
)
def init(directory: Path, source: Path | None) -> None:
    """Write a new home into DIR, which must be new or empty.

    --from imports a LiteLLM or Portkey configuration and lists all that could not be carried over.
    """
    target = directory.expanduser().absolute()
    refuse_unless_new(target)
    nowhere = Home(target, target / FILE_NAME)
    plugins = discover(nowhere).names()
    draft = None
    if source is not None:
        balances = frozenset(ROUTE["properties"]["balance"]["enum"])
        draft = import_from(source, Surface(read_known(nowhere, {}), frozenset(plugins), balances))
    try:
        _write(target, files_of(draft, plugins, source.name if source else ""))
    except OSError as error:
        raise ConfigError(
            f"cannot be written: {error.strerror}", file=str(target), cure="check the permissions"
        ) from None
    _report(directory, draft)


def _write(target: Path, files: dict[str, str]) -> None:
    with Staged(target) as staged:
        staged.write(files)
        home = Home(staged.folder, staged.folder / FILE_NAME)
        staged.write({"config/schema.json": schema_text(home) + "\n"})
        # What is handed over has been loaded: a home that could not run is never left behind.
        load_config(home, os.environ, discover(home))
        staged.finish()


def _report(directory: Path, draft: Draft | None) -> None:
    click.echo(f"{directory}: a new home; next: gateway check {directory}, gateway serve {directory}")
    if draft is None:
        return
    click.echo(f"carried over: {len(draft.routes)} routes, {len(draft.providers)} providers")
    if draft.variables:
        click.echo(f"keys are taken from the environment: {', '.join(draft.variables)}")
    if not draft.lost:
        click.echo("not carried over: nothing")
        return
    click.echo("not carried over:")
    for path, why in draft.lost:
        click.echo(f"  {path}: {why}")
