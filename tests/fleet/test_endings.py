"""However requests end, each leaves one row that says so, and the rows add up to what the upstream served."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

from tests.fleet.books import rows, written
from tests.fleet.kit import Fleet, Said, fleet, together, write_home
from tests.fleet.upstream import upstream
from tests.state.servers import Servers

COUNT = 2_000
"""`make soak` has ten thousand."""
KEYS = {
    "good": "",
    "narrow": ", models: [m]",
    "poor": ", budget: $0.001/month",
    "slow": ", limits: {requests: 1/day, burst: 1}",
}
HOME = """\
version: 1
state: "%s"
ledger: sqlite:var/ledger.db
plugins:
  - auth: {keys: [%s]}
  - rate_limit
  - budget
  - session
providers:
  first: {dialect: openai_chat, base_url: "%s", api_key: k}
  up: {dialect: openai_chat, base_url: "%s", api_key: k}
routes:
  - {name: cached, match: {model: cached}, targets: ["up/*"], plugins: [cache]}
  - {name: all, match: {model: m}, targets: ["first/*"], fallbacks: ["up/*"], retry: {attempts: 2}}
"""
PRICES = '"*/*": {input: 1000, output: 1000}\n'


@dataclass
class Kind:
    """What is sent, what the client gets (0: it left, or was cut off) and what its row says."""

    status: int
    row: tuple[int, str, str | None, int]
    sent: dict[str, Any] = field(default_factory=dict)


WHOLE = (200, "completed", None, 1)
KINDS = {
    "plain": Kind(200, WHOLE),
    "stream": Kind(200, WHOLE, {"stream": True}),
    "fallback": Kind(200, (200, "completed", None, 2), {"do": "fail"}),
    "cut": Kind(200, (200, "failed", "stream_truncated", 1), {"do": "cut", "stream": True}),
    "left": Kind(0, (499, "disconnected", "client_left", 1), {"do": "hang", "stream": True, "leave": True}),
    "broken": Kind(502, (502, "failed", "upstream_error", 2), {"do": "broken"}),
    "stranger": Kind(401, (401, "failed", "invalid_api_key", 0), {"key": "a-key-that-nobody-knows"}),
    "foreign": Kind(403, (403, "failed", "permission_denied", 0), {"key": "key-narrow", "model": "cached"}),
    "unknown": Kind(404, (404, "failed", "model_not_found", 0), {"model": "nobody-has-it"}),
    "limited": Kind(429, (429, "failed", "rate_limit_exceeded", 0), {"key": "key-slow"}),
    "spent": Kind(402, (402, "failed", "insufficient_quota", 0), {"key": "key-poor"}),
    "hit": Kind(200, (200, "completed", None, 0), {"model": "cached"}),
    "replayed": Kind(200, (200, "completed", None, 0), {"model": "cached", "stream": True}),
    "turn": Kind(200, WHOLE, {"session_id": ""}),
}


async def send(gateways: Fleet, name: str, number: int, session: str) -> Said:
    sent = {"model": "m", "key": "key-good", **KINDS[name].sent}
    if "session_id" in sent:
        sent["session_id"] = session
    return await gateways.ask(**sent, headers={"x-request-id": f"{name}-{number}"})


async def test_every_ending_leaves_one_row_that_says_how_it_ended(one: Servers, tmp_path: Path) -> None:
    keys = ", ".join(
        f'{{name: {name}, hash: "sha256:{sha256(f"key-{name}".encode()).hexdigest()}"{more}}}'
        for name, more in KEYS.items()
    )
    async with upstream() as up:
        home = write_home(tmp_path, HOME % (one.url + "?prefix=ends:", keys, up.first_url, up.url), PRICES)
        async with fleet(home, 2) as gateways:
            # One is let in by the limit of one, one fills the cache; both leave a row like any other.
            assert (await gateways.ask("m", key="key-slow")).status == 200
            assert (await gateways.ask("cached", key="key-good")).status == 200
            url, key = gateways.next().url + "/v1/sessions", {"authorization": "Bearer key-good"}
            async with gateways.session.post(url, json={}, headers=key) as answer:
                session = (await answer.json())["id"]
            names = [list(KINDS)[number % len(KINDS)] for number in range(COUNT)]
            said = await together((send(gateways, name, number, session) for number, name in enumerate(names)), 48)
            got = Counter((name, each.status) for name, each in zip(names, said, strict=True))
            assert got.keys() >= {(name, kind.status) for name, kind in KINDS.items()}
            # On a machine that is busy enough the state is late now and then, and says so.
            late = {name for name, status in got if status == 503}
            assert late <= {"spent", "turn"}
            assert sum(got[name, 503] for name in late) + got["limited", 200] < COUNT // 20
            await written(home, COUNT + 2)
        # The gateways have stopped: what is not there by now never will be.
        found = rows(home, "request_id, status, outcome, error_code, attempts, exchange_id")
        assert len(found) == COUNT + 2
        assert len({row[5] for row in found}) == COUNT + 2
        told = {row[0]: row[1:5] for row in found}
        wrong = {}
        for number, (name, each) in enumerate(zip(names, said, strict=True)):
            kind, row = KINDS[name], told[f"{name}-{number}"]
            if each.status == kind.status:
                expected = kind.row
            else:
                expected = (503, "failed", "state_unavailable", row[3]) if each.status == 503 else WHOLE
            if row != expected:
                wrong[name, number] = row
        assert not wrong
        whole = "WHERE outcome = 'completed' AND attempts > 0"
        tokens, nano_usd = rows(home, "sum(prompt_tokens + completion_tokens), sum(cost_nano_usd)", whole)[0]
        assert tokens == up.tokens.total()
        assert nano_usd == tokens * 1_000_000
        # What used nothing cost nothing, and what was begun and not ended is counted by its words.
        nothing = "WHERE attempts = 0 OR status = 502"
        assert rows(home, "sum(prompt_tokens + completion_tokens), sum(cost_nano_usd)", nothing)[0] == (0, 0)
        begun = rows(home, "min(prompt_tokens), min(completion_tokens), min(estimated)", "WHERE status = 499")[0]
        assert min(begun) >= 1
        assert sum(len(json.loads(tries)) for (tries,) in rows(home, "tries")) == up.came.total()
