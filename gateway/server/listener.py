"""Sockets: bound before anything else runs, so that a port in use is known at once and privileges can be dropped."""

from __future__ import annotations

import contextlib
import resource
import socket
import stat
from pathlib import Path

from gateway.runtime.listen import Listen

BACKLOG = 128
"""Short on purpose: out of descriptors, the accept loop runs once per waiting connection."""


def bind(listen: Listen) -> socket.socket:
    """Return a listening socket. Raises: OSError when the address cannot be had."""
    if listen.path is not None:
        return _bind_unix(Path(listen.path))
    family, kind, protocol, _, address = socket.getaddrinfo(
        listen.host, listen.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )[0]
    sock = socket.socket(family, kind, protocol)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind(address)
        sock.listen(BACKLOG)
    except BaseException:
        sock.close()
        raise
    sock.setblocking(False)
    return sock


def address_of(sock: socket.socket) -> str:
    """Return how a client reaches `sock`: `http://host:port` or `unix:/path`."""
    if sock.family == socket.AF_UNIX:
        return f"unix:{sock.getsockname()}"
    host, port = sock.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def forget(sock: socket.socket, address: str) -> None:
    """Close `sock` if its loop has not; the file of a Unix socket (`address` is from `address_of`) goes with it."""
    sock.close()
    if address.startswith("unix:"):
        with contextlib.suppress(OSError):
            Path(address.removeprefix("unix:")).unlink()


def descriptor_limit() -> int:
    """Raise the descriptor limit as far as allowed, and return it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and soft < hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        return hard
    return soft


def _bind_unix(path: Path) -> socket.socket:
    if path.exists() and stat.S_ISSOCK(path.stat().st_mode):
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
            probe.settimeout(1.0)
            try:
                probe.connect(str(path))
            except ConnectionRefusedError:
                path.unlink()  # left behind by a process that was killed
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        sock.bind(str(path))
        sock.listen(BACKLOG)
    except BaseException:
        sock.close()
        raise
    sock.setblocking(False)
    return sock
