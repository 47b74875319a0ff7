"""What each plugin adds to the bare chain, what several cost together, and what accounting adds to a stream's event.

The method is the suite's: a serving process for every chain, all of them up, taking turns within each round.
"""

from __future__ import annotations

import contextlib
import hashlib
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from benchmarks.bars import line
from benchmarks.medians import Medians, Sample
from benchmarks.scenarios import CREDENTIAL, MODEL_TARGET, Scenario, suite
from benchmarks.systems import HERE, Mock, System, checked, gateway

BARE = "bare chain"
KEY = hashlib.sha256(CREDENTIAL.encode()).hexdigest()
ALONE = {
    "access_log": "access_log: {format: json}",
    "security_headers": "security_headers",
    "metrics": "metrics",
    "cors": "cors: {origins: []}",
    "auth": f'auth: {{keys: [{{name: bench, hash: "sha256:{KEY}"}}]}}',
    "rate_limit, requests": "rate_limit: {limits: [{per: key, requests: 100M/min}]}",
    "rate_limit, requests and tokens": (
        "rate_limit: {limits: [{per: key, requests: 100M/min}, {per: key, tokens: 100M/s}]}"
    ),
    "rate_limit, concurrency": "rate_limit: {limits: [{per: key, concurrency: 1000}]}",
    "budget": "budget: {limits: [{per: key, cost: $1000000/day}]}",
    "session": "session: {ttl: 1h}",
    "timeouts": "timeouts: {connect: 5s, first_token: 30s, idle: 60s, total: 10m}",
    "circuit_breaker": "circuit_breaker",
}
"""Each as it stands in a file. `cache` is missing: whatever it answers itself is no request that was forwarded."""
LEDGER = "a SQLite ledger"
LIMITS = "auth, rate_limit, budget"
DEFAULT = "access_log, security_headers, metrics, auth, rate_limit, timeouts, circuit_breaker, a SQLite ledger"
WHOLE = {LIMITS: HERE / "homes" / "limits", DEFAULT: HERE / "homes" / "default"}
"""Chains of several that stand as homes of their own."""
CHAINS = (BARE, *ALONE, LEDGER, *WHOLE)
STREAMED = (BARE, "access_log", LEDGER, DEFAULT)
"""Whose streams are measured too: one that leaves no account, one whose usage is logged, and those that leave rows."""


@dataclass(frozen=True, slots=True)
class Bar:
    """At most so many times what `floor` costs."""

    chain: str
    floor: str
    most: float


BARS = (Bar(LIMITS, BARE, 1.3),)
"""What a whole chain may cost beside nginx is the suite's question, where nginx takes part: bars.py."""


def scenarios() -> tuple[Scenario, Scenario]:
    """Return the plain request and the streams that are asked for, in short rounds: there are many chains."""
    known = {each.name: each for each in suite(short=True)}
    return known["plain-1k"], replace(known["stream-200"], events=50)


def home(folder: Path, name: str) -> Path:
    """Return the chain's own home, or one made of the bare one: with one plugin or the ledger more, and prices for the
    mock's model."""
    if name in WHOLE:
        return WHOLE[name]
    folder.mkdir(parents=True)
    text = (HERE / "homes" / "bare" / "gateway.yaml").read_text()
    if name in ALONE:
        line = ALONE[name] if ": " not in ALONE[name] else f"{{{ALONE[name]}}}"
        text = text.replace("  - request_id", f"  - request_id\n  - {line}")
    if name == LEDGER:
        text = text.replace("ledger: none", "ledger: sqlite:ledger.db")
    (folder / "gateway.yaml").write_text(text)
    (folder / "config").mkdir()
    (folder / "config" / "prices.yaml").write_text(f'"mock/{MODEL_TARGET}": {{input: 1, output: 2}}\n')
    return folder


@contextlib.contextmanager
def running(upstream: Mock, on: set[int], folder: Path) -> Iterator[list[System]]:
    """Yield a gateway for every chain."""
    with contextlib.ExitStack() as stack:
        systems = []
        for number, name in enumerate(CHAINS):
            at = folder / str(number)
            systems.append(stack.enter_context(gateway(name, home(at / "made", name), upstream, on, at / "run")))
        yield systems


def measure(upstream: Mock, on: set[int], folder: Path, rounds: int) -> list[Sample]:
    """Return every round of every chain. Raises: BenchError."""
    plain, stream = scenarios()
    samples: list[Sample] = []
    folder.mkdir(parents=True, exist_ok=True)
    with running(upstream, on, folder) as systems:
        for number in range(1, rounds + 1):
            sys.stderr.write(f"\rround {number}/{rounds} of {len(systems)} chains")
            samples += [checked(system, plain, upstream, number) for system in systems]
            samples += [checked(system, stream, upstream, number) for system in systems if system.name in STREAMED]
        sys.stderr.write("\n")
    return samples


def table(samples: Sequence[Sample]) -> str:
    """Return the table: what is added to the bare chain, and the ratio to it."""
    medians = Medians(samples)
    plain, stream = scenarios()
    lines = ["| chain | CPU µs per plain request, 1 KB | added | × bare | CPU µs per event, 200 streams |"]
    lines.append("| --- | ---: | ---: | ---: | ---: |")
    floor = medians.cpu_us(BARE, plain.name) or 0.0
    for name in medians.systems:
        own, event = medians.cpu_us(name, plain.name), medians.cpu_us(name, stream.name)
        if own is not None and name in CHAINS:
            compared = ("", "") if name == BARE else (f"{own - floor:+.1f}", f"{own / floor:.2f}")
            shown = name if name == BARE else f"+ {name}"
            lines.append(
                f"| {shown} | {own:.1f} | {' | '.join(compared)} | {'' if event is None else f'{event:.1f}'} |"
            )
    return "\n".join(lines)


def verdicts(samples: Sequence[Sample]) -> list[str]:
    """Return a line for every bar."""
    medians, (plain, _) = Medians(samples), scenarios()
    ratios = ((bar, medians.ratio(bar.chain, plain.name, bar.floor)) for bar in BARS)
    return [
        line(f"{plain.title}, {bar.chain}", ratio, f"× {bar.floor}", bar.most)
        for bar, ratio in ratios
        if ratio is not None
    ]
