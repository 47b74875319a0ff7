"""The process: bind, build, announce, serve, and stop as the signals say.

SIGTERM: lame duck, then grace. SIGINT: grace only. A second of either: now, exit 1. SIGHUP: reload. Sockets are bound
before the loop exists, so that workers can be forked between the two.
"""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import socket
import sys
from collections.abc import Callable
from dataclasses import dataclass

import uvloop
from aiohttp import web

from gateway.admin import application
from gateway.errors import ConfigError, ConfigErrors
from gateway.plugin import Clock
from gateway.runtime.clock import SystemClock
from gateway.runtime.gateway import Gateway
from gateway.runtime.home import find_home
from gateway.runtime.listen import parse_listen
from gateway.runtime.reload import Reloader, Source, first
from gateway.server import Server, require_c_parser
from gateway.server.listener import address_of, bind, descriptor_limit, forget
from gateway.telemetry import FLUSH_S, LEVELS, Logger

CLEAN, FAILED, MISCONFIGURED = 0, 1, 2
CLOSING_S = 0.5
"""How long plugins and pools may take to close; with what `Server.stop` takes, less than two seconds."""


@dataclass(frozen=True, slots=True)
class ServeOptions:
    """What the command line said; None leaves it to the environment, then to the file."""

    home: str | None = None
    listen: str | None = None
    admin: str | None = None
    workers: int | None = None
    log_level: str | None = None
    watch: bool = True


def run(options: ServeOptions) -> int:
    """Serve until a signal says otherwise.

    Returns the exit code: 0 clean, 1 cannot bind or stopped at once, 2 bad configuration.
    """
    try:
        log = Logger(_level(options.log_level), _form(os.environ.get("LOG_FORMAT")))
        require_c_parser()
        source = Source(find_home(options.home, os.environ), os.environ, _overrides(options))
        config, _ = source.read()
    except ConfigError as error:
        return _refuse(error)
    sockets: dict[socket.socket, str] = {}
    try:
        for name, text in (("server.listen", config.server.listen), ("admin.listen", config.admin.listen)):
            if text is None:
                continue
            try:
                sock = bind(parse_listen(text))
            except OSError as error:
                log.critical("cannot_bind", address=text, setting=name, error=error.strerror or str(error))
                return FAILED
            sockets[sock] = address_of(sock)
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            return runner.run(Process(source, log, options.watch).main(list(sockets)))
    except ConfigError as error:
        return _refuse(error)
    finally:
        for sock, address in sockets.items():
            forget(sock, address)
        log.flush()


