"""Addresses that try one wrong key after another."""

from __future__ import annotations

from gateway import credentials
from gateway.testing import ManualClock, RunningGateway, running_gateway
from tests.auth.conftest import NOW, ROUTES, SECRET, ask, bearer, code, entry, status

MADE = credentials.new_key()
HOME = f"""
server: {{trusted_proxies: [127.0.0.1]}}
plugins:
  - auth:
      keys: [{entry("chosen", "hunter2")}, {entry("made", MADE)}, {entry("used", "letmein")}]
      jwt: {{secret: "{SECRET}"}}
{ROUTES}
"""


async def guess(gateway: RunningGateway, count: int, start: int = 0, remote: str = "") -> list[int]:
    headers = {"x-forwarded-for": remote} if remote else {}
    return [
        (await gateway.get("/v1/models", {**headers, "x-api-key": f"guess-{number}"})).status
        for number in range(start, start + count)
    ]


async def test_ten_different_wrong_keys_a_minute_are_401_and_then_429_with_a_growing_wait() -> None:
    clock = ManualClock(time=NOW)
    async with running_gateway(HOME, clock=clock) as gateway:
        assert await guess(gateway, 12) == [401] * 10 + [429] * 2
        answer = await ask(gateway, bearer("guess"))
        assert code(answer) == (429, "rate_limit_exceeded") and answer.headers["retry-after"] == "10"
        (line,) = gateway.events("auth_locked_out")
        assert (line["address"], line["for_s"]) == ("127.0.0.1", 10.0)
        for lasts_s in (20, 40, 80):
            clock.advance(lasts_s / 2)
            assert await guess(gateway, 11, start=lasts_s) == [401] * 10 + [429]
            assert (await ask(gateway, bearer("guess"))).headers["retry-after"] == str(lasts_s)
        clock.advance(80 + 1801)
        assert await guess(gateway, 11) == [401] * 10 + [429]
        assert (await ask(gateway, bearer("guess"))).headers["retry-after"] == "10"


async def test_guesses_spread_over_time_are_not_held_against_an_address() -> None:
    clock = ManualClock(time=NOW)
    async with running_gateway(HOME, clock=clock) as gateway:
        for start in range(0, 30, 10):
            assert await guess(gateway, 10, start) == [401] * 10
            clock.advance(61)


async def test_a_client_that_repeats_its_one_wrong_key_guesses_nothing() -> None:
    async with running_gateway(HOME, clock=ManualClock(time=NOW)) as gateway:
        assert {await status(gateway, "old-key") for _ in range(40)} == {401}
        assert {(await gateway.get("/v1/models")).status for _ in range(40)} == {401}
        assert {await status(gateway, f"a.b{number}.c") for number in range(40)} == {403}
        assert await guess(gateway, 1) == [401]


async def test_keys_at_work_and_keys_that_nobody_guesses_pass_while_their_address_is_shut_out() -> None:
    async with running_gateway(HOME, clock=ManualClock(time=NOW)) as gateway:
        assert await status(gateway, "letmein") == 200
        assert await guess(gateway, 11) == [401] * 10 + [429]
        assert await status(gateway, "letmein") == 200
        assert await status(gateway, MADE) == 200
        # A guess that hits must look like one that misses.
        assert await status(gateway, "hunter2") == 429


async def test_one_address_is_not_shut_out_for_another_and_a_reload_forgets_nothing() -> None:
    async with running_gateway(HOME, clock=ManualClock(time=NOW)) as gateway:
        assert await guess(gateway, 11, remote="192.0.2.1") == [401] * 10 + [429]
        assert await guess(gateway, 1, remote="192.0.2.2") == [401]
        gateway.configure(HOME + "# changed\n")
        await gateway.reloader.reload("test")
        assert await guess(gateway, 1, remote="192.0.2.1") == [429]
        mixed = [(await guess(gateway, 1, number, f"2001:db8::{number}"))[0] for number in range(11)]
        assert mixed == [401] * 10 + [429]  # one host's /64
        assert await guess(gateway, 1, remote="2001:db8:0:1::1") == [401]
