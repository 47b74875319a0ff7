"""Where to listen, as text: `host:port`, `[v6]:port` or `unix:/path`."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass

_PORT_MAX = 65_535
_HOST = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,252}[A-Za-z0-9])?", re.ASCII)


@dataclass(frozen=True, slots=True)
class Listen:
    """An address to bind: `path` of a UNIX socket, else `host` and `port` (0: a free one)."""

    host: str
    port: int
    path: str | None = None

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can reach it. A host name other than localhost counts as reachable."""
        if self.path is not None or self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False

    def __str__(self) -> str:
        if self.path is not None:
            return f"unix:{self.path}"
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def parse_listen(text: str) -> Listen:
    """Return the address that `text` names. Raises: ValueError, stating the accepted forms."""
    problem = f'"{text}" is not an address; write host:port, [v6]:port or unix:/path, such as "127.0.0.1:8080"'
    if text.startswith("unix:"):
        path = text[5:]
        # A socket's path fits sockaddr_un: 107 bytes and a NUL (unix(7)).
        if not path or "\0" in path or len(path.encode()) > 107:
            raise ValueError(f'"{text}" names no usable socket; write unix:/path, at most 107 bytes')
        return Listen("", 0, path)
    host, colon, port_text = text.rpartition(":")
    if not colon or not port_text.isascii() or not port_text.isdigit() or int(port_text[:6]) > _PORT_MAX:
        raise ValueError(problem)
    if host.startswith("[") and host.endswith("]"):
        try:
            host = str(ipaddress.IPv6Address(host[1:-1]))
        except ValueError:
            raise ValueError(problem) from None
    elif not _HOST.fullmatch(host):
        raise ValueError(problem)
    return Listen(host, int(port_text))
