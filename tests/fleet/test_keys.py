"""Keys made, used and revoked while gateways run; tokens; what stands beside a key is held."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import AsyncIterator
from hashlib import sha256
from pathlib import Path

import anthropic
import ollama
import openai
import pytest

from tests.fleet.kit import Fleet, fleet, until, write_home
from tests.fleet.upstream import Upstream, upstream
from tests.imports import ROOT

SECRET = "a secret of the tests that is long enough"
FILED = "key-that-stands-in-the-file"
HOME = """\
version: 1
state: sqlite:var/state.db
ledger: sqlite:var/ledger.db
plugins:
  - auth:
      keys:
        - {name: filed, hash: "sha256:%s", models: ["m*", echo], limits: {requests: 3/day, concurrency: 2}}
      jwt: {secret: %s}
  - rate_limit
  - budget
providers:
  up: {dialect: openai_chat, base_url: "%s", api_key: k}
  echo: {}
routes:
  - {name: echo, match: {model: echo}, targets: [echo/echo]}
  - {name: m, match: {model: [m, m2]}, targets: ["up/*"]}
  - {name: other, match: {model: other}, targets: ["up/*"]}
"""


async def gateway(*words: str) -> str:
    """Run a command and return what it printed; fails when it does."""
    running = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "gateway", *words,
        cwd=ROOT, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    out, err = await running.communicate()
    assert running.returncode == 0, err.decode()
    return out.decode()


async def new(home: Path, name: str, *more: str) -> str:
    key, line = (await gateway("keys", "new", name, str(home), "--save", *more)).splitlines()
    assert sha256(key.encode()).hexdigest() in line
    return key


async def within_a_second(gateways: Fleet, key: str, status: int) -> float:
    """Return how long it took until every gateway answered the key with that status, and goes on doing so."""
    began = time.monotonic()
    for each in gateways.gateways:

        async def answers(at: object = each) -> bool:
            return (await gateways.ask("echo", key=key, at=at)).status == status  # type: ignore[arg-type]

        await until(answers)
    took = time.monotonic() - began
    for each in gateways.gateways * 5:
        assert (await gateways.ask("echo", key=key, at=each)).status == status
    return took


@pytest.fixture
async def up() -> AsyncIterator[Upstream]:
    async with upstream() as running:
        yield running


@pytest.fixture
def home(tmp_path: Path, up: Upstream) -> Path:
    filed = sha256(FILED.encode()).hexdigest()
    return write_home(tmp_path, HOME % (filed, json.dumps(SECRET), up.url), '"*/*": {input: 1000, output: 1000}\n')


@pytest.fixture
async def two(home: Path) -> AsyncIterator[Fleet]:
    async with fleet(home, 2) as gateways:
        yield gateways


async def test_a_saved_key_holds_everywhere_within_a_second_and_ends_as_fast(home: Path, two: Fleet) -> None:
    key = await new(home, "team-a")
    assert await within_a_second(two, key, 200) < 5  # a second, on a machine that has nothing else to do
    listed = await gateway("keys", "list", str(home))
    assert key not in listed
    assert {"filed", "team-a"} <= set(listed.split())
    assert listed.count("active") == 2
    assert "revoked 1 key of team-a" in await gateway("keys", "revoke", "team-a", str(home))
    assert await within_a_second(two, key, 401) < 5
    assert "revoked" in await gateway("keys", "list", str(home))
    # One made again under the same name holds, the old one stays out.
    again = await new(home, "team-a", "--expires-in", "1h")
    await within_a_second(two, again, 200)
    await within_a_second(two, key, 401)


async def test_what_stands_beside_a_key_is_held_over_both_processes(home: Path, up: Upstream, two: Fleet) -> None:
    said = [await two.ask("m", key=FILED) for _ in range(6)]
    assert [each.status for each in said] == [200, 200, 200, 429, 429, 429]
    assert (await two.ask("other", key=FILED)).status == 403
    rich = await new(home, "rich", "--budget", "$0.10/day", "--models", "m,m2")
    await within_a_second(two, rich, 403)  # known, but not for echo
    said = [await two.ask("m", key=rich, max_tokens=1, use=[10, 1]) for _ in range(10)]
    # What one process settles after its answer reaches the other a moment later: until then it counts as reserved, so
    # that one may be refused too early, and none let in too many.
    assert {each.status for each in said} == {200, 402}
    assert up.tokens["m"] - 90 <= 100


async def test_models_are_those_the_caller_may_use(home: Path, two: Fleet) -> None:
    async def models(key: str) -> set[str]:
        headers = {"authorization": f"Bearer {key}"}
        async with two.session.get(two.next().url + "/v1/models", headers=headers) as answer:
            return {each["id"] for each in (await answer.json())["data"]}

    token = (await gateway("token", str(home), "--sub", "alice")).strip()
    assert await models(FILED) == {"echo", "m", "m2"}
    assert await models(token) == {"echo", "m", "m2", "other"}
    async with two.session.get(two.next().url + "/v1/models") as answer:
        assert answer.status == 401


async def test_a_token_of_the_command_is_let_in_until_it_is_over(home: Path, two: Fleet) -> None:
    token = (await gateway("token", str(home), "--sub", "alice", "--expires-in", "1h")).strip()
    assert (await two.ask("m", key=token)).status == 200
    head, payload, signature = token.split(".")
    forged = await two.ask("m", key=f"{head}.{payload}.{'A' * len(signature)}")
    assert forged.status == 403


async def test_every_sdk_gets_in_with_a_key_and_not_without(home: Path, two: Fleet) -> None:
    key = await new(home, "sdk")
    await within_a_second(two, key, 200)
    for each in two.gateways:
        assert await three_sdks(each.url, key) == ["hello there"] * 3
        with pytest.raises(openai.AuthenticationError):
            await openai_says(each.url, "wrong")
        with pytest.raises(anthropic.AuthenticationError):
            await anthropic_says(each.url, "wrong")
        with pytest.raises(ollama.ResponseError) as refused:
            await ollama_says(each.url, "wrong")
        assert refused.value.status_code == 401


MESSAGES = [{"role": "user", "content": "hello there"}]


async def three_sdks(url: str, key: str) -> list[str]:
    return [await openai_says(url, key), await anthropic_says(url, key), await ollama_says(url, key)]


async def openai_says(url: str, key: str) -> str:
    async with openai.AsyncOpenAI(base_url=url + "/v1", api_key=key, max_retries=0) as client:
        answer = await client.chat.completions.create(model="echo", messages=MESSAGES)  # type: ignore[arg-type]
        return str(answer.choices[0].message.content)


async def anthropic_says(url: str, key: str) -> str:
    async with anthropic.AsyncAnthropic(base_url=url, api_key=key, max_retries=0) as client:
        answer = await client.messages.create(model="echo", max_tokens=50, messages=MESSAGES)  # type: ignore[arg-type]
        return "".join(part.text for part in answer.content if part.type == "text")


async def ollama_says(url: str, key: str) -> str:
    client = ollama.AsyncClient(host=url, headers={"authorization": f"Bearer {key}"})
    answer = await client.chat(model="echo", messages=MESSAGES)
    return str(answer.message.content)
