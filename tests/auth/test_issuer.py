"""Tokens of an issuer that publishes its keys."""

from __future__ import annotations

import asyncio
import base64
import hmac
import json
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from jwt.algorithms import ECAlgorithm, RSAAlgorithm

from gateway import credentials
from gateway.errors import PermissionDenied
from gateway.testing import (
    Gate,
    ManualClock,
    RunningGateway,
    ScriptedUpstream,
    Send,
    reply_bytes,
    reply_json,
    running_gateway,
)
from tests.auth.conftest import NOW, ROUTES, ask, bearer, code, signed, status

CLAIMS = {"sub": "alice", "iat": NOW, "exp": NOW + 86_400, "iss": "https://issuer", "aud": "gateway"}
ONE, TWO = (rsa.generate_private_key(public_exponent=65537, key_size=2048) for _ in range(2))
CURVE, OTHER_CURVE = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP384R1())
WEAK = rsa.generate_private_key(public_exponent=65537, key_size=1024)


def jwk(key: Any, kid: str | None, **more: Any) -> dict[str, Any]:
    algorithm: Any = RSAAlgorithm if isinstance(key, rsa.RSAPrivateKey) else ECAlgorithm
    facts = json.loads(algorithm.to_jwk(key.public_key()))
    facts.pop("key_ops", None)
    return {**facts, **({"kid": kid} if kid else {}), **more}


def token(key: Any, kid: str | None, algorithm: str = "RS256", **claims: Any) -> str:
    head = {"kid": kid} if kid else {}
    return signed({**CLAIMS, **claims}, key, algorithm, **head)


def key_set(*keys: dict[str, Any]) -> bytes:
    return json.dumps({"keys": keys}).encode()


def home(url: str, more: str = "") -> str:
    jwt = f'{{jwks_url: "{url}/jwks", issuer: "https://issuer", audience: gateway{more}}}'
    return f"plugins: [{{auth: {{jwt: {jwt}}}}}]\n{ROUTES}"


def by_hand(secret: bytes) -> str:
    """Return an HS256 token made with a public key: PyJWT itself refuses to make one."""
    parts = [json.dumps({"alg": "HS256", "kid": "one"}).encode(), json.dumps(CLAIMS).encode()]
    body = b".".join(base64.urlsafe_b64encode(part).rstrip(b"=") for part in parts)
    return (body + b"." + base64.urlsafe_b64encode(hmac.digest(secret, body, "sha256")).rstrip(b"=")).decode()


async def get(gateway: RunningGateway, credential: str) -> int:
    return await status(gateway, credential)


async def test_rs256_and_es256_get_in_and_everything_beside_them_is_403_without_a_fetch() -> None:
    public = ONE.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    listed = key_set(
        jwk(ONE, "one"), jwk(CURVE, "curve"), jwk(TWO, "enc", use="enc"), {"kty": "oct", "k": "AAAA", "kid": "oct"}
    )
    async with ScriptedUpstream(reply_bytes(listed)) as issuer:
        async with running_gateway(home(issuer.url), clock=ManualClock(time=NOW)) as gateway:
            assert await get(gateway, token(ONE, "one")) == 200
            assert await get(gateway, token(CURVE, "curve", "ES256")) == 200
            assert await get(gateway, token(ONE, None)) == 200  # the only key of its kind
            confused = by_hand(public)
            for bad in (
                token(TWO, "one"), token(TWO, "enc"), token(ONE, "curve"), token(ONE, "one", "RS512"), confused,
                signed(CLAIMS, b"\0" * 64, kid="oct"), token(ONE, "one", aud="other"), token(ONE, "one", iss="https://issuer/"),
                token(OTHER_CURVE, "curve", "ES384"), token(ONE, "../../jwks"),
                signed(CLAIMS, TWO, "RS256", kid="one", jku=issuer.url + "/evil", x5u=issuer.url + "/evil"),
                signed(CLAIMS, TWO, "RS256", jwk=jwk(TWO, "two")),
            ):  # fmt: skip
                assert code(await ask(gateway, bearer(bad))) == (403, "permission_denied"), bad
            assert {request.path for request in issuer.requests} == {"/jwks"}
            assert len(issuer.requests) <= 2  # the first, and once for the kid that nobody knows


