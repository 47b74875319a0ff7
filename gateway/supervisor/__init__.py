"""The process group: bind, build, announce, serve, and stop as the signals say.

SIGTERM: lame duck, then grace. SIGINT: grace only. A second of either: now, exit 1. SIGHUP: reload. Sockets are bound
before any loop exists, so that workers can be forked between the two.
"""

from __future__ import annotations

import importlib
import logging
import os
import socket
import sys
from dataclasses import dataclass

from gateway.errors import ConfigError, ConfigErrors
from gateway.runtime.home import find_home
from gateway.runtime.listen import parse_listen
from gateway.runtime.reload import Source
from gateway.server import require_c_parser
from gateway.server.listener import address_of, bind, forget
from gateway.supervisor.front import Front
from gateway.supervisor.life import FAILED, MISCONFIGURED, run_loop
from gateway.supervisor.single import Single
from gateway.telemetry import LEVELS, Logger, Unheard


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
        logging.lastResort = Unheard(log)
        require_c_parser()
        source = Source(find_home(options.home, os.environ), os.environ, _overrides(options))
        read = source.read()
        config = read[0]
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
        data, admin = (*sockets, None)[:2]
        assert data is not None  # only the admin listener may be off
        front = Front(source, sockets[data], admin, watch=options.watch)
        if config.server.workers > 1:
            group = importlib.import_module("gateway.supervisor.group")  # one process needs none of it
            code: int = group.Supervisor(source, read, log, data, front, admin, _refuse).run()
            return code
        return run_loop(Single(source, log, read, front).main(data))
    except ConfigError as error:
        return _refuse(error)
    finally:
        for sock, address in sockets.items():
            forget(sock, address)
        log.flush()


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
