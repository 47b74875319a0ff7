"""JWTs signed with a shared secret: what gets in, and every way of not getting in."""

from __future__ import annotations

import asyncio
import base64
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway import credentials
from gateway.errors import GatewayError, PermissionDenied, Unauthenticated
from gateway.testing import ManualClock, running_gateway
from tests.auth.conftest import LONG, NOW, ROUTES, SECRET, ask, bearer, code, signed, status

GOOD: dict[str, Any] = {"sub": "alice", "iat": NOW - 10, "exp": NOW + 600, "iss": "me", "aud": "gateway"}
HOME = f"""
plugins: [access_log, {{auth: {{jwt: {{secret: "{SECRET}", issuer: me, audience: gateway, revoked: [lost-1]}}}}}}]
{ROUTES}
"""


def b64(value: Any) -> str:
    raw = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def without(name: str) -> dict[str, Any]:
    return {key: value for key, value in GOOD.items() if key != name}


def tampered() -> str:
    head, _, signature = signed(GOOD).split(".")
    return f"{head}.{b64({**GOOD, 'sub': 'root'})}.{signature}"


def unsigned(algorithm: str) -> str:
    return f"{b64({'alg': algorithm, 'typ': 'JWT'})}.{b64(GOOD)}."


REFUSED: dict[str, str] = {
    "another secret": signed(GOOD, "x" * 40),
    "tampered payload": tampered(),
    "no signature": ".".join(signed(GOOD).split(".")[:2]) + ".",
    "alg none": unsigned("none"),
    "alg nOnE": unsigned("nOnE"),
    "alg empty": unsigned(""),
    "alg a list": f"{b64({'alg': ['HS256']})}.{b64(GOOD)}.AAAA",
    "alg absent": f"{b64({'typ': 'JWT'})}.{b64(GOOD)}.AAAA",
    "HS512 with the right secret": signed(GOOD, algorithm="HS512"),
    "RS256 named, HMAC made": f"{b64({'alg': 'RS256'})}.{'.'.join(signed(GOOD).split('.')[1:])}",
    "crit unknown": signed(GOOD, crit=["exp2"], exp2=1),
    "crit b64": f"{b64({'alg': 'HS256', 'b64': False, 'crit': ['b64']})}..{signed(GOOD).split('.')[2]}",
    "kid a path": signed(GOOD, LONG, kid="../../../dev/null"),
    "kid SQL": signed(GOOD, LONG, kid="x' UNION SELECT 'ATTACKER';--"),
    "kid a number": f"{b64({'alg': 'HS256', 'kid': 7})}.{b64(GOOD)}.AAAA",
    "jku elsewhere": signed(GOOD, "x" * 40, jku="http://127.0.0.1:1/keys"),
    "x5u elsewhere": signed(GOOD, "x" * 40, x5u="http://127.0.0.1:1/cert"),
    "kid a path, rightly signed": signed(GOOD, kid="../../../dev/null"),
    "kid SQL, rightly signed": signed(GOOD, kid="x' UNION SELECT 'ATTACKER';--"),
    "jku, rightly signed": signed(GOOD, jku="http://127.0.0.1:1/keys"),
    "x5u, rightly signed": signed(GOOD, x5u="http://127.0.0.1:1/cert"),
    "jwk inside": signed(GOOD, "x" * 40, jwk={"kty": "oct", "k": b64(b"x" * 40)}),
    "exp absent": signed(without("exp")),
    "exp null": signed({**GOOD, "exp": None}),
    "exp of digits": signed({**GOOD, "exp": str(NOW + 600)}),
    "exp 1e308": signed(json.dumps(GOOD).replace(str(NOW + 600), "1e308").encode()),
    "exp true": signed({**GOOD, "exp": True}),
    "exp NaN": signed(json.dumps(GOOD).replace(str(NOW + 600), "NaN").encode()),
    "exp infinite": signed(json.dumps(GOOD).replace(str(NOW + 600), "Infinity").encode()),
    "exp 1e400": signed(json.dumps(GOOD).replace(str(NOW + 600), "1e400").encode()),
    "exp a list": signed({**GOOD, "exp": [NOW + 600]}),
    "exp of 5,000 digits": signed(json.dumps(GOOD).replace(str(NOW + 600), "9" * 5000).encode()),
    "lives too long": signed({**GOOD, "exp": NOW + 31 * 86400}),
    "lives too long by its iat": signed({**GOOD, "iat": NOW - 29 * 86400, "exp": NOW + 2 * 86400}),
    "lives too long without iat": signed({**without("iat"), "exp": NOW + 31 * 86400}),
    "nbf later": signed({**GOOD, "nbf": NOW + 60}),
    "nbf of digits": signed({**GOOD, "nbf": str(NOW)}),
    "iat later": signed({**GOOD, "iat": NOW + 60}),
    "iat true": signed({**GOOD, "iat": True}),
    "iss another": signed({**GOOD, "iss": "you"}),
    "iss longer": signed({**GOOD, "iss": "me.evil.example"}),
    "iss shorter": signed({**GOOD, "iss": "m"}),
    "iss a list": signed({**GOOD, "iss": ["me"]}),
    "iss absent": signed(without("iss")),
    "aud another": signed({**GOOD, "aud": "gateway2"}),
    "aud a part": signed({**GOOD, "aud": "gate"}),
    "aud a list of others": signed({**GOOD, "aud": ["a", "b"]}),
    "aud a number": signed({**GOOD, "aud": 7}),
    "aud an object": signed({**GOOD, "aud": {"gateway": 1}}),
    "aud absent": signed(without("aud")),
    "sub a number": signed({**GOOD, "sub": 7}),
    "tags a list": signed({**GOOD, "tags": ["blue"]}),
    "tags of numbers": signed({**GOOD, "tags": {"team": 7}}),
    "revoked": signed({**GOOD, "jti": "lost-1"}),
    "jti a number": signed({**GOOD, "jti": 7}),
    "expired and from another issuer": signed({**GOOD, "iat": NOW - 900, "exp": NOW - 600, "iss": "you"}),
    "payload a list": signed([1]),
    "payload no JSON": signed(b"{"),
    "payload deep": signed(b"[" * 2500 + b"]" * 2500),
    "two parts": signed(GOOD).rpartition(".")[0],
    "four parts": signed(GOOD) + ".AAAA",
    "padding": signed(GOOD) + "=",
    "no token": "hello",
    "three empty parts": "..",
    "not base64": "a!.b!.c!",
    "not ASCII": "ä.ö.ü",
}


