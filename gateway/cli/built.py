"""A home made as for serving, but not started: what its plugins refuse, and the models that they answer."""

from __future__ import annotations

from dataclasses import replace

from gateway.cli.home import Loaded
from gateway.runtime.clock import SystemClock
from gateway.runtime.gateway import Lasting
from gateway.runtime.snapshot import build
from gateway.telemetry import Logger


def built(loaded: Loaded) -> Loaded:
    """Return the home with a route for each model that a plugin answers. Raises: ConfigErrors, what plugins refuse."""
    snapshot = build(loaded.config, loaded.catalog, Lasting(), Logger("critical"), SystemClock())
    return replace(loaded, config=snapshot.config)
