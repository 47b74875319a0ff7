"""Reloading: read the home again, build the new snapshot whole, swap one reference, retire the old.

A bad file changes nothing: the error goes to the log and to whoever asked, and the old snapshot serves on.
"""

from __future__ import annotations

import asyncio
import importlib
import threading
from collections import deque
from collections.abc import AsyncIterator, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

from gateway.errors import ConfigError, ConfigErrors
from gateway.plugin import Clock
from gateway.runtime.config import Config
from gateway.runtime.gateway import Gateway, Generation, Lasting
from gateway.runtime.home import Home
from gateway.runtime.load import load_config
from gateway.runtime.plugins import Catalog, discover
from gateway.runtime.shared import shared
from gateway.runtime.snapshot import Snapshot, build
from gateway.runtime.veiled import secrets_of
from gateway.runtime.watch import State, folders_of, is_as_read, state_of
from gateway.secret import Secret
from gateway.telemetry import Logger

LOOK_S = 2.0
"""How often the watcher looks at the files itself."""
JOINED = "joined"
"""Why a worker takes what the others of its group have in force already: no reload of its own."""
KEPT = 10
"""How many reloads are remembered."""
CLOCK_STEP_S = 0.02
"""File systems' clocks go in steps of up to 10 ms."""


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


@dataclass(frozen=True, slots=True)
class Reloaded:
    """How a reload ended: `digest` is of what it put in force, `error` why it changed nothing, `errors` the same with
    each one's place. `at_s` is Unix time."""

    at_s: float
    why: str
    digest: str | None = None
    error: str | None = None
    errors: tuple[ConfigError, ...] = ()


@dataclass(frozen=True, slots=True)
class Earlier:
    """A configuration that was in force: its files by name, and the secrets that may stand in them."""

    digest: str
    texts: tuple[tuple[str, Secret], ...]
    secrets: frozenset[Secret]


async def first(
    source: Source,
    log: Logger,
    clock: Clock,
    *,
    read: tuple[Config, Catalog] | None = None,
    start: bool = True,
    warn: bool = True,
) -> Gateway:
    """Return a gateway on its first snapshot. Raises: ConfigError.

    `read` is what `source` has read already. Without `start` its plugins are made and not started; without `warn` what
    the configuration warns of is left to another process of the group.
    """
    lasting = Lasting()
    try:
        config, catalog = read or source.read()
        snapshot = build(config, catalog, lasting, log, clock)
        await shared(config, lasting, clock, log).start()
        if start:
            await snapshot.start()
    except Exception as error:  # a plugin's: the operator is told as of any other mistake in a configuration
        raise _as_config_error(error) from error
    if warn:
        _warn(config, log)
    return Gateway(Generation(snapshot), lasting, log)


