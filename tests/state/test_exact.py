"""Several processes over one store take exactly what there is, never more."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.imports import ROOT
from tests.state.taker import BURST, ONCE, PLACES, RATE


async def taken(url: str, processes: int) -> list[dict[str, Any]]:
    """Return what each process was given, having begun together."""
    running = [
        await asyncio.create_subprocess_exec(
            sys.executable, "-m", "tests.state.taker", url,
            cwd=ROOT, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
        )
        for _ in range(processes)
    ]  # fmt: skip
    try:
        for each in running:
            assert each.stdout is not None
            assert await each.stdout.readline() == b"ready\n"
        said = await asyncio.gather(*(each.communicate(b"go\n") for each in running))
    finally:
        for each in running:
            if each.returncode is None:
                each.kill()
                await each.wait()
    return [json.loads(out) for out, _ in said]


def most_at_once(spans: list[list[float]]) -> int:
    """Return how many of the spans overlapped at most."""
    running = most = 0
    for _, change in sorted([(start, 1) for start, _ in spans] + [(end, -1) for _, end in spans]):
        running += change
        most = max(most, running)
    return most


@pytest.mark.parametrize("where", ["sqlite", "one", "sentinels", "cluster"])
async def test_four_processes_take_exactly_what_there_is(
    where: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    file = f"sqlite:{tmp_path}/state.db"
    found = await taken(file if where == "sqlite" else f"{request.getfixturevalue(where).url}?prefix=exact:", 4)
    # A take whose answer came too late was counted and admitted nobody.
    late = sum(each["failed"] for each in found)
    assert ONCE - late <= sum(each["once"] for each in found) <= ONCE
    assert ONCE - late <= sum(each["quota"] for each in found) <= ONCE
    assert most_at_once([span for each in found for span in each["held"]]) <= PLACES
    assert any(each["held"] for each in found)
    outer = max(each["to"] for each in found) - min(each["from"] for each in found)
    inner = min(each["to"] for each in found) - max(each["from"] for each in found)
    refilled = sum(each["refilled"] for each in found)
    assert refilled <= BURST + RATE * outer
    # The first took until the last began, and a refill may have come after the last look: a few tokens.
    assert late or refilled >= (BURST + RATE * inner) * 0.999 - RATE * 0.05
