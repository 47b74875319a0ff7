"""Whose word about the client's address and its https is taken."""

from __future__ import annotations

import pytest

from gateway.testing import RunningGateway, running_gateway

TELL = '''
    """Tells where a request came from."""
    from gateway.plugin import Plugin, Reply

    class Tell(Plugin):
        async def handle(self, exchange, call_next):
            exchange.headers["x-remote"] = exchange.request.remote
            return await call_next(exchange)
'''


def config(trusted: str) -> str:
    return f"""
        server: {{trusted_proxies: [{trusted}]}}
        plugins: [security_headers, tell]
        providers: {{echo: {{}}}}
        routes: [{{name: all, match: {{model: m}}, targets: [echo/echo]}}]
    """


async def ask(gateway: RunningGateway, forwarded_for: str, proto: str) -> tuple[str, bool]:
    answer = await gateway.get("/health", {"x-forwarded-for": forwarded_for, "x-forwarded-proto": proto})
    assert answer.status == 200
    return answer.headers["x-remote"], "strict-transport-security" in answer.headers


@pytest.mark.parametrize("forwarded", ["203.0.113.9", "127.0.0.1", "junk"])
async def test_nobody_is_believed_who_is_not_trusted(forwarded: str) -> None:
    for trusted in ("", "10.0.0.0/8"):
        async with running_gateway(config(trusted), plugins={"tell": TELL}) as gateway:
            assert await ask(gateway, forwarded, "https") == ("127.0.0.1", False)


@pytest.mark.parametrize(
    ("forwarded", "remote"),
    [
        ("203.0.113.9", "203.0.113.9"),
        ("6.6.6.6, 203.0.113.9", "203.0.113.9"),  # what the client itself claimed stands before what the proxy saw
        ("203.0.113.9, 10.0.0.7", "203.0.113.9"),  # two trusted proxies in a row
        ("2001:db8::1", "2001:db8::1"),
        ("junk", "127.0.0.1"),
        ("junk, 203.0.113.9", "203.0.113.9"),
        ("203.0.113.9, junk", "127.0.0.1"),
        ("", "127.0.0.1"),
    ],
)
async def test_a_trusted_proxy_is_believed_about_what_it_saw_itself(forwarded: str, remote: str) -> None:
    async with running_gateway(config("127.0.0.0/8, 10.0.0.0/8"), plugins={"tell": TELL}) as gateway:
        assert await ask(gateway, forwarded, "https") == (remote, True)
        assert await ask(gateway, forwarded, "http") == (remote, False)
