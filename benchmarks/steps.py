"""From the ledger's rows and the client's clock to what each step of a workflow took, used and cost."""

from __future__ import annotations

import json
import re
import sqlite3
from collections import defaultdict
from collections.abc import Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

from benchmarks.load import percentile
from benchmarks.systems import BenchError

WHOLE = ""
"""The step's name of what is said of a request as a whole."""
ONE_QUESTION = "one question"
"""What the step is called of a request that no workflow answers."""
TOKENS = ("prompt_tokens", "completion_tokens")
_ROWS = """
SELECT parent.request_id, parent.duration_ms, parent.overhead_ms, own.parent_id IS NULL, own.model_requested, own.tries,
    own.duration_ms, own.overhead_ms, own.prompt_tokens, own.completion_tokens, own.cost_nano_usd
FROM ledger_rows AS own JOIN ledger_rows AS parent ON parent.exchange_id = coalesce(own.parent_id, own.exchange_id)
ORDER BY own.ts
"""


@dataclass(frozen=True, slots=True)
class Answer:
    """One request as its client saw it: milliseconds to the first word and to the end, the usage it was told.

    `error`: the code of what it got instead of an answer.
    """

    request_id: str
    model: str
    whole_ms: float
    first_ms: float = 0.0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    error: str = ""


@dataclass(frozen=True, slots=True)
class Asked:
    """One question to a model, or (`step` WHOLE) the request it belongs to, as the ledger knows it.

    `own_ms` is the gateway's own time: all but waiting for a model. `cost_usd` None: the price is not known.
    """

    request_id: str
    step: str
    model: str
    took_ms: float
    own_ms: float
    prompt_tokens: int | None
    completion_tokens: int | None
    cost_usd: Decimal | None


@dataclass(frozen=True, slots=True)
class Figure:
    """What one step of a workflow, or the whole, took in the requests that were answered. Tokens and cost are the mean
    of a request's, summed over all that the step asked; `per_request` says how often that was."""

    workflow: str
    step: str
    model: str
    answered: int
    asked: int
    per_request: float
    p50_ms: float
    p95_ms: float
    p99_ms: float
    own_p50_ms: float
    own_p95_ms: float
    first_p50_ms: float | None
    prompt_tokens: float
    completion_tokens: float
    usd: float | None


def questions(ledger: Path) -> list[Asked]:
    """Return what every request asked, in order of time, and one entry for each request as a whole."""
    with closing(sqlite3.connect(ledger)) as db:
        rows = db.execute(_ROWS).fetchall()
    wholes: dict[str, tuple[float, float]] = {}
    steps: dict[str, list[Asked]] = defaultdict(list)
    for request_id, whole_ms, whole_own_ms, is_parent, model, tries, took_ms, own_ms, prompt, completion, nano in rows:
        wholes[request_id] = whole_ms, whole_own_ms
        if is_parent and not prompt:  # it asked only through its children
            continue
        name = next((each["name"] for each in json.loads(tries) if each.get("kind") == "step"), ONE_QUESTION)
        step = re.sub(r" \d+$", "", name)  # workers are one step, however many there are
        usd = None if nano is None else Decimal(nano) / 10**9
        steps[request_id].append(Asked(request_id, step, model, took_ms, own_ms, prompt, completion, usd))
    found: list[Asked] = []
    for request_id, (took_ms, own_ms) in wholes.items():
        own = steps[request_id]
        costs = [each.cost_usd for each in own if each.cost_usd is not None]
        usd = sum(costs, Decimal(0)) if len(costs) == len(own) else None
        prompt, completion = (sum(getattr(each, kind) or 0 for each in own) for kind in TOKENS)
        found += [Asked(request_id, WHOLE, "", took_ms, own_ms, prompt, completion, usd), *own]
    return found


def proven(answers: Sequence[Answer], asked: Iterable[Asked]) -> dict[str, list[Asked]]:
    """Return the ledger's questions by request, the whole first. Raises: BenchError where they are not what the
    clients were told."""
    by_request: dict[str, list[Asked]] = defaultdict(list)
    for each in asked:
        by_request[each.request_id].append(each)
    for answer in answers:
        kept = by_request.get(answer.request_id, [])
        if sum(each.step == WHOLE for each in kept) != 1 or (len(kept) == 1 and not answer.error):
            raise BenchError(f"{answer.model}: {answer.request_id}: its rows in the ledger are {kept}")
        told, counted = ([getattr(side, kind) for kind in TOKENS] for side in (answer, kept[0]))
        if not answer.error and told != counted:
            raise BenchError(f"{answer.model}: {answer.request_id}: the client was told {told}, the ledger {counted}")
    return by_request


