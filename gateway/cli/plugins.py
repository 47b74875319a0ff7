"""`gateway plugins`: what is in the chain and what could be."""

from __future__ import annotations

import click

from gateway.cli import show
from gateway.cli.home import home_argument, load


@click.command()
@home_argument
def plugins(home: str | None) -> None:
    """Show every plugin: where it stands, where it comes from, which hooks it has, its options."""
    loaded = load(home)
    show.plugins(loaded.catalog, loaded.config)
