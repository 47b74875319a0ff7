"""`gateway routes`: the routes as they are in effect."""

from __future__ import annotations

import click

from gateway.cli import show
from gateway.cli.built import built
from gateway.cli.home import home_argument, load


@click.command()
@home_argument
def routes(home: str | None) -> None:
    """Show the routes in order, with conditions, targets, fallbacks and plugins of their own."""
    show.routes(built(load(home)).config)
