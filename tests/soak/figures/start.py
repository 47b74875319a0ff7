"""Start: ready soon, without a network, also with a thousand routes; a bad configuration ends soon and says where."""

from __future__ import annotations

import asyncio
import re
import sys
import tempfile
import time
from pathlib import Path

from tests.imports import ROOT
from tests.soak.row import Row, Size, pick
from tests.soak.running import environment, gateway

ROUTES = 1000


def many(count: int) -> str:
    """Return a home with `count` routes over ten providers."""
    providers = "\n".join(
        f'  p{n}: {{dialect: openai, base_url: "http://127.0.0.1:{9000 + n}/v1", api_key: k}}' for n in range(10)
    )
    routes = "\n".join(
        f'  - {{name: r{n}, match: {{model: ["m{n}", "m{n}-*"]}}, targets: [p{n % 10}/m{n}], fallbacks: [p{(n + 1) % 10}/m]}}'
        for n in range(count)
    )
    plugins = "[request_id, access_log, security_headers, cors, timeouts]"
    return f"version: 1\nplugins: {plugins}\nproviders:\n{providers}\nroutes:\n{routes}\n"


async def measure(size: Size) -> list[Row]:
    times = pick(size, 1, 5, 15)
    own = await _starts((ROOT / "gateway.yaml").read_text(), times)
    large = await _starts(many(ROUTES), times)
    wrong = many(ROUTES) + "  - {name: last, match: {model: last}, targets: [nobody/m]}\n"
    line = wrong.count("\n")
    bad = [await _refused(wrong, line) for _ in range(times)]
    told = sum(said for _, said in bad)
    slowest = max(took for took, _ in bad)
    return [
        _row("start", 1.0, own),
        _row("start: 1,000 routes", 2.0, large),
        Row(
            "start: a bad configuration",
            "exits with 2 within 2 s, with its line",
            f"{slowest:.2f} s at most; the line was told {told} of {times} times",
            slowest <= 2.0 and told == times,
            {"told": told, "times": times},
        ),
    ]


def _row(promise: str, most_s: float, taken: list[tuple[float, float]]) -> Row:
    slowest, cpu_s = max(wall for wall, _ in taken), sorted(cpu for _, cpu in taken)[len(taken) // 2]
    middle = sorted(wall for wall, _ in taken)[len(taken) // 2]
    return Row(
        promise,
        f"ready within {most_s:g} s, offline",
        f"{slowest:.2f} s at most, {middle:.2f} s in the middle of {len(taken)}, {cpu_s:.2f} s of it CPU",
        slowest <= most_s,
        {"most_s": slowest, "cpu_s": cpu_s},
    )


async def _starts(text: str, times: int) -> list[tuple[float, float]]:
    taken = []
    for _ in range(times):
        async with gateway(text) as running:
            taken.append((running.start_s, running.start_cpu_s))
    return taken


async def _refused(text: str, line: int) -> tuple[float, bool]:
    """Return how long a start with a bad file took to end, and whether it ended as it should."""
    with tempfile.TemporaryDirectory(prefix="soak-") as folder:
        (Path(folder) / "gateway.yaml").write_text(text)
        began = time.monotonic()
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "gateway", "serve", folder, "--listen", "127.0.0.1:0", "--admin", "off", "--no-watch",
            cwd=ROOT, env=environment(), stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        try:
            _, said = await asyncio.wait_for(process.communicate(), 30)
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        took = time.monotonic() - began
    return took, process.returncode == 2 and re.search(rf"^gateway\.yaml:{line}:\d+: ", said.decode(), re.M) is not None
