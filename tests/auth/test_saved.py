"""Keys that the ledger keeps: saved and revoked while gateways run."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from gateway import credentials
from gateway.ledger.ledger import Ledger, SavedKey
from gateway.ledger.opened import ledger_at
from gateway.telemetry import Logger
from gateway.testing import ManualClock, RunningGateway, running_gateway
from tests.auth.conftest import NOW, ROUTES, ask, bearer, code, entry, hashed, status


def home(file: Path, more: str = "anonymous: never") -> str:
    return f"ledger: 'sqlite:{file}'\nplugins: [{{auth: {{{more}}}}}]\n{ROUTES}"


@asynccontextmanager
async def ledger(file: Path) -> AsyncIterator[Ledger]:
    opened = ledger_at(f"sqlite:{file}", file.parent, keep_s=None, time=lambda: float(NOW), log=Logger("error"))
    assert opened is not None
    await opened.start()
    try:
        yield opened
    finally:
        await opened.close()


def saved(name: str, key: str, **facts: object) -> SavedKey:
    return SavedKey(name=name, hash=hashed(key), created_at=NOW, facts=credentials.kept_facts(facts))


async def becomes(gateway: RunningGateway, key: str, wanted: int, model: str = "echo") -> None:
    """Return once requests with `key` get `wanted`; the test's timeout bounds it."""
    async with asyncio.timeout(20):
        while await status(gateway, key, model) != wanted:
            pass


async def test_a_key_saved_and_revoked_holds_in_every_gateway_without_a_reload(tmp_path: Path) -> None:
    file = tmp_path / "ledger.db"
    async with ledger(file) as kept, running_gateway(home(file)) as one, running_gateway(home(file)) as two:
        assert await status(one, "k-one") == 401
        await kept.save_key(saved("team", "k-one", models=("gpt-*",)))
        for gateway in (one, two):
            await becomes(gateway, "k-one", 200, "gpt-5")
            assert await status(gateway, "k-one", "smart") == 403
        assert await kept.revoke_key("team", NOW) == 1
        for gateway in (one, two):
            await becomes(gateway, "k-one", 401, "gpt-5")


async def test_when_unconfigured_ends_with_the_first_saved_key_and_stays_ended(tmp_path: Path) -> None:
    file = tmp_path / "ledger.db"
    open_home = home(file, "anonymous: when_unconfigured")
    async with ledger(file) as kept:
        async with running_gateway(open_home) as gateway:
            assert (await ask(gateway)).status == 200
            await kept.save_key(saved("team", "k-one"))
            await becomes(gateway, "anything", 401)
            assert await status(gateway, "k-one") == 200
        await kept.revoke_key("team", NOW)
        async with running_gateway(open_home) as gateway:
            assert (await ask(gateway)).status == 401


async def test_a_saved_key_ends_at_its_time_and_one_that_cannot_be_read_gets_nobody_in(tmp_path: Path) -> None:
    file, clock = tmp_path / "ledger.db", ManualClock(time=NOW)
    async with ledger(file) as kept:
        await kept.save_key(SavedKey(name="brief", hash=hashed("k-brief"), created_at=NOW, expires_at=NOW + 5))
        await kept.save_key(SavedKey(name="odd", hash=hashed("k-odd"), created_at=NOW, facts={"models": "all"}))
        async with running_gateway(home(file), clock=clock) as gateway:
            assert await status(gateway, "k-brief") == 200
            assert await status(gateway, "k-odd") == 401
            assert gateway.events("saved_key_unusable")[0]["key"] == "odd"
            clock.advance(5)
            assert code(await ask(gateway, bearer("k-brief"))) == (401, "invalid_api_key")


async def test_a_lost_ledger_keeps_known_keys_for_a_while_and_then_says_503(tmp_path: Path) -> None:
    file, clock = tmp_path / "ledger.db", ManualClock(time=NOW)
    async with ledger(file) as kept:
        await kept.save_key(saved("team", "k-one"))
    more = f"keys: [{entry('filed', 'k-filed')}]"
    async with running_gateway(home(file, more), clock=clock) as gateway:
        assert await status(gateway, "k-one") == 200
        plugin = next(each for each in gateway.core.snapshot.plugins if each.name == "auth")
        ledger_lost = plugin.services.ledger
        assert ledger_lost is not None
        await ledger_lost.close()
        file.unlink()
        file.mkdir()
        async with asyncio.timeout(20):
            while not gateway.events("saved_keys_unreadable"):
                await ask(gateway)
        assert await status(gateway, "k-one") == 200
        clock.advance(31)
        answer = await ask(gateway, bearer("k-one"))
        assert code(answer) == (503, "state_unavailable") and answer.headers["retry-after"]
        assert code(await ask(gateway, bearer("unknown"))) == (503, "state_unavailable")
        assert await status(gateway, "k-filed") == 200
        assert (await ask(gateway)).status == 401
        assert len(gateway.events("saved_keys_unreadable")) == 1


async def test_a_ledger_that_is_away_at_the_start_lets_nobody_in_and_keeps_nothing_else_from_starting() -> None:
    more = "{{auth: {{anonymous: when_unconfigured{}}}}}"
    nowhere = (
        "ledger: 'postgresql://127.0.0.1:1/none'\nplugins: ["
        + more
        + "]\n"
        + ROUTES.replace("{", "{{").replace("}", "}}")
    )
    async with running_gateway(nowhere.format("")) as gateway:
        assert (await gateway.get("/health")).status == 200
        for headers in ({}, bearer("any")):
            assert code(await ask(gateway, headers)) == (503, "state_unavailable")
    async with running_gateway(nowhere.format(f", keys: [{entry('filed', 'k-filed')}]")) as gateway:
        assert [await status(gateway, key) for key in ("k-filed", "other")] == [200, 503]
