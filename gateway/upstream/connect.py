"""Opening a connection to an upstream: name lookup, happy eyeballs, TLS, and words for what went wrong."""

from __future__ import annotations

import asyncio
import functools
import socket
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar
from urllib.parse import urlsplit

import aiohappyeyeballs
from msgspec import Struct

from gateway.errors import UpstreamError

HAPPY_EYEBALLS_DELAY_S = 0.25  # RFC 8305 section 8
_UNABLE_TO_GET_ISSUER = frozenset({18, 19, 20, 21})  # X509_V_ERR_*: self-signed, unknown issuer (OpenSSL x509_vfy.h)
_EXPIRED, _NAME_MISMATCH, _ADDRESS_MISMATCH = 10, 62, 64


P = TypeVar("P", bound=asyncio.Protocol)


class Origin(Struct, frozen=True, kw_only=True):
    """Where an upstream listens. `host` is a name or a bare address; `host_header` what goes into `host:`."""

    host: str
    port: int
    host_header: str
    tls: ssl.SSLContext | None


@functools.lru_cache(maxsize=64)
def tls_context(ca: Path | None = None, *, verify: bool = True) -> ssl.SSLContext:
    """Return a client context: certificates of `ca` (PEM), of the system when None; `verify` False trusts anybody.

    The same arguments return the same object: reading the system's certificates takes some 20 ms.
    Raises: OSError when `ca` cannot be read, ssl.SSLError when it holds no certificate.
    """
    context = ssl.create_default_context(cafile=None if ca is None else str(ca))
    context.set_alpn_protocols(["http/1.1"])
    if not verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def origin_of(base_url: str, tls: ssl.SSLContext | None = None) -> Origin:
    """Return the origin of an http or https URL; `tls` None means the system's certificates, verified.

    Raises: ValueError when the URL has no host, another scheme, or a port that is not a number.
    """
    url = urlsplit(base_url)
    if url.scheme not in ("http", "https") or not url.hostname:
        raise ValueError("base_url must be http://host or https://host")
    host = url.hostname
    if not host.isascii():
        host = host.encode("idna").decode()
    secure = url.scheme == "https"
    default_port = 443 if secure else 80
    port = default_port if url.port is None else url.port
    shown = f"[{host}]" if ":" in host else host
    return Origin(
        host=host,
        port=port,
        host_header=shown if port == default_port else f"{shown}:{port}",
        tls=(tls or tls_context()) if secure else None,
    )


async def connect(origin: Origin, factory: Callable[[], P], until: float) -> P:
    """Return the protocol of a new connection, made before `until` (loop time).

    uvloop's create_connection has no happy eyeballs, hence the socket is connected here.
    Raises: UpstreamError(timeout) at `until`, (connect) for everything else that fails. Texts name no host.
    """
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout_at(until):
            addresses = await loop.getaddrinfo(origin.host, origin.port, type=socket.SOCK_STREAM)
            sock = await aiohappyeyeballs.start_connection(
                addresses, happy_eyeballs_delay=HAPPY_EYEBALLS_DELAY_S, loop=loop
            )
            name = None if origin.tls is None else origin.host
            _, protocol = await loop.create_connection(factory, sock=sock, ssl=origin.tls, server_hostname=name)
            return protocol
    except TimeoutError as error:
        raise UpstreamError("timeout", "the upstream could not be reached in time") from error
    except (OSError, UnicodeError) as error:
        raise UpstreamError("connect", words_for(error)) from error


def words_for(error: BaseException) -> str:
    """Return what failed without a host, an address or a certificate's names: those are the operator's business."""
    if isinstance(error, ssl.SSLCertVerificationError):
        code = error.verify_code
        if code == _EXPIRED:
            return "the upstream's certificate has expired"
        if code in (_NAME_MISMATCH, _ADDRESS_MISMATCH):
            return "the upstream's certificate is for another name"
        if code in _UNABLE_TO_GET_ISSUER:
            return "the upstream's certificate is not from a trusted authority"
        return "the upstream's certificate could not be verified"
    if isinstance(error, ssl.SSLError):
        return "TLS with the upstream failed"
    if isinstance(error, socket.gaierror | UnicodeError):
        return "the upstream's name could not be resolved"
    if isinstance(error, ConnectionRefusedError):
        return "the upstream refused the connection"
    return "the upstream could not be connected to"
