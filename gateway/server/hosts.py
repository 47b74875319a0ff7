"""Heads that two servers could read differently are refused, whatever stands in front of the gateway."""

from __future__ import annotations

import re

from aiohttp import HttpVersion10, HttpVersion11, hdrs, web

from gateway.errors import BadRequest

_HOST = re.compile(r"(?:[A-Za-z0-9._~%!$&'()*+,;=-]+|\[[0-9A-Fa-f:.]+\])(?::\d{1,5})?")
_known: dict[str, None] = {}
_MOST_KNOWN = 1024


def check_head(http: web.BaseRequest) -> str:
    """Return the Host header of a head that can be read in one way only. Raises: BadRequest."""
    if http.version not in (HttpVersion10, HttpVersion11):
        raise BadRequest("only HTTP/1.0 and HTTP/1.1 are served here")
    host = _host(http)
    _check_framing(http)
    return host


def _host(http: web.BaseRequest) -> str:
    """Return the Host header: exactly one, and a host; an HTTP/1.0 client may leave it out."""
    hosts = http.headers.getall(hdrs.HOST, ())
    if len(hosts) != 1:
        if not hosts and http.version == HttpVersion10:
            return ""
        raise BadRequest("the request must have exactly one Host header")
    host = hosts[0]
    if host not in _known:
        if host and not _HOST.fullmatch(host):
            raise BadRequest("the Host header is not a host name with an optional port")
        if len(_known) < _MOST_KNOWN:
            _known[host] = None
    return host


def _check_framing(http: web.BaseRequest) -> None:
    """Refuse what smuggling needs: transfer codings other than one plain `chunked`, or any in HTTP/1.0.

    SECURITY: aiohttp's parser refuses most of this; what it lets through must not depend on its version.
    """
    codings = http.headers.getall(hdrs.TRANSFER_ENCODING, None)
    if codings is None:
        return
    if http.version == HttpVersion10 or (codings != ["chunked"] and [each.lower() for each in codings] != ["chunked"]):
        raise BadRequest("the only transfer coding served is one `chunked`, in HTTP/1.1")
    if hdrs.CONTENT_LENGTH in http.headers:
        raise BadRequest("a request has a content-length or a transfer coding, not both")
