"""What auth refuses to be told, and where it says so."""

from __future__ import annotations

import pytest

from gateway.errors import ConfigError
from gateway.testing import running_gateway
from tests.auth.conftest import ROUTES, SECRET, ask, bearer, entry, hashed, status

URL = "https://issuer.example/jwks"


async def refusal(options: str, **files: str) -> str:
    with pytest.raises(ConfigError) as caught:
        async with running_gateway(f"version: 1\nplugins:\n  - auth: {options}\n{ROUTES}", **files):  # type: ignore[arg-type]
            pass
    return str(caught.value)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ("{keys: [{name: a, hash: abc}]}", 'gateway.yaml:3:35: plugins[0].auth.keys[0].hash: this value has not'),
        (f'{{keys: [{{name: a b, hash: "{hashed("k")}"}}]}}', "keys[0].name: this value has not the right form"),
        ("{keys: [{name: a}]}", 'keys[0]: "hash" is missing'),
        (f"{{keys: [{entry('a', 'k', 'modles: [x]')}]}}", 'unknown key "modles"; did you mean "models"?'),
        (f"{{keys: [{entry('a', 'k', 'models: []')}]}}", "keys[0].models: must have 1 or more entries"),
        (f"{{keys: [{entry('a', 'k', 'expires: soon')}]}}", "keys[0].expires: this value has not the right form"),
        (f"{{keys: [{entry('a', 'k', 'expires: 2027-02-30')}]}}", 'keys[0].expires: "2027-02-30" is not a time'),
        (f"{{keys: [{entry('a', 'k', 'expires: 2027-01-01T25:00:00Z')}]}}", "is not a time; write 2027-01-01"),
        (f"{{keys: [{entry('a', 'k', 'budget: 5')}]}}", "keys[0].budget: must be text, not this value"),
        (f"{{keys: [{entry('a', 'k', 'limits: {requests: 5}')}]}}", "limits.requests: must be text"),
        (f"{{keys: [{entry('a', 'k')}, {entry('b', 'k')}]}}", 'keys[1] ("b") has the hash of keys[0]'),
        ("{jwt: {secret: short}}", "3:26: plugins[0].auth.jwt.secret: this value has not the right form"),
        (f'{{jwt: {{jwks_url: "{URL}"}}}}', "3:17: plugins[0].auth.jwt: jwks_url needs issuer and audience"),
        (f'{{jwt: {{jwks_url: "{URL}", issuer: x}}}}', "jwks_url needs issuer and audience"),
        (f'{{jwt: {{jwks_url: "{URL}", secret: "{SECRET}"}}}}', "jwt has both secret and jwks_url"),
        (f'{{jwt: {{secret: "{SECRET}", algorithms: [RS256]}}}}', "jwt: a secret signs HS256 only"),
        (
            f'{{jwt: {{jwks_url: "{URL}", issuer: x, audience: y, algorithms: [ES256, HS256]}}}}',
            "jwt: HS256 needs a secret",
        ),
        (f'{{jwt: {{secret: "{SECRET}", algorithms: [none]}}}}', 'jwt.algorithms[0]: "none" is not allowed here'),
        (f'{{jwt: {{secret: "{SECRET}", algorithms: [hs256]}}}}', "is not allowed here"),
        (f'{{jwt: {{secret: "{SECRET}", max_lifetime: 0s}}}}', "max_lifetime is 0"),
        ('{jwt: {jwks_url: "file:///etc/passwd"}}', "jwks_url: "),
        ('{jwt: {jwks_url: "https://user:pw@host/x"}}', "jwks_url: "),
        ("{anonymous: always}", 'anonymous: "always" is not allowed here; write never or when_unconfigured'),
    ],
)  # fmt: skip
async def test_a_bad_option_is_told_with_place_and_cure(options: str, said: str) -> None:
    text = await refusal(options)
    assert said in text, text
    assert "; " in text
    assert SECRET not in text and ": short" not in text


async def test_a_keys_file_is_told_at_its_own_line() -> None:
    options = "{keys_file: more.yaml}"
    bad = f"- {entry('a', 'k')}\n- {{name: b, hash: nonsense}}\n"
    assert "more.yaml:2:19: " in await refusal(options, files={"more.yaml": bad})  # type: ignore[arg-type]
    assert "more.yaml:1:1: must be a list" in await refusal(options, files={"more.yaml": "keys: []"})  # type: ignore[arg-type]
    assert "more.yaml:1:1: cannot be read: No such file" in await refusal(options)
    same = f"- {entry('a', 'k')}\n"
    text = await refusal(f"{{keys_file: more.yaml, keys: [{entry('z', 'k')}]}}", files={"more.yaml": same})  # type: ignore[arg-type]
    assert 'keys[1] ("a") has the hash of keys[0]' in text


