"""`ledger:` as an operator writes it, and what becomes of it in a running gateway."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from gateway.errors import ConfigError
from gateway.ledger.url import ledger_secrets
from gateway.runtime.config import Config
from gateway.testing import running_gateway
from tests.ledger.kit import ids, locked, recorded, row, until
from tests.runtime.configuration import load

ROOT = Path(__file__).resolve().parents[2]
ASKED = {"role": "user", "content": "hello"}
ECHO = """
routes: [{name: echo, match: {model: echo}, targets: [echo/echo]}]
"""


def configured(folder: Path, ledger: str) -> Config:
    return load(folder, f"version: 1\nledger: {ledger}\n")


def test_without_a_word_there_is_none(tmp_path: Path) -> None:
    for text in ("version: 1\n", "version: 1\nledger: none\n", "version: 1\nledger: {url: none}\n"):
        config = load(tmp_path, text)
        assert (config.ledger.url.reveal(), config.ledger.keep_s) == ("none", None)


def test_keep_is_a_duration(tmp_path: Path) -> None:
    kept = configured(tmp_path, "{url: 'sqlite:var/l.db', keep: 90d}").ledger
    assert (kept.url.reveal(), kept.keep_s) == ("sqlite:var/l.db", 90 * 86_400.0)


@pytest.mark.parametrize("url", ["postgresql://u:s3%2Fcret-pw@h:5432/d", "postgres://u@h/d?password=s3%2Fcret-pw"])
def test_a_password_is_a_secret_in_both_its_forms(tmp_path: Path, url: str) -> None:
    config = configured(tmp_path, f'"{url}"')
    assert "s3" not in repr(config.ledger)
    assert "s3/cret-pw" in {each.reveal() for each in config.secrets}


def test_urls_that_can_be_used_are_taken() -> None:
    for url in ("none", "sqlite:l.db", "sqlite:/var/lib/l.db", "postgresql:///db?host=/run", "postgres://u@[::1]:5/d"):
        assert ledger_secrets(url) == ()


@pytest.mark.parametrize("url", ["postgresql://", "postgresql://user@host", "postgres://user@host/"])
def test_a_url_without_a_database_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="this names no database; write sqlite:"):
        ledger_secrets(url)


async def test_ready_says_how_the_ledger_is() -> None:
    async with running_gateway(ECHO) as gateway:
        assert (await gateway.get("/ready")).json()["checks"]["ledger"] == "off"
    async with running_gateway(f"ledger: sqlite:var/ledger.db\n{ECHO}") as gateway:
        ready = (await gateway.get("/ready")).json()
        assert (ready["status"], ready["checks"]["ledger"]) == ("ready", "ok")
        ledger = gateway.core.snapshot.shared.ledger
        assert ledger is not None
        assert (gateway.home / "var/ledger.db").is_file()
        await recorded(ledger, row("a"))
        assert ids(await ledger.rows(filters={"exchange_id": "a"})) == ["a"]


async def test_a_reload_that_changes_the_ledger_is_refused() -> None:
    before = f"ledger: sqlite:l.db\n{ECHO}"
    async with running_gateway(before) as gateway:
        file = gateway.home / "gateway.yaml"
        written = file.read_text()
        for changed in ("ledger: {url: 'sqlite:l.db', keep: 90d}", "ledger: sqlite:other.db", ""):
            file.write_text(written.replace("ledger: sqlite:l.db", changed))
            with pytest.raises(ConfigError, match="ledger changed, which needs a restart"):
                await gateway.reloader.reload("test")


async def test_a_lost_ledger_degrades_and_every_request_is_served() -> None:
    async with running_gateway(f"ledger: sqlite:l.db\n{ECHO}") as gateway:
        ledger = gateway.core.snapshot.shared.ledger
        assert ledger is not None
        with locked(gateway.home / "l.db"):
            ledger.record(row("a"))
            await until(lambda: ledger.is_lost)
            ready = await gateway.get("/ready")
            assert (ready.status, ready.json()["status"], ready.json()["checks"]["ledger"]) == (200, "degraded", "lost")
            answer = await gateway.post("/v1/chat/completions", {"model": "echo", "messages": [ASKED]})
            assert answer.status == 200
        await ledger.flush()
        assert (await gateway.get("/ready")).json()["status"] == "ready"
        assert ledger.dropped_total == 0


WRITES = """
import asyncio, sys, time
from pathlib import Path
import gateway.supervisor
from tests.ledger.kit import Place, recorded, row

async def main():
    async with Place("sqlite:l.db", Path(sys.argv[1])).opened(keep_s=3600.0) as ledger:
        await recorded(ledger, row("a", ts=time.time()), row("old", ts=1.0))
        assert await ledger.forget() == 1
        print(await ledger.keys_version(), await ledger.keys(), "sqlalchemy" in sys.modules)
        print([each.exchange_id for each in await ledger.rows()], "sqlalchemy" in sys.modules)

asyncio.run(main())
"""


def test_sqlalchemy_is_imported_only_for_a_question(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", WRITES, str(tmp_path)],
        capture_output=True, text=True, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}, check=False,
    )  # fmt: skip
    assert (done.stdout, done.stderr) == ("0 [] False\n['a'] True\n", "")
