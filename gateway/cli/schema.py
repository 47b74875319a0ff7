"""`gateway schema`: the JSON Schema of gateway.yaml."""

from __future__ import annotations

import json
import os
from pathlib import Path

import click

from gateway.errors import ConfigError
from gateway.runtime.home import FILE_NAME, Home, find_home
from gateway.runtime.plugins import discover
from gateway.runtime.schema import build_schema


def schema_text(home: Home) -> str:
    """Return the schema with the options of every plugin that `home` can name, as indented JSON."""
    return json.dumps(build_schema(discover(home)), indent=2, ensure_ascii=False)


@click.command()
@click.argument("home", metavar="[HOME]", required=False)
def schema(home: str | None) -> None:
    """Print the JSON Schema of gateway.yaml, plugin options included.

    Without a home anywhere it describes the standard plugins.
    """
    try:
        found = find_home(home, os.environ)
    except ConfigError:
        if home is not None:
            raise
        found = Home(Path.cwd(), Path.cwd() / FILE_NAME)
    click.echo(schema_text(found))