@pytest.fixture(scope="module")
def rules() -> credentials.TokenRules:
    return credentials.TokenRules("me", frozenset(["gateway"]), revoked=frozenset(["lost-1"]))


async def test_every_bad_token_is_403_and_leaves_no_trace_of_itself() -> None:
    async with running_gateway(HOME, clock=ManualClock(time=NOW)) as gateway:
        for why, token in REFUSED.items():
            answer = await gateway.get("/v1/models", headers={"authorization": b"Bearer ".decode() + token})
            assert code(answer) == (403, "permission_denied"), why
            assert b"alice" not in answer.body and b"root" not in answer.body, why
        assert (await ask(gateway, bearer(signed(GOOD)))).status == 200
        await gateway.settled()
        log = json.dumps(gateway.log)
        assert not any(part in log for token in REFUSED.values() for part in token.split(".") if len(part) > 20)


async def test_an_expired_token_is_401_token_expired_after_the_leeway() -> None:
    clock = ManualClock(time=NOW)
    token = signed(GOOD)
    async with running_gateway(HOME, clock=clock) as gateway:
        assert await status(gateway, token) == 200
        clock.advance(629)
        assert await status(gateway, token) == 200
        clock.advance(1)
        assert code(await ask(gateway, bearer(token))) == (401, "token_expired")
        assert code(await ask(gateway, bearer(signed({**GOOD, "exp": -1})))) == (401, "token_expired")


async def test_no_token_is_401_in_every_dialect() -> None:
    body = {"model": "echo", "messages": [{"role": "user", "content": "hi"}]}
    async with running_gateway(HOME, clock=ManualClock(time=NOW)) as gateway:
        answer = await gateway.post("/v1/messages", body, headers={"anthropic-version": "2023-06-01"})
        assert (answer.status, answer.json()["error"]["type"]) == (401, "authentication_error")
        answer = await gateway.post("/api/chat", body)
        assert (answer.status, type(answer.json()["error"])) == (401, str)
        answer = await gateway.post("/v1/responses", {"model": "echo", "input": "hi"})
        assert code(answer) == (401, "invalid_api_key")
        assert answer.headers["www-authenticate"] == "Bearer"