async def test_keys_of_a_file_get_in_and_a_changed_file_counts_after_a_reload() -> None:
    home = f"plugins: [{{auth: {{keys: [{entry('a', 'one')}], keys_file: more.json}}}}]\n{ROUTES}"
    more = f'[{{"name": "b", "hash": "{hashed("two")}", "models": ["gpt-*"]}}]'
    async with running_gateway(home, files={"more.json": more}) as gateway:
        assert [await status(gateway, key, "gpt-5") for key in ("one", "two", "three")] == [200, 200, 401]
        assert await status(gateway, "two", "echo") == 403
        digest = gateway.core.snapshot.digest
        (gateway.home / "more.json").write_text(more.replace(hashed("two"), hashed("three")))
        await gateway.reloader.reload("test")
        assert [await status(gateway, key, "gpt-5") for key in ("one", "two", "three")] == [200, 401, 200]
        assert gateway.core.snapshot.digest != digest
        assert gateway.home / "more.json" in gateway.core.snapshot.config.files


async def test_anonymous_is_everybody_only_while_nobody_is_configured() -> None:
    home = f"plugins: [access_log, {{auth: {{anonymous: when_unconfigured}}}}]\n{ROUTES}"
    async with running_gateway(home) as gateway:
        assert (await ask(gateway)).status == 200
        assert (await ask(gateway, bearer("whatever"))).status == 200
        await gateway.settled()
        assert {line["principal"] for line in gateway.events("request")} == {"anonymous"}
        assert not gateway.events("auth_open")
        for options in (f"keys: [{entry('a', 'k')}]", f'jwt: {{secret: "{SECRET}"}}'):
            gateway.configure(home.replace("when_unconfigured", f"when_unconfigured, {options}"))
            await gateway.reloader.reload("test")
            assert (await ask(gateway)).status == 401
        gateway.configure(home.replace("anonymous: when_unconfigured", "anonymous: never"))
        await gateway.reloader.reload("test")
        assert (await ask(gateway)).status == 401
        assert gateway.events("auth_closed")


async def test_an_open_gateway_that_others_reach_warns_at_start() -> None:
    home = f"server: {{listen: '0.0.0.0:0'}}\nplugins: [{{auth: {{anonymous: when_unconfigured}}}}]\n{ROUTES}"
    async with running_gateway(home) as gateway:
        (line,) = gateway.events("auth_open")
        assert line["level"] == "warning" and "everybody" in line["warning"]


@pytest.mark.parametrize("written", ['{auth: "off"}', "{auth: {anonymous: when_unconfigured}}"])
async def test_auth_on_a_route_is_refused_because_it_would_do_nothing(written: str) -> None:
    routes = "routes:\n  - {name: e, targets: [echo/echo], plugins: [" + written + "]}\n"
    with pytest.raises(ConfigError, match=r"gateway\.yaml:4:\d+: routes\[0\]\.plugins\[0\]: .auth. says who is asking"):
        async with running_gateway(f"version: 1\nplugins: [{{auth: {{keys: [{entry('a', 'k')}]}}}}]\n{routes}"):
            pass


@pytest.mark.parametrize(
    ("chain", "told"),
    [("", ["budget", "rate_limit"]), ("\n  - budget", ["rate_limit"]), ("\n  - budget\n  - rate_limit", [])],
)
async def test_what_stands_beside_a_key_and_nobody_holds_is_warned_of(chain: str, told: list[str]) -> None:
    bounds = "budget: $1/day, limits: {requests: 1/min}"
    keys = f"{entry('a', 'k', bounds)}, {entry('b', 'l', bounds)}"
    async with running_gateway(f"version: 1\nplugins:\n  - auth: {{keys: [{keys}]}}{chain}\n{ROUTES}") as gateway:
        warned = [line["warning"] for line in gateway.log if line["event"] == "configuration"]
    assert [name for name in ("budget", "rate_limit") if any(f'"{name}"' in each for each in warned)] == told
    assert len(warned) == len(told)
    for each in warned:
        assert each.startswith("gateway.yaml:3:") and "plugins[0].auth.keys[0]." in each
        assert ", nor on 1 more of its kind" in each and 'add "- ' in each