class Process:
    """One serving process."""

    def __init__(self, source: Source, log: Logger, watch: bool) -> None:
        self._source, self._log, self._watch = source, log, watch
        self._clock: Clock = SystemClock()
        self._signals = 0
        self._lame_duck = True
        self._stopping = asyncio.Event()
        self._now = asyncio.Event()
        self._hangup: Callable[[], object] = lambda: None

    async def main(self, sockets: list[socket.socket]) -> int:
        """Serve `sockets` (data first, admin second when there is one) and return the exit code.

        Raises: ConfigError when a plugin refuses to start.
        """
        loop = asyncio.get_running_loop()
        # Before anything else: a signal that comes during the start must not end the process the kernel's way.
        loop.add_signal_handler(signal.SIGTERM, self._signalled, True)
        loop.add_signal_handler(signal.SIGINT, self._signalled, False)
        loop.add_signal_handler(signal.SIGHUP, self._hung_up)
        self._log.batch_with(lambda flush: loop.call_later(FLUSH_S, flush))
        try:
            gateway = await first(self._source, self._log, self._clock)
            return await self._serve(gateway, sockets)
        finally:
            self._log.batch_with(None)

    async def _serve(self, gateway: Gateway, sockets: list[socket.socket]) -> int:
        reloader = Reloader(self._source, gateway, self._clock)
        server = Server(gateway, self._clock, descriptor_limit())
        self._hangup = lambda: gateway.spawn(reloader.try_reload("SIGHUP"))
        await server.start(sockets[:1])
        admin = await self._start_admin(gateway, reloader, sockets[1:])
        watcher = asyncio.ensure_future(self._watch_files(reloader)) if self._watch else None
        self._announce(gateway, sockets)
        gc.collect()
        gc.freeze()  # what exists now lives as long as the process: the collector need not look at it again
        await self._stopping.wait()
        self._hangup = lambda: None
        if watcher is not None:
            watcher.cancel()
        code = await self._stop(gateway, server)
        if admin is not None:
            await admin.cleanup()
        await server.close()
        try:
            async with asyncio.timeout(CLOSING_S):
                await gateway.snapshot.close(self._log)
                await gateway.lasting.close()
        except TimeoutError:
            self._log.error("close_hangs", seconds=CLOSING_S)
        self._log.info("stopped", exit_code=code)
        return code

    def _hung_up(self) -> None:
        self._hangup()

    def _signalled(self, lame_duck: bool) -> None:
        self._signals += 1
        if self._signals == 1:
            self._lame_duck = lame_duck
            self._stopping.set()
        else:
            self._now.set()

    async def _stop(self, gateway: Gateway, server: Server) -> int:
        config = gateway.snapshot.config.server
        stopping = asyncio.ensure_future(
            server.stop(lame_duck_s=config.lame_duck_s if self._lame_duck else 0.0, grace_s=config.grace_s)
        )
        now = asyncio.ensure_future(self._now.wait())
        await asyncio.wait({stopping, now}, return_when=asyncio.FIRST_COMPLETED)
        if not stopping.done():
            stopping.cancel()
            self._log.warning("stopped_at_once", in_flight=len(gateway.live))
            return FAILED
        now.cancel()
        stopping.result()
        return CLEAN

    async def _start_admin(
        self, gateway: Gateway, reloader: Reloader, sockets: list[socket.socket]
    ) -> web.AppRunner | None:
        if not sockets:
            return None
        runner = web.AppRunner(
            application(gateway, reloader, self._source, self._clock),
            access_log=None,
            handle_signals=False,
            shutdown_timeout=0.2,  # aiohttp's minute would outlast the promise of when a SIGTERM ends
        )
        await runner.setup()
        await web.SockSite(runner, sockets[0]).start()
        return runner

    async def _watch_files(self, reloader: Reloader) -> None:
        try:
            await reloader.watch()
        except Exception as error:  # no inotify left, say: SIGHUP still works, and that must be known
            self._log.warning("watch_failed", error=f"{type(error).__name__}: {error}", cure="reload with SIGHUP")

    def _announce(self, gateway: Gateway, sockets: list[socket.socket]) -> None:
        """Log the start, and write the one plain line that programs wait for."""
        config = gateway.snapshot.config
        self._log.info(
            "started",
            home=config.home.name,
            digest=config.digest,
            routes=len(config.routes),
            providers=sum(each.enabled for each in config.providers),
        )
        self._log.flush()
        admin = f"admin {address_of(sockets[1])}" if len(sockets) > 1 else "admin off"
        sys.stderr.write(f"ready: {address_of(sockets[0])} ({admin})\n")
        sys.stderr.flush()


def _overrides(options: ServeOptions) -> dict[str, str]:
    """Return what wins over the file: a flag, else the environment."""
    given = {
        "listen": options.listen or os.environ.get("GATEWAY_LISTEN"),
        "admin": options.admin or os.environ.get("GATEWAY_ADMIN_LISTEN"),
        "workers": str(options.workers) if options.workers is not None else os.environ.get("GATEWAY_WORKERS"),
    }
    return {name: value for name, value in given.items() if value}


def _level(flag: str | None) -> str:
    level = (flag or os.environ.get("LOG_LEVEL") or "info").lower()
    if level not in LEVELS:
        raise ConfigError(f'"{level}" is no log level', path="LOG_LEVEL", cure=f"set one of {', '.join(LEVELS)}")
    return level


def _form(given: str | None) -> str | None:
    if not given:
        return None
    if given.lower() not in ("json", "text"):
        raise ConfigError(f'"{given}" is no log format', path="LOG_FORMAT", cure="set json or text")
    return given.lower()


def _refuse(error: ConfigError) -> int:
    errors = error.errors if isinstance(error, ConfigErrors) else [error]
    for each in errors:
        sys.stderr.write(f"{each}\n")
    return MISCONFIGURED
