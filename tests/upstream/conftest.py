"""Both transports on both event loops: what holds for one must hold for all four."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from typing import Any

import pytest
import trustme
import uvloop

from gateway.scripted import ScriptedUpstream
from gateway.upstream.direct import DirectTransport
from gateway.upstream.http import HttpTransport
from gateway.upstream.transport import Transport
from tests.upstream.kit import MakeTransport


def pytest_asyncio_loop_factories(config: pytest.Config, item: pytest.Item) -> Mapping[str, Callable[[], Any]]:
    """Run every test of this folder on both loops: production runs on uvloop, plugins' tests on either."""
    return {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}


@pytest.fixture(params=[DirectTransport, HttpTransport], ids=["direct", "http"])
async def make_transport(request: pytest.FixtureRequest) -> AsyncIterator[MakeTransport]:
    """Return `make(upstream or url, **options)`; what it made is closed at the end."""
    async for make in _maker(request.param):
        yield make


@pytest.fixture
async def make_direct() -> AsyncIterator[Callable[..., DirectTransport]]:
    async for make in _maker(DirectTransport):
        yield make


async def _maker(kind: Any) -> AsyncIterator[MakeTransport]:
    made: list[Transport] = []

    def make(upstream: ScriptedUpstream | str, **options: Any) -> Transport:
        transport: Transport = kind(upstream if isinstance(upstream, str) else upstream.url, **options)
        made.append(transport)
        return transport

    yield make
    for transport in made:
        await transport.close()


@pytest.fixture(scope="session")
def authority() -> Iterator[Any]:
    yield trustme.CA()
