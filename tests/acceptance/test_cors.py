"""Pages in a browser: who may call, and preflights that need no key."""

from __future__ import annotations

import pytest

from gateway.errors import ConfigErrors
from gateway.testing import running_gateway

CONFIG = """
plugins: [cors: {{origins: {origins}}}, locked]
providers: {{echo: {{}}}}
routes: [{{name: all, targets: [echo/echo]}}]
"""
LOCKED = """
    from gateway.plugin import Plugin, Unauthenticated

    class Locked(Plugin):
        async def identify(self, request):
            raise Unauthenticated("no key")
"""


@pytest.mark.parametrize(
    ("origins", "origin", "allowed"),
    [
        ('["*"]', "https://app.example", "*"),
        ('["*"]', "null", "*"),
        ('["https://*.example"]', "https://app.example", "https://app.example"),
        ('["https://*.example"]', "https://app.evil", None),
        ('["https://*.example"]', "https://evil/x.example", None),
        ('["https://app.example"]', "http://app.example", None),
        ("[]", "https://app.example", None),
    ],
)
async def test_preflight_needs_no_key_and_is_answered_for_listed_origins(
    origins: str, origin: str, allowed: str | None
) -> None:
    async with running_gateway(CONFIG.format(origins=origins), plugins={"locked": LOCKED}) as gateway:
        headers = {"origin": origin, "access-control-request-method": "POST"}
        answer = await gateway.request("OPTIONS", "/v1/chat/completions", headers=headers)
        assert answer.headers.get("access-control-allow-origin") == allowed
        assert answer.status == (204 if allowed else 405)
        body = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}
        refused = await gateway.post("/v1/chat/completions", body, headers={"origin": origin})
        assert refused.status == 401
        assert refused.headers.get("access-control-allow-origin") == allowed  # so that the page can read why


async def test_every_origin_with_credentials_is_refused() -> None:
    with pytest.raises(ConfigErrors, match=r"gateway\.yaml:2:\d+: .*credentials with the origin \*"):
        async with running_gateway(
            "version: 1\nplugins: [{cors: {origins: ['*'], credentials: true}}]\nroutes: [{name: e, targets: [echo/echo]}]\n"
        ):
            pass
