"""The slots of promises whose subject is still to come: each is replaced by a file of its own when it lands."""

from __future__ import annotations

from tests.soak.row import Row, Size, not_built


async def dashboard(size: Size) -> list[Row]:
    bar = "0 of 60 script payloads run in a browser; 0 of 20 cross-site posts accepted"
    return [not_built("dashboard", bar, "the dashboard's pages")]
