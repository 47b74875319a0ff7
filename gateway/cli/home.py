"""A home read for a command: where it is, which plugins there are, what its file says."""

from __future__ import annotations

import os
from dataclasses import dataclass

import click

from gateway.runtime.config import Config
from gateway.runtime.home import Home, find_home
from gateway.runtime.load import load_config
from gateway.runtime.plugins import Catalog, discover

home_argument = click.argument("home", metavar="[HOME]", required=False)


@dataclass(frozen=True, slots=True)
class Loaded:
    """What a command works on."""

    home: Home
    catalog: Catalog
    config: Config


def load(home_arg: str | None) -> Loaded:
    """Return the home's configuration. Raises: ConfigError, all of them when there are several."""
    home = find_home(home_arg, os.environ)
    catalog = discover(home)
    return Loaded(home, catalog, load_config(home, os.environ, catalog))
