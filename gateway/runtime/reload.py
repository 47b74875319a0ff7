"""Reloading: read the home again, build the new snapshot whole, swap one reference, retire the old.

A bad file changes nothing: the error goes to the log and to whoever asked, and the old snapshot serves on.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from watchfiles import awatch

from gateway.errors import ConfigError, ConfigErrors
from gateway.plugin import Clock
from gateway.runtime.config import Config
from gateway.runtime.gateway import Gateway, Generation, Lasting
from gateway.runtime.home import Home
from gateway.runtime.load import load_config
from gateway.runtime.plugins import Catalog, discover
from gateway.runtime.snapshot import Snapshot, build
from gateway.telemetry import Logger

LOOK_S = 2.0
"""How often the watcher looks at the files itself."""


@dataclass(frozen=True, slots=True)
class Source:
    """Where configurations come from. `overrides` (listen, admin, workers) win over the file at every reload."""

    home: Home
    environ: Mapping[str, str]
    overrides: Mapping[str, str]

    def read(self) -> tuple[Config, Catalog]:
        """Return the configuration as the files say now. Raises: ConfigErrors."""
        catalog = discover(self.home)
        return load_config(self.home, self.environ, catalog, self.overrides), catalog


async def first(source: Source, log: Logger, clock: Clock) -> Gateway:
    """Return a gateway on its first snapshot, started. Raises: ConfigError."""
    lasting = Lasting()
    try:
        config, catalog = source.read()
        snapshot = build(config, catalog, lasting, log, clock)
        await snapshot.start()
    except Exception as error:  # a plugin's: the operator is told as of any other mistake in a configuration
        raise _as_config_error(error) from error
    _warn(config, log)
    return Gateway(Generation(snapshot), lasting, log)


class Reloader:
    """Replaces the snapshot on demand; one reload at a time."""

    def __init__(self, source: Source, gateway: Gateway, clock: Clock) -> None:
        self._source, self._gateway, self._clock = source, gateway, clock
        self._lock = asyncio.Lock()
        self.reloads = 0

    async def reload(self, why: str) -> Snapshot:
        """Return the snapshot now in force. Raises: ConfigError, and then nothing has changed."""
        gateway = self._gateway
        async with self._lock:
            try:
                # In a thread: reading a large file must not hold up the streams that are running.
                config, catalog = await asyncio.to_thread(self._source.read)
                _refuse_what_needs_a_restart(gateway.snapshot.config, config)
                snapshot = build(config, catalog, gateway.lasting, gateway.log, self._clock)
                await snapshot.start()
            except Exception as broken:  # a reload must never take the running gateway down, whatever a plugin raises
                error = _as_config_error(broken)
                gateway.last_reload_failed = True
                errors = [str(each) for each in error.errors] if isinstance(error, ConfigErrors) else [str(error)]
                gateway.log.error("reload_failed", why=why, errors=errors)
                raise error from broken
            _warn(config, gateway.log)
            old = gateway.snapshot.digest
            gateway.replace(snapshot)
            gateway.last_reload_failed = False
            self.reloads += 1
            gateway.log.info("reloaded", why=why, digest=snapshot.digest, digest_before=old)
            return snapshot

    async def try_reload(self, why: str) -> None:
        """Reload; a bad file is logged and otherwise passed over."""
        try:
            await self.reload(why)
        except ConfigError:
            return  # logged where it was found

    async def watch(self) -> None:
        """Reload whenever a file of the configuration, or a plugin, changes. Runs until cancelled.

        The kernel's word is checked against the files themselves every `LOOK_S`: it does not tell of what changed
        before it was asked, nor, on network file systems, of what others did.
        """
        seen: object = self._gateway.snapshot.digest
        if await asyncio.to_thread(self._digest) != seen:  # changed since the start read it
            await self.try_reload("file changed")
        while True:
            config = self._gateway.snapshot.config
            files = {path.resolve() for path in config.files} | {config.file.resolve()}
            plugins = config.home.resolve() / "plugins"
            folders = {path.parent for path in files} | ({plugins} if plugins.is_dir() else set())
            seen = _state(files)
            async for changes in awatch(
                *folders, recursive=False, debounce=200, step=50, rust_timeout=int(LOOK_S * 1000), yield_on_timeout=True
            ):
                state = await asyncio.to_thread(_state, files)
                if state == seen and not any(_concerns(Path(name), files, plugins) for _, name in changes):
                    continue
                seen = state
                await self.try_reload("file changed")
                if set(self._gateway.snapshot.config.files) != set(config.files):
                    break  # other files now: watch those

    def _digest(self) -> str:
        try:
            return self._source.read()[0].digest
        except ConfigError:
            return "not readable"


def _state(files: set[Path]) -> list[tuple[int, int, int] | None]:
    """Return what changes when a file's content does, for each file in turn; None for one that is gone."""
    found: list[tuple[int, int, int] | None] = []
    for path in sorted(files):
        try:
            facts = path.stat()
            found.append((facts.st_mtime_ns, facts.st_size, facts.st_ino))
        except OSError:
            found.append(None)
    return found


def _as_config_error(error: Exception) -> ConfigError:
    if isinstance(error, ConfigError):
        return error
    return ConfigError(f"the configuration cannot be made to run: {type(error).__name__}: {error}")


def _concerns(path: Path, files: set[Path], plugins: Path) -> bool:
    """Kubernetes swaps a `..data` link beside the file instead of touching the file."""
    return path in files or path.name.startswith("..") or (path.parent == plugins and path.suffix == ".py")


def _refuse_what_needs_a_restart(old: Config, new: Config) -> None:
    pairs = (
        ("server.listen", old.server.listen, new.server.listen),
        ("server.workers", old.server.workers, new.server.workers),
        ("state", old.state, new.state),
        ("ledger", old.ledger, new.ledger),
        ("admin.listen", old.admin.listen, new.admin.listen),
    )
    changed = [name for name, before, after in pairs if before != after]
    if changed:
        raise ConfigError(
            f"{' and '.join(changed)} changed, which needs a restart",
            file=str(new.file.name),
            cure="restart, or change it back",
        )


def _warn(config: Config, log: Logger) -> None:
    for warning in config.warnings:
        log.warning("configuration", warning=warning)
