"""Other gateways, as their registries bring them: one process each, as little configured as forwarding needs.

They are installed by `make peers` into `.tools/peers`. What each needs beside an address is said where it is started;
nobody writes a log line for a request, as nobody else does in `gateway bare`.
"""

from __future__ import annotations

import contextlib
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

from benchmarks.clocks import rss_bytes, tree
from benchmarks.scenarios import MODEL_ASKED, MODEL_TARGET
from benchmarks.systems import HERE, HOST, BenchError, Mock, System, accepts, free_port, process, wait_until

FOLDER = HERE.parent / ".tools" / "peers"
PYTHON, LITELLM, NODE = FOLDER / "python", FOLDER / "litellm", FOLDER / "node"
START_LIMIT_S = 90.0
"""LiteLLM takes half a minute on a machine that is busy."""
LITELLM_FILE = """\
model_list:
  - model_name: {asked}
    litellm_params: {{model: openai/{target}, api_base: "http://{host}:{port}/v1", api_key: sk-mock}}
litellm_settings: {{telemetry: false}}
"""
FERRO_FILE = "strategy: {mode: single}\ntargets: [{virtual_key: ollama}]\n"
ROUNDS = 3
"""How often a peer is measured: enough for a median, and the whole suite stays within a quarter of an hour."""
Start = Callable[[Mock, set[int], Path], AbstractContextManager[System]]


@contextlib.contextmanager
def litellm(upstream: Mock, cpus: set[int], folder: Path) -> Iterator[System]:
    """Yield LiteLLM's proxy, one worker. It writes answers anew."""
    file = folder / "litellm.yaml"
    with _started(
        "LiteLLM",
        lambda port: [
            *(_program(LITELLM / "bin" / "litellm"), "--config", str(file), "--host", HOST, "--port", str(port)),
            *("--num_workers", "1", "--telemetry", "False"),
        ],
        cpus,
        folder,
        {
            "LITELLM_LOCAL_MODEL_COST_MAP": "True",  # else it asks the world for prices when it starts
            "LITELLM_DANGEROUSLY_PERMIT_WEAK_OR_UNSET_MASTER_KEY": "true",  # no key is asked for, as in `gateway bare`
            "LITELLM_LOG": "ERROR",
        },
        {file: LITELLM_FILE.format(asked=MODEL_ASKED, target=MODEL_TARGET, host=HOST, port=upstream.port)},
        LITELLM,
    ) as (port, pid, start_s, size_bytes):
        yield System(
            "LiteLLM",
            port,
            pid,
            start_s,
            rss_bytes(tree(pid)),
            folder / "log",
            exact=False,
            size_bytes=size_bytes,
            slower=20,
        )


@contextlib.contextmanager
def portkey(upstream: Mock, cpus: set[int], folder: Path) -> Iterator[System]:
    """Yield Portkey's gateway on node. Where to forward to is said by headers of the request."""
    script = NODE / "node_modules" / "@portkey-ai" / "gateway" / "build" / "start-server.js"
    with _started(
        "Portkey",
        lambda port: [_program(Path(shutil.which("node") or "node")), str(script), f"--port={port}", "--headless"],
        cpus,
        folder,
        {"NODE_ENV": "production"},
        {},
        NODE,
    ) as (port, pid, start_s, size_bytes):
        to = (("x-portkey-provider", "openai"), ("x-portkey-custom-host", f"http://{HOST}:{upstream.port}/v1"))
        yield System(
            "Portkey", port, pid, start_s, rss_bytes(tree(pid)), folder / "log",
            headers=to, exact=False, size_bytes=size_bytes, slower=4,
        )  # fmt: skip


