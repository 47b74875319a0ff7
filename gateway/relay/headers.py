"""Which of an upstream's headers a client gets, and which of a client's an upstream."""

from __future__ import annotations

from functools import lru_cache

from multidict import CIMultiDict, MultiMapping

HOP_BY_HOP = frozenset(
    {"connection", "keep-alive", "proxy-authenticate", "proxy-authorization", "proxy-connection", "te", "trailer",
     "transfer-encoding", "upgrade"}
)  # fmt: skip
"""RFC 9110, section 7.6.1: they belong to one connection."""

NEVER_TO_CLIENT = (
    HOP_BY_HOP
    | frozenset({"server", "set-cookie", "set-cookie2", "date", "content-length", "x-request-id", "request-id", "via"})
    | frozenset({"alt-svc", "strict-transport-security", "www-authenticate", "x-powered-by", "nel", "report-to"})
    | frozenset({"x-envoy-upstream-service-time", "server-timing", "timing-allow-origin"})
)
"""The gateway's own business, or the upstream's, never the client's."""

_PREFIXES = ("x-gateway-", "access-control-", "cf-")


def for_client(headers: CIMultiDict[str]) -> CIMultiDict[str]:
    """Return the upstream's end-to-end headers that may pass to the client."""
    named = connection_listed(headers)
    kept = [(name, value) for name, value in headers.items() if may_reach_client(name)]
    if named:
        kept = [(name, value) for name, value in kept if name.lower() not in named]
    return CIMultiDict(kept)


@lru_cache(maxsize=512)
def may_reach_client(name: str) -> bool:
    """Return whether a header of that name, whatever its case, may pass. Remembered: names are few."""
    lower = name.lower()
    return lower not in NEVER_TO_CLIENT and not lower.startswith(_PREFIXES)


def connection_listed(headers: MultiMapping[str]) -> frozenset[str] | tuple[()]:
    """Return the header names that `Connection`, in every line of it, declares hop-by-hop too, in lower case."""
    values = headers.getall("connection", None)
    if values is None or values == ["keep-alive"]:
        return ()
    return frozenset(part.strip().lower() for value in values for part in value.split(","))