class Reloader:
    """Replaces the snapshot on demand, one reload at a time. One that `tells` logs them: in a group, one process."""

    def __init__(self, source: Source, gateway: Gateway, clock: Clock, *, tells: bool = True) -> None:
        self._source, self._gateway, self._clock = source, gateway, clock
        self._tells = tells
        self._lock = asyncio.Lock()
        self._faulty: frozenset[Path] = frozenset()
        self._seen = self._state()  # before the watcher starts: a change in between is one
        self.reloads = 0
        self.history: deque[Reloaded] = deque(maxlen=KEPT)
        """The last reloads, the newest last."""
        self.since_s = clock.time()
        """Since when what is in force has been (Unix time)."""
        self.previous: Earlier | None = None
        """What was in force before; None since the start, and where nobody asks."""

    async def reload(self, why: str) -> Snapshot:
        """Return the snapshot now in force. Raises: ConfigError, and then nothing has changed."""
        async with self._lock:
            try:
                snapshot = await self.prepare()
            except ConfigError as error:
                await self.refused(error, why)
                raise
            await self.commit(snapshot, why)
            return snapshot

    async def prepare(self) -> Snapshot:
        """Return a snapshot of the files as they are now, started and not yet in force. Raises: ConfigError.

        Whoever calls it commits it or closes it.
        """
        gateway = self._gateway
        try:
            # In a thread: reading a large file must not hold up the streams that are running.
            config, catalog = await asyncio.to_thread(self._source.read)
            _refuse_what_needs_a_restart(gateway.snapshot.config, config)
            snapshot = build(config, catalog, gateway.lasting, gateway.log, self._clock)
            await self.ready(snapshot)
        except Exception as broken:  # a reload must never take the running gateway down, whatever a plugin raises
            raise _as_config_error(broken) from broken
        return snapshot

    async def trial(self) -> tuple[Config, Catalog]:
        """Return what the files say now, found fit to be put in force as far as that shows without starting anything.

        Raises: ConfigError.
        """
        gateway, lasting = self._gateway, Lasting()  # of its own, and thrown away with all that is made here

        def tried() -> tuple[Config, Catalog]:
            config, catalog = self._source.read()
            _refuse_what_needs_a_restart(gateway.snapshot.config, config)
            build(config, catalog, lasting, Logger("critical"), self._clock)
            return config, catalog

        try:
            # In a thread as a whole: what is made is not for this loop, and the streams that run must not wait for it.
            config, catalog = await asyncio.to_thread(tried)
        except Exception as broken:  # a plugin's too: whoever asks is told, and what runs goes on
            raise _as_config_error(broken) from broken
        finally:
            await lasting.close()
        gateway.log.redactor.add(secret.reveal() for secret in config.secrets)
        return config, catalog

    async def ready(self, snapshot: Snapshot) -> None:
        """Get `snapshot` ready to serve. Raises: ConfigError."""
        await snapshot.start()

    async def commit(self, snapshot: Snapshot, why: str) -> None:
        """Put `snapshot` in force."""
        gateway = self._gateway
        before = gateway.snapshot
        old = before.digest
        gateway.replace(snapshot)
        if old != snapshot.digest:
            self.since_s = self._clock.time()
            if self._tells:
                self.previous = Earlier(old, before.config.texts, secrets_of(before.config, before.catalog))
        gateway.last_reload_failed = False
        gateway.reloads["ok"] += why != JOINED
        self._faulty = frozenset()
        self.reloads += 1
        if why != JOINED:
            self.history.append(Reloaded(self._clock.time(), why, digest=snapshot.digest))
        if self._tells:
            _warn(snapshot.config, gateway.log)
            gateway.log.info("reloaded", why=why, digest=snapshot.digest, digest_before=old)

    async def refused(self, error: ConfigError, why: str) -> None:
        """Note and log that a reload changed nothing."""
        gateway = self._gateway
        gateway.last_reload_failed = True
        gateway.reloads["failed"] += 1
        each = error.errors if isinstance(error, ConfigErrors) else [error]
        self.history.append(Reloaded(self._clock.time(), why, error=str(error), errors=tuple(each)))
        # Files that the running configuration does not know: mending one is a change to be noticed.
        self._faulty = frozenset(self._source.home.folder / one.file for one in each if one.file)
        gateway.log.error("reload_failed", why=why, errors=[str(one) for one in each])

    async def try_reload(self, why: str) -> None:
        """Reload; a bad file is logged and otherwise passed over."""
        try:
            await self.reload(why)
        except ConfigError:
            return  # logged where it was found

    async def watch(self) -> None:
        """Reload whenever a file of the configuration, or a plugin, changes. Runs until cancelled."""
        seen = self._seen
        if not await asyncio.to_thread(is_as_read, self._gateway.snapshot.config):  # changed since the start read it
            seen = await self._taken(await asyncio.to_thread(self._state))
        while True:
            folders = folders_of(self._gateway.snapshot.config, seen)
            async for _ in _changes(folders):
                state = await asyncio.to_thread(self._state)
                if state == seen:
                    continue
                seen = await self._taken(state)
                if folders_of(self._gateway.snapshot.config, seen) != folders:
                    break

    async def _taken(self, state: State) -> State:
        """Reload, and return the state of what is to be watched now, as it was before: what changed meanwhile, files
        that were not watched yet included, shows the next time."""
        before_ns = int((self._clock.time() - CLOCK_STEP_S) * 1e9)
        await self.try_reload("file changed")
        now = await asyncio.to_thread(self._state)
        new = {path: facts for path, facts in now.items() if facts is not None and facts[0] < before_ns}
        return {path: state.get(path, new.get(path)) for path in now}

    def _state(self) -> State:
        snapshot = self._gateway.snapshot
        read = (Path(path) for plugin in snapshot.plugins for path in plugin.files)
        return state_of(snapshot.config, self._faulty.union(read))


async def _changes(folders: Collection[Path]) -> AsyncIterator[None]:
    """Yield when something may have changed below `folders`, at the latest every LOOK_S.

    In a thread: watchfiles' own asynchronous form imports a second event library, half a second of the loop's time just
    after the start (seen November 2026).
    """
    stop = threading.Event()
    watchfiles = await asyncio.to_thread(importlib.import_module, "watchfiles")  # after the start, which needs it not
    found = watchfiles.watch(
        *folders, recursive=False, debounce=200, step=50, rust_timeout=int(LOOK_S * 1000), yield_on_timeout=True,
        stop_event=stop, raise_interrupt=False,
    )  # fmt: skip
    try:
        while await asyncio.to_thread(next, found, None) is not None:
            yield
    finally:
        stop.set()


def _as_config_error(error: Exception) -> ConfigError:
    if isinstance(error, ConfigError):
        return error
    return ConfigError(f"the configuration cannot be made to run: {type(error).__name__}: {error}")


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
