"""What each plugin adds to the bare chain, what they cost together, and what accounting adds to a stream's event.

The method is the suite's: a serving process for every chain, all of them up, taking turns within each round.
"""

from __future__ import annotations

import contextlib
import hashlib
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from benchmarks.report import Medians, Sample
from benchmarks.scenarios import CREDENTIAL, MODEL_TARGET, Scenario, suite
from benchmarks.systems import HERE, Mock, System, checked, gateway, nginx

BARE = "bare chain"
KEY = hashlib.sha256(CREDENTIAL.encode()).hexdigest()
ALONE = {
    "access_log": "access_log: {format: json}",
    "security_headers": "security_headers",
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
DEFAULT = "access_log, security_headers, auth, rate_limit, timeouts, circuit_breaker, a SQLite ledger"
_LIMITED = "rate_limit, requests and tokens"
CHAINS: dict[str, tuple[str, ...]] = {
    BARE: (),
    **{name: (line,) for name, line in ALONE.items()},
    LEDGER: (),
    LIMITS: (ALONE["auth"], ALONE[_LIMITED], ALONE["budget"]),
    DEFAULT: tuple(
        ALONE[name] for name in ("access_log", "security_headers", "auth", _LIMITED, "timeouts", "circuit_breaker")
    ),
}
WITH_LEDGER = (LEDGER, DEFAULT)
STREAMED = (BARE, "access_log", LEDGER, DEFAULT)
"""Whose streams are measured too: one that leaves no account, one whose usage is logged, and those that leave rows."""


@dataclass(frozen=True, slots=True)
class Bar:
    """At most so many times what `floor` costs."""

    chain: str
    floor: str
    most: float


BARS = (Bar(LIMITS, BARE, 1.3), Bar(BARE, "nginx", 3.0), Bar(DEFAULT, "nginx", 6.0))


def scenarios() -> tuple[Scenario, Scenario]:
    """Return the plain request and the streams that are asked for, in short rounds: there are many chains."""
    known = {each.name: each for each in suite(short=True)}
    return known["plain-1k"], replace(known["stream-200"], events=50)


def home(folder: Path, name: str) -> Path:
    """Return a home made of the bare one: with `name`'s plugins, prices for the mock's model and, where it is asked
    for, a ledger."""
    folder.mkdir(parents=True)
    text = (HERE / "homes" / "bare" / "gateway.yaml").read_text()
    lines = "".join(f"\n  - {line if ': ' not in line else f'{{{line}}}'}" for line in CHAINS[name])
    text = text.replace("  - request_id", f"  - request_id{lines}")
    if name in WITH_LEDGER:
        text = text.replace("ledger: none", "ledger: sqlite:ledger.db")
    (folder / "gateway.yaml").write_text(text)
    (folder / "config").mkdir()
    (folder / "config" / "prices.yaml").write_text(f'"mock/{MODEL_TARGET}": {{input: 1, output: 2}}\n')
    return folder


@contextlib.contextmanager
def running(upstream: Mock, on: set[int], folder: Path) -> Iterator[list[System]]:
    """Yield nginx and a gateway for every chain."""
    with contextlib.ExitStack() as stack:
        systems = [stack.enter_context(nginx(upstream, on, folder / "nginx"))]
        for number, name in enumerate(CHAINS):
            at = folder / str(number)
            systems.append(stack.enter_context(gateway(name, home(at / "home", name), upstream, on, at / "log")))
        yield systems


def measure(upstream: Mock, on: set[int], folder: Path, rounds: int) -> list[Sample]:
    """Return every round of every chain. Raises: BenchError."""
    plain, stream = scenarios()
    samples: list[Sample] = []
    folder.mkdir()
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
    medians, lines = Medians(samples), []
    plain, _ = scenarios()
    for bar in BARS:
        ratio = medians.ratio(bar.chain, plain.name, bar.floor)
        if ratio is not None:
            held = "holds" if ratio <= bar.most else "MISSED"
            lines.append(f"{plain.title}, {bar.chain}: {ratio:.2f} × {bar.floor}; bar {bar.most:g} ×: {held}")
    return lines