async def test_a_rotated_key_is_fetched_once_and_an_unknown_one_at_most_every_30_seconds() -> None:
    clock = ManualClock(time=NOW)
    async with ScriptedUpstream(reply_bytes(key_set(jwk(ONE, "one")))) as issuer:
        async with running_gateway(home(issuer.url), clock=clock) as gateway:
            assert await get(gateway, token(ONE, "one")) == 200
            issuer.script = reply_bytes(key_set(jwk(TWO, "two")))
            answers = await asyncio.gather(*(get(gateway, token(TWO, "two", jti=str(n))) for n in range(20)))
            assert set(answers) == {200} and len(issuer.requests) == 2
            assert await get(gateway, token(ONE, "one")) == 403  # remembered no longer: its key is gone
            assert [await get(gateway, token(ONE, f"x{n}")) for n in range(5)] == [403] * 5
            assert len(issuer.requests) == 2
            clock.advance(31)
            assert [await get(gateway, token(ONE, f"y{n}")) for n in range(5)] == [403] * 5
            assert len(issuer.requests) == 3


async def test_no_set_is_503_and_a_set_that_was_had_serves_while_the_issuer_is_away() -> None:
    clock = ManualClock(time=NOW)
    async with ScriptedUpstream(reply_json({}, 500)) as issuer:
        async with running_gateway(home(issuer.url), clock=clock) as gateway:
            answer = await ask(gateway, bearer(token(ONE, "one")))
            assert code(answer) == (503, "state_unavailable") and int(answer.headers["retry-after"]) <= 5
            assert (await ask(gateway)).status == 401
            assert gateway.events("jwks_fetch_failed")
            issuer.script = reply_bytes(key_set(jwk(ONE, "one")))
            clock.advance(6)
            assert await get(gateway, token(ONE, "one")) == 200
            issuer.script = reply_json({}, 500)
            clock.advance(3_600)
            assert await get(gateway, token(ONE, "one", jti="late")) == 200
            clock.advance(82_000)
            assert await get(gateway, token(ONE, "one", exp=NOW + 90_000)) == 200
            clock.advance(1_000)
            assert await get(gateway, token(ONE, "one", exp=NOW + 90_000, jti="later")) == 503


@pytest.mark.parametrize(
    "answer",
    [
        reply_bytes(b"", 302, [("location", "/elsewhere")]),
        reply_bytes(b'{"keys":[]}'),
        reply_bytes(b'{"keys":{}}'),
        reply_bytes(b"<html>"),
        reply_bytes(b"[" * 100_000),
        reply_bytes(b" " * 300_000 + key_set(jwk(ONE, "one"))),
        reply_bytes(key_set({"kty": "RSA", "n": "!!", "e": "AQAB", "kid": "one"})),
        reply_bytes(key_set(*({"kty": "oct"} for _ in range(101)), jwk(ONE, "one"))),
        reply_bytes(key_set({**jwk(ONE, "one"), "d": "AQAB"})),
    ],
)
async def test_what_is_no_key_set_is_not_used(answer: Any) -> None:
    async with ScriptedUpstream(answer) as issuer:
        async with running_gateway(home(issuer.url), clock=ManualClock(time=NOW)) as gateway:
            assert await get(gateway, token(ONE, "one")) == 503
            assert {request.path for request in issuer.requests} == {"/jwks"}


async def test_the_gateway_starts_while_the_issuer_is_silent_and_a_reload_keeps_the_set() -> None:
    gate = Gate()
    answer = b"".join(part.data if isinstance(part, Send) else part for part in reply_bytes(key_set(jwk(ONE, "one"))))  # type: ignore[union-attr]
    async with ScriptedUpstream([gate, answer]) as issuer:
        async with running_gateway(home(issuer.url), clock=ManualClock(time=NOW)) as gateway:
            assert (await gateway.get("/health")).status == 200
            await gate.reached()
            asked = asyncio.create_task(get(gateway, token(ONE, "one")))
            gate.open()
            assert await asked == 200
            gateway.configure(home(issuer.url, ", leeway: 10s"))
            await gateway.reloader.reload("test")
            assert await get(gateway, token(ONE, "one")) == 200
            assert len(issuer.requests) == 1


@pytest.mark.filterwarnings("ignore::jwt.warnings.InsecureKeyLengthWarning")
def test_a_weak_or_wrongly_curved_key_signs_nothing() -> None:
    weak = credentials.public_keys(key_set(jwk(WEAK, "weak")), ["RS256"])
    with pytest.raises(PermissionDenied):
        weak.payload(token(WEAK, "weak"))
    with pytest.raises(ValueError, match="no public key"):
        credentials.public_keys(key_set(jwk(OTHER_CURVE, "c")), ["ES256"])
    both = credentials.public_keys(key_set(jwk(ONE, "a"), jwk(TWO, "b")), ["RS256"])
    with pytest.raises(PermissionDenied, match="which key"):
        both.payload(token(ONE, None))
