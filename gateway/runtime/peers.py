"""Who is at the other end, when a trusted proxy stands between."""

from __future__ import annotations

import ipaddress
from functools import lru_cache

from aiohttp import web

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


class Peers:
    """Believes X-Forwarded-* only from `trusted_proxies`, and of the chain only what they added."""

    def origin(self, http: web.BaseRequest, trusted: tuple[str, ...]) -> tuple[str, bool]:
        """Return the client's address ("" on a Unix socket) and whether its side is https."""
        remote = http.remote or ""
        # This server speaks plain HTTP: only a proxy that is trusted can say that the client's side is https.
        if not trusted or not _is_trusted(remote, trusted):
            return remote, False
        secure = http.headers.get("x-forwarded-proto", "").strip().lower() == "https"
        hops = [hop.strip() for value in http.headers.getall("x-forwarded-for", ()) for hop in value.split(",")]
        for hop in reversed(hops):
            if not _is_address(hop):
                break
            remote = hop
            if not _is_trusted(hop, trusted):
                break
        return remote, secure


@lru_cache(maxsize=4096)
def _is_trusted(address: str, trusted: tuple[str, ...]) -> bool:
    if not address:
        return True  # a Unix socket: whoever may open it stands on this machine
    try:
        ip = ipaddress.ip_address(address)
    except ValueError:
        return False
    return any(ip in ipaddress.ip_network(network, strict=False) for network in trusted)


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True