def figures(answers: Sequence[Answer], asked: Iterable[Asked]) -> list[Figure]:
    """Return the figures of every model asked for: the whole, then its steps in their order. Raises: BenchError."""
    by_request = proven(answers, asked)
    found: list[Figure] = []
    for workflow in dict.fromkeys(answer.model for answer in answers):
        all_of = [answer for answer in answers if answer.model == workflow]
        whole = [answer for answer in all_of if not answer.error]
        by_step: dict[str, list[Asked]] = {WHOLE: []}
        for answer in whole:
            for each in by_request[answer.request_id]:
                by_step.setdefault(each.step, []).append(each)
        for step, every in by_step.items():
            took = [answer.whole_ms for answer in whole] if step == WHOLE else [each.took_ms for each in every]
            first = [answer.first_ms for answer in whole] if step == WHOLE else None
            found.append(_figure(workflow, step, every, took, first, (len(whole), len(all_of))))
    return found


def _figure(
    workflow: str,
    step: str,
    every: Sequence[Asked],
    took_ms: Sequence[float],
    first_ms: Sequence[float] | None,
    counts: tuple[int, int],
) -> Figure:
    answered, asked = counts
    each_of = max(answered, 1)
    own_ms = [each.own_ms for each in every]
    costs = [each.cost_usd for each in every if each.cost_usd is not None]
    return Figure(
        workflow=workflow,
        step=step,
        model="/".join(dict.fromkeys(each.model for each in every)),
        answered=answered,
        asked=asked,
        per_request=len(every) / each_of,
        p50_ms=_share(took_ms, 0.5),
        p95_ms=_share(took_ms, 0.95),
        p99_ms=_share(took_ms, 0.99),
        own_p50_ms=_share(own_ms, 0.5),
        own_p95_ms=_share(own_ms, 0.95),
        first_p50_ms=_share(first_ms, 0.5) if first_ms is not None else None,
        prompt_tokens=sum(each.prompt_tokens or 0 for each in every) / each_of,
        completion_tokens=sum(each.completion_tokens or 0 for each in every) / each_of,
        usd=float(sum(costs, Decimal(0))) / each_of if len(costs) == len(every) else None,
    )


def _share(values: Sequence[float], share: float) -> float:
    """Return a percentile; 0 when no request was answered, whose row says so."""
    return percentile(values, share) if values else 0.0


COLUMNS = (
    "asked for, and its steps", "p50 ms", "p95 ms", "p99 ms", "first word, p50 ms", "own p50 ms", "own p95 ms",
    "prompt tokens", "completion tokens", "USD for 1,000",
)  # fmt: skip


def table(found: Sequence[Figure]) -> str:
    """Return the figures as a Markdown table: a row for each model asked for, below it one for each of its steps."""
    lines = [COLUMNS, ("---", *["---:"] * (len(COLUMNS) - 1))]
    for each in found:
        if each.step == ONE_QUESTION:  # the same as the whole
            continue
        numbers = (
            _ms(each.p50_ms), _ms(each.p95_ms), _ms(each.p99_ms),
            "" if each.first_p50_ms is None else _ms(each.first_p50_ms), _ms(each.own_p50_ms), _ms(each.own_p95_ms),
            f"{each.prompt_tokens:,.0f}", f"{each.completion_tokens:,.0f}",
            "not known" if each.usd is None else f"{each.usd * 1000:,.2f}",
        )  # fmt: skip
        if each.step == WHOLE:
            short = "" if each.answered == each.asked else f" ({each.answered} of {each.asked} answered)"
            lines.append((f"**{each.workflow}**{short}", *(numbers if each.answered else [""] * len(numbers))))
        else:
            times = "" if each.per_request == 1 else f" × {each.per_request:.3g}"
            lines.append((f"&emsp;{each.step}{times}, {each.model}", *numbers))
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _ms(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}"