@contextlib.contextmanager
def ferro(upstream: Mock, cpus: set[int], folder: Path) -> Iterator[System]:
    """Yield Ferro, one thread of Go at a time. Of its providers, Ollama's takes any address and any model's name."""
    file = folder / "config.yaml"
    folder.mkdir(parents=True, exist_ok=True)
    with _started(
        "Ferro",
        lambda _: [_program(PYTHON / "bin" / "ferrogw"), "serve"],
        cpus,
        folder,
        {
            "GATEWAY_CONFIG": str(file),
            "OLLAMA_HOST": f"http://{HOST}:{upstream.port}",
            "OLLAMA_MODELS": MODEL_ASKED,
            "ALLOW_UNAUTHENTICATED_PROXY": "true",
            "MASTER_KEY": "fgw_bench",
            "LOG_LEVEL": "error",
            "RATE_LIMIT_RPS": "1000000",
            "RATE_LIMIT_BURST": "1000000",
            "GOMAXPROCS": "1",
            "PORT": "{port}",
        },
        {file: FERRO_FILE},
        PYTHON / "bin" / "ferrogw",
    ) as (port, pid, start_s, size_bytes):
        yield System(
            "Ferro", port, pid, start_s, rss_bytes(tree(pid)), folder / "log", exact=False, size_bytes=size_bytes
        )


@contextlib.contextmanager
def vllm_router(upstream: Mock, cpus: set[int], folder: Path) -> Iterator[System]:
    """Yield vllm-router: Rust behind a Python command. It forwards bytes, and knows neither models nor keys."""
    with _started(
        "vllm-router",
        lambda port: [
            *(_program(PYTHON / "bin" / "vllm-router"), "--host", HOST, "--port", str(port), "--policy", "round_robin"),
            *("--worker-urls", f"http://{HOST}:{upstream.port}", "--log-level", "error", "--max-concurrent-requests"),
            "4096",
        ],
        cpus,
        folder,
        {},
        {},
        PYTHON,
    ) as (port, pid, start_s, size_bytes):
        yield System("vllm-router", port, pid, start_s, rss_bytes(tree(pid)), folder / "log", size_bytes=size_bytes)


PEERS: dict[str, Start] = {"LiteLLM": litellm, "Portkey": portkey, "Ferro": ferro, "vllm-router": vllm_router}


def versions() -> dict[str, str]:
    """Return what the locks pin, by peer."""
    pins = {
        "LiteLLM": ("peer-litellm.txt", "litellm=="),
        "Ferro": ("peers.txt", "ferrogw=="),
        "vllm-router": ("peers.txt", "vllm-router=="),
    }
    found = {}
    for name, (lock, start) in pins.items():
        lines = (HERE.parent / "requirements" / lock).read_text("utf-8").splitlines()
        found[name] = next(line.removeprefix(start).split()[0] for line in lines if line.startswith(start))
    return found


@contextlib.contextmanager
def _started(
    name: str,
    command: Callable[[int], list[str]],
    cpus: set[int],
    folder: Path,
    env: dict[str, str],
    files: dict[Path, str],
    installed: Path,
) -> Iterator[tuple[int, int, float, int]]:
    """Yield port, process id, seconds until it took connections, and the bytes of what is installed."""
    folder.mkdir(parents=True, exist_ok=True)
    for file, text in files.items():
        file.write_text(text)
    port = free_port()
    began = time.monotonic()
    own = {variable: value.format(port=port) for variable, value in env.items()}
    with (folder / "log").open("wb") as log, process(command(port), cpus, env=own, stdout=log, log=log) as child:
        wait_until(lambda: accepts(port), child, name, folder / "log", START_LIMIT_S)
        yield port, child.pid, time.monotonic() - began, _size_bytes(installed)


def _program(path: Path) -> str:
    if not path.exists():
        raise BenchError(f"{path.name}: not installed; run `make peers` (1.2 GB, fetched once)")
    return str(path)


def _size_bytes(path: Path) -> int:
    if path.is_file():
        return path.stat().st_size
    return sum(each.stat().st_size for each in path.rglob("*") if each.is_file() and not each.is_symlink())
