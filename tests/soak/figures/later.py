"""The slots of promises whose subject is still to come: each is replaced by a file of its own when it lands."""

from __future__ import annotations

from tests.soak.row import Row, Size, not_built


async def limits(size: Size) -> list[Row]:
    bar = "4 processes: never more than burst + rate × t; 0.1 % under-admission or less"
    return [not_built("limits", bar, "the rate_limit plugin over a shared state")]


async def ledger(size: Size) -> list[Row]:
    bar = "every row kept over 20 × kill -9; one row an exchange over 10,000 mixed endings"
    return [not_built("ledger", bar, "the SQL ledger")]


async def state(size: Size) -> list[Row]:
    bar = "150 ms added for the first 5 requests, 5 ms after; back 2 s after it returns; failover within 5 s"
    return [not_built("state outage", bar, "the Redis state store")]


async def dashboard(size: Size) -> list[Row]:
    bar = "0 of 60 script payloads run in a browser; 0 of 20 cross-site posts accepted"
    return [not_built("dashboard", bar, "the dashboard's pages")]
