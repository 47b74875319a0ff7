"""One file a promise; `FIGURES` is the order of the table."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from tests.soak.figures import (
    cancel,
    cuts,
    dashboard,
    hostile,
    ledger,
    limits,
    loop,
    memory,
    outage,
    overload,
    reload,
    secrets,
    sigterm,
    slow,
    start,
    state,
    streams,
)
from tests.soak.row import Row, Size

Measure = Callable[[Size], Awaitable[list[Row]]]

FIGURES: dict[str, Measure] = {
    "reload": reload.measure,
    "sigterm": sigterm.measure,
    "streams": streams.measure,
    "loop": loop.measure,
    "limits": limits.measure,
    "hostile": hostile.measure,
    "ledger": ledger.measure,
    "cancel": cancel.measure,
    "state": state.measure,
    "outage": outage.measure,
    "cuts": cuts.measure,
    "overload": overload.measure,
    "slow": slow.measure,
    "secrets": secrets.measure,
    "dashboard": dashboard.measure,
    "start": start.measure,
    "memory": memory.measure,
}
