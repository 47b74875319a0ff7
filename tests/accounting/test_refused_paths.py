"""What is asked for on a path that there is not leaves a row like every other refusal."""

from __future__ import annotations

import pytest

from gateway.testing import running_gateway

CONFIG = "ledger: sqlite:var/ledger.db\nproviders: {echo: {}}\nroutes: [{name: all, match: {model: m}, targets: [echo/echo]}]\n"


@pytest.mark.parametrize("path", ["/v1/nothing", "//v1/chat/completions", "/v1/%00"])
async def test_a_path_that_nothing_takes_leaves_a_row(path: str) -> None:
    async with running_gateway(CONFIG) as gateway:
        assert (await gateway.post(path, {"model": "m"})).status == 404
        await gateway.settled()
        ledger = gateway.core.snapshot.ledger
        assert ledger is not None
        await ledger.flush()
        [row] = await ledger.rows()
        assert (row.status, row.outcome, row.error_code, row.cost_usd) == (404, "failed", "not_found", 0)
