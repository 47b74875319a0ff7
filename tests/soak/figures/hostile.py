"""Hostile input: thousands of malformed requests, each a 4xx in the caller's dialect or a closed connection.

The corpus of tests/server, over and over, and between its cases good requests with a few bytes of the head changed
at random (a seed makes them the same ones every time); those that turned out harmless are not counted.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter

from tests.server.corpus.case import Case
from tests.server.raw import RawAnswer
from tests.server.raw import post as raw_post
from tests.server.test_hostile import CASES, check_shape
from tests.soak.client import Answer, Gone, Line, get
from tests.soak.row import Row, Size, pick, progress
from tests.soak.running import Gateway, gateway, upstream, warm

MOST_GROWTH_BYTES = 20_000_000
CLIENTS = 24
PATIENCE_S = 15.0
SEED = 20261122
BYTES = b"\x00\r\n\t :;,/\\%\x7f\xff\"'aZ09-_{}"


def edge(port: int) -> str:
    """Return the home of the corpus's own tests: small limits, every dialect."""
    return f"""\
version: 1
server: {{max_body: 64KiB, timeouts: {{headers: 400ms, body: 400ms}}}}
plugins: [request_id, access_log, security_headers]
providers:
  up: {{dialect: openai, base_url: "http://127.0.0.1:{port}/v1", api_key: key-of-the-gateway}}
  claude: {{dialect: anthropic, base_url: "http://127.0.0.1:{port}", api_key: key-of-the-gateway}}
  llama: {{dialect: ollama, base_url: "http://127.0.0.1:{port}"}}
routes:
  - {{name: claude, match: {{model: claude}}, targets: ["claude/*"]}}
  - {{name: llama, match: {{model: llama}}, targets: ["llama/*"]}}
  - {{name: translated, match: {{model: translated}}, targets: [claude/real]}}
  - {{name: plain, match: {{model: ["m", "m/*"]}}, targets: ["up/*"]}}
  - {{name: files, match: {{path: "/files/**"}}, targets: ["up/*"]}}
"""


def mutated(chance: random.Random) -> bytes:
    """Return a good request whose head had a few bytes changed, added or taken."""
    data = bytearray(raw_post())
    end = data.find(b"\r\n\r\n") + 2
    for _ in range(chance.randint(1, 4)):
        at = chance.randrange(end)
        match chance.randrange(3):
            case 0:
                data[at] = chance.choice(BYTES)
            case 1:
                data.insert(at, chance.choice(BYTES))
            case _:
                del data[at]
    return bytes(data)


async def measure(size: Size) -> list[Row]:
    wanted = pick(size, 150, 5000, 20_000)
    chance = random.Random(SEED)
    cases = [case for case in CASES if 200 not in case.answers]
    outcomes: Counter[str] = Counter()
    wrong: list[str] = []
    async with upstream() as up, gateway(edge(up.port)) as running:
        await warm(running.port)
        for case in cases[:20]:
            await _try(running, case.data, case, Counter(), [])
        before = running.rss_bytes()

        async def work() -> None:
            while outcomes["4xx"] + outcomes["closed"] < wanted and len(wrong) < 20:
                if chance.random() < 0.6:
                    case = chance.choice(cases)
                    await _try(running, case.data, case, outcomes, wrong)
                else:
                    await _try(running, mutated(chance), None, outcomes, wrong)

        await asyncio.gather(*(work() for _ in range(CLIENTS)))
        growth = running.rss_bytes() - before
        after = await running.get("/health")
        smuggled = await up.count("smuggled")
        await warm(running.port, 20)
    malformed = outcomes["4xx"] + outcomes["closed"]
    progress(f"{dict(outcomes)}")
    good = not wrong and smuggled == 0 and after["status"] == "healthy"
    return [
        Row(
            "hostile input",
            "5,000 malformed requests: 4xx in the caller's dialect or closed; no 5xx, no crash, no desync",
            f"{malformed:,}: {outcomes['4xx']:,} 4xx, {outcomes['closed']:,} closed, {len(wrong)} otherwise, "
            f"{smuggled} smuggled" + (f"; first: {wrong[0]}" if wrong else ""),
            good,
            {"malformed": malformed, "wrong": len(wrong), "smuggled": smuggled},
        ),
        Row(
            "hostile input: memory",
            "20 MB more or less",
            f"{growth / 1e6:+.1f} MB",
            growth <= MOST_GROWTH_BYTES,
            {"growth_bytes": growth},
        ),
    ]


async def _try(running: Gateway, data: bytes, case: Case | None, outcomes: Counter[str], wrong: list[str]) -> None:
    """Send one; note what came of it, and whatever is wrong about that."""
    line = await Line.open(running.port)
    try:
        async with asyncio.timeout(PATIENCE_S):
            line.send(data)
            answer = await line.answer(to_head=data.startswith(b"HEAD ") or (case is not None and case.to_head))
            outcomes["4xx" if 400 <= answer.status < 500 else str(answer.status)] += 1
            if fault := await _fault(line, answer, case):
                wrong.append(f"{case.name if case else data[:200]!r}: {fault}")
    except Gone:
        outcomes["closed"] += 1
    except TimeoutError:
        wrong.append(f"{case.name if case else data[:200]!r}: no answer in {PATIENCE_S:g} s")
    finally:
        line.leave(reset=True)


async def _fault(line: Line, answer: Answer, case: Case | None) -> str:
    if answer.status >= 500:
        return f"{answer.status}: {answer.body[:200]!r}"
    if case is None:
        return "" if answer.status == 200 or 400 <= answer.status < 500 else f"{answer.status}"
    if answer.status not in case.answers:
        return f"{answer.status}: {answer.body[:200]!r}"
    if not case.to_head:
        try:
            check_shape(RawAnswer(answer.status, answer.headers, answer.body), case.dialect)
        except (AssertionError, KeyError, ValueError, TypeError) as error:
            return f"not in {case.dialect}'s shape: {error!r} {answer.body[:200]!r}"
    if case.closes:
        rest = await line.reader.read(1) if answer.headers.get("connection") == "close" else b"left open"
        return f"answered behind the end: {rest!r}" if rest else ""
    after = await line.ask(get("/health"))
    return "" if after.status == 200 and b"healthy" in after.body else f"after it: {after.status} {after.body[:100]!r}"
