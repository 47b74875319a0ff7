"""Providers with the connection pools they share: a pool is found again by all that makes two of them differ."""

from __future__ import annotations

from urllib.parse import urlsplit

from gateway.runtime.config import ProviderConfig
from gateway.runtime.shared import Kept
from gateway.upstream.connect import tls_context
from gateway.upstream.direct import DirectTransport
from gateway.upstream.echo import EchoTransport
from gateway.upstream.http import HttpTransport
from gateway.upstream.provider import Provider
from gateway.upstream.transport import Transport


def provider_of(config: ProviderConfig, lasting: Kept) -> Provider:
    """Return the provider, on a pool that reloads keep where they can."""
    transport: Transport = lasting.get(_pool_name(config), lambda: _transport(config))
    return Provider(
        name=config.name,
        dialect=config.dialect,
        base_url=config.base_url,
        base_path=urlsplit(config.base_url).path.rstrip("/"),
        transport=transport,
        credentials=config.credentials,
        auth=config.auth,
        headers=config.headers,
        quirks=config.quirks,
        enabled=config.enabled,
        free=config.free,
    )


def _pool_name(config: ProviderConfig) -> str:
    """Name the pool after all that makes two pools differ, so that a reload keeps the connections it can."""
    if config.dialect == "echo":
        return f"pool echo {config.quirks.get('delay_s', 0.0)} {config.quirks.get('fail', 0.0)}"
    parts = urlsplit(config.base_url)
    return f"pool {config.transport} {parts.scheme}://{parts.netloc} {config.proxy} {config.tls_verify} {config.tls_ca}"


def _transport(config: ProviderConfig) -> Transport:
    if config.dialect == "echo":
        return EchoTransport(
            delay_s=float(config.quirks.get("delay_s", 0.0)), fail=float(config.quirks.get("fail", 0.0))
        )
    tls = tls_context(config.tls_ca, verify=config.tls_verify) if config.base_url.startswith("https") else None
    if config.transport == "http" or config.proxy:
        return HttpTransport(config.base_url, tls=tls, proxy=config.proxy)
    return DirectTransport(config.base_url, tls=tls)
