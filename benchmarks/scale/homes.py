"""The homes that are served: the suite's own with many routes, many keys, another state or another ledger."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

from benchmarks.scenarios import credential
from benchmarks.systems import HERE

HOMES = HERE / "homes"
_ROUTE = "  - {name: bench, match: {model: bench}, targets: [mock/mock-model-1]}"
_ACCOUNTED = """
  - auth: {keys_file: keys.yaml}
  - rate_limit: {limits: [{per: key, requests: 100M/min}]}"""


def with_routes(folder: Path, count: int, *, globs: bool) -> Path:
    """Return the bare chain with `count` routes by name, or by glob; the one that is asked for stands last."""
    text = (HOMES / "bare" / "gateway.yaml").read_text()
    end = "-*" if globs else ""
    others = "\n".join(
        f'  - {{name: r{n:05d}, match: {{model: "model-{n:05d}{end}"}}, targets: [mock/mock-model-1]}}'
        for n in range(count - 1)
    )
    asked = _ROUTE.replace("model: bench}", 'model: "ben*"}') if globs else _ROUTE
    return _written(folder, _replaced(text, _ROUTE, f"{others}\n{asked}" if others else asked))


def with_keys(folder: Path, count: int) -> Path:
    """Return the bare chain with auth and a limit for each key; `credential(n)` is known for every n below `count`."""
    home = _written(
        folder,
        _replaced((HOMES / "bare" / "gateway.yaml").read_text(), "  - request_id", f"  - request_id{_ACCOUNTED}"),
    )
    hashes = (hashlib.sha256(credential(n).encode()).hexdigest() for n in range(count))
    lines = "".join(f'- {{name: k{n:05d}, hash: "sha256:{each}"}}\n' for n, each in enumerate(hashes))
    (home / "keys.yaml").write_text(lines)
    return home


def varied(folder: Path, name: str, *, state: str = "memory:", ledger: str | None = None) -> Path:
    """Return a home of the suite with another state, and another ledger unless that is None."""
    shutil.copytree(HOMES / name, folder, ignore=shutil.ignore_patterns("var"))
    file = folder / "gateway.yaml"
    text = _replaced(file.read_text(), 'state: "memory:"', f'state: "{state}"')
    if ledger is not None:
        own = next(line for line in text.splitlines() if line.startswith("ledger: "))
        text = _replaced(text, own, f'ledger: "{ledger}"')
    file.write_text(text)
    return folder


def _written(folder: Path, text: str) -> Path:
    folder.mkdir(parents=True)
    (folder / "gateway.yaml").write_text(text)
    return folder


def _replaced(text: str, old: str, new: str) -> str:
    if old not in text:
        raise ValueError(f"{old!r} is not in the home any more; see benchmarks/homes")
    return text.replace(old, new, 1)
