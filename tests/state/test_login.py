"""Reaching a server that asks for a password, over TLS."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trustme

from gateway.errors import ConfigError
from gateway.state.redis import RedisStore
from gateway.state.store import Bucket
from gateway.state.url import parse_state
from tests.state.servers import Server, one_server
from tests.state.test_outage import Told


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    with one_server(tmp_path) as servers:
        servers.servers[0].ask("ACL", "SETUSER", "gate", "on", ">p@ss/word", "~*", "+@all")
        yield servers.servers[0]


@asynccontextmanager
async def behind_tls(server: Server, authority: trustme.CA) -> AsyncIterator[int]:
    """Run a listener that takes TLS off before the server, which may be built without it; yields its port."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.1").configure_cert(context)

    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while some := await reader.read(65_536):
                writer.write(some)
                await writer.drain()
        except OSError:
            pass
        finally:
            writer.close()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        inner_reader, inner_writer = await asyncio.open_connection("127.0.0.1", server.port)
        await asyncio.gather(pump(reader, inner_writer), pump(inner_reader, writer))

    listener = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    async with listener:
        yield listener.sockets[0].getsockname()[1]


async def opened(url: str, told: Told, ca: Path | None = None) -> RedisStore:
    store = RedisStore(parse_state(url), told, ca)
    await store.start()
    return store


async def test_user_password_database_and_own_authority_are_used(server: Server, tmp_path: Path) -> None:
    authority, ca = trustme.CA(), tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(ca))
    async with behind_tls(server, authority) as port:
        store = await opened(f"rediss://gate:p%40ss%2Fword@127.0.0.1:{port}/2?ca=ca.pem", Told(), ca)
        assert (await store.take([Bucket("b", 1, 9, 1e-6)])).left == (8,)
        await store.close()
    assert "db2:keys=2" in server.info("keyspace")  # the bucket, and what probing wrote


@pytest.mark.parametrize("wrong", ["authority", "name", "password"])
async def test_a_server_that_is_not_the_right_one_is_lost(wrong: str, server: Server, tmp_path: Path) -> None:
    authority, ca = trustme.CA(), tmp_path / "ca.pem"
    (trustme.CA() if wrong == "authority" else authority).cert_pem.write_to_path(str(ca))
    host = "localhost" if wrong == "name" else "127.0.0.1"
    password = "canary" if wrong == "password" else "p%40ss%2Fword"
    told = Told()
    async with behind_tls(server, authority) as port:
        store = await opened(f"rediss://gate:{password}@{host}:{port}?ca=ca.pem", told, ca)
        assert store.is_lost
        await store.close()
    assert told.events == ["state_lost"]
    assert "canary" not in str(told.lines)


def test_a_file_that_holds_no_authority_is_a_configuration_error(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("nothing of the kind")
    with pytest.raises(ConfigError, match=r'state: the file "ca.pem" holds no authorities: .*; ca= is a PEM file'):
        RedisStore(parse_state("rediss://h?ca=ca.pem"), Told(), tmp_path / "ca.pem")
