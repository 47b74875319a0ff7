"""From `state:` to a store. redis-py takes 150 ms to import, so it is imported when there is one to reach."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path

from gateway.state.breaker import Warn
from gateway.state.memory import MemoryStore
from gateway.state.sqlite import SqliteStore
from gateway.state.store import StateStore
from gateway.state.url import StateUrl


def store_at(url: StateUrl, home: Path, *, now: Callable[[], float], warn: Warn) -> StateStore:
    """Return the store that `url` names, not started. Files are relative to `home`; `now` is for `memory:`."""
    if url.kind == "memory":
        return MemoryStore(now)
    if url.kind == "sqlite":
        return SqliteStore(home / url.path, warn)
    made: StateStore = importlib.import_module("gateway.state.redis").RedisStore(
        url, warn, home / url.ca if url.ca else None
    )
    return made
