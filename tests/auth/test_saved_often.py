"""The ledger's keys are asked for twice a second: all of them are read only when one has changed."""

from __future__ import annotations

from pathlib import Path

from gateway.ledger.ledger import Ledger, SavedKey
from gateway.telemetry import Logger
from gateway.testing import ManualClock, running_gateway
from tests.auth.conftest import NOW, ROUTES, hashed


class Counted:
    """A ledger that counts how often all keys were read."""

    def __init__(self, ledger: Ledger) -> None:
        self.whole = 0
        self._ledger, self.keys_version = ledger, ledger.keys_version

    async def keys(self) -> list[SavedKey]:
        self.whole += 1
        return await self._ledger.keys()


async def test_unchanged_keys_are_read_whole_only_now_and_then(tmp_path: Path) -> None:
    clock = ManualClock(time=NOW)
    async with running_gateway(f"ledger: sqlite:{tmp_path / 'l.db'}\nplugins: [auth]\n{ROUTES}") as gateway:
        (plugin,) = [each for each in gateway.core.snapshot.plugins if each.name == "auth"]
        ledger = plugin.services.ledger
        assert ledger is not None

        counted = Counted(ledger)
        saved = type(plugin.__dict__["_saved"])(counted, clock, Logger("error"))
        digest = bytes.fromhex(hashed("k").removeprefix("sha256:"))
        for _ in range(5):
            await saved.read()
            clock.advance(0.5)
        assert counted.whole == 1 and saved.find(digest) is None
        await ledger.save_key(SavedKey(name="a", hash=hashed("k"), created_at=NOW))
        for _ in range(5):
            await saved.read()
        assert counted.whole == 2 and saved.find(digest) is not None
        await ledger.revoke_key("a", NOW)
        await saved.read()
        assert counted.whole == 3 and saved.find(digest) is None
        clock.advance(29.0)
        await saved.read()
        assert counted.whole == 3 and saved.find(digest) is None
        clock.advance(2.0)
        await saved.read()
        assert counted.whole == 4