@pytest.mark.parametrize(
    "edge",
    [{"nbf": NOW + 30}, {"iat": NOW + 30}, {"aud": ["x", "gateway"]}, {"jti": "mine"}, {"exp": NOW + 600.5}],
)
async def test_what_is_just_right_gets_in(edge: dict[str, Any]) -> None:
    async with running_gateway(HOME, clock=ManualClock(time=NOW)) as gateway:
        assert await status(gateway, signed({**GOOD, **edge})) == 200
        assert await status(gateway, signed({**GOOD, **edge}, kid="key-2026/1")) == 200


async def test_the_principal_is_sub_and_its_tags_match_routes() -> None:
    async with running_gateway(HOME, clock=ManualClock(time=NOW)) as gateway:
        assert await status(gateway, signed({**GOOD, "tags": {"team": "blue"}}), "blue") == 200
        assert await status(gateway, signed({**GOOD, "tags": {"team": "red"}}), "blue") == 404
        assert await status(gateway, signed({**GOOD, "sub": "line\nbreak ☃"})) == 200
        assert await status(gateway, signed(without("sub"))) == 200
        await gateway.settled()
        names = [line["principal"] for line in gateway.events("request")]
        assert names[:2] == ["alice", "alice"] and names[3] == "jwt"
        assert names[2].startswith("sub:") and len(names[2]) == 36


async def test_a_token_of_an_old_secret_is_refused_after_the_reload() -> None:
    async with running_gateway(HOME, clock=ManualClock(time=NOW)) as gateway:
        token = signed(GOOD)
        assert await status(gateway, token) == 200
        gateway.configure(HOME.replace(SECRET, "b" * 32))
        await gateway.reloader.reload("test")
        assert await status(gateway, token) == 403


async def test_without_an_audience_of_ones_own_a_token_for_somebody_is_refused() -> None:
    home = f'plugins: [{{auth: {{jwt: {{secret: "{SECRET}"}}}}}}]\n{ROUTES}'
    async with running_gateway(home, clock=ManualClock(time=NOW)) as gateway:
        assert await status(gateway, signed(without("aud"))) == 200
        assert await status(gateway, signed(GOOD)) == 403


@pytest.mark.parametrize("length", [8_200, 16_000])
async def test_a_token_longer_than_a_header_may_be_is_403_too_and_not_repeated(length: int) -> None:
    async with running_gateway(HOME) as gateway:
        reader, writer = await asyncio.open_connection("127.0.0.1", int(gateway.url.rpartition(":")[2]))
        head = b"POST /v1/messages HTTP/1.1\r\nHost: x\r\nauthorization: Bearer "
        writer.write(head + b"a" * length + b".b.c\r\n\r\n")
        answer = await reader.read()
        writer.close()
        assert answer.startswith(b"HTTP/1.1 403 ") and b'"permission_error"' in answer and b"aaa" not in answer


def test_a_megabyte_is_refused_before_it_is_decoded() -> None:
    signer = credentials.shared_secret(credentials.Secret(SECRET))
    with pytest.raises(PermissionDenied, match="form"):
        signer.payload("a" * 1_000_000 + ".b.c")


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=5,
)


@given(st.dictionaries(st.sampled_from([*GOOD, "nbf", "jti", "tags"]), json_values, min_size=1))
def test_no_value_of_any_claim_breaks_or_gets_further_than_the_rules(
    rules: credentials.TokenRules, claims: dict[str, Any]
) -> None:
    payload = json.dumps({**GOOD, **claims}).encode()
    try:
        found = credentials.judge(payload, rules, NOW)
    except (PermissionDenied, Unauthenticated):
        return
    assert NOW < found.expires_at <= NOW + rules.max_lifetime_s + rules.leeway_s * 2
    assert 0 < len(found.name) <= 128 and found.name.isascii() and found.name.isprintable() and " " not in found.name


@given(st.text(max_size=200) | st.from_regex(r"[\w-]{0,40}\.[\w-]{0,40}\.[\w-]{0,40}", fullmatch=True))
def test_no_text_breaks_the_reader(token: str) -> None:
    with pytest.raises(GatewayError):
        credentials.shared_secret(credentials.Secret(SECRET)).payload(token)
