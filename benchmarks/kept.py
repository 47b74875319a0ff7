"""What a run found, kept as a file: every sample, from which each table can be made again (`benchmarks.report`).

Published runs lie in data/, named by date and processor; the rest under results/, which is not in the repository.
"""

from __future__ import annotations

import json
import re
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.blocking import Held
from benchmarks.footprint import Footprint
from benchmarks.load import Outcome
from benchmarks.medians import Sample
from benchmarks.scenarios import Scenario
from benchmarks.systems import HERE

DATA, RESULTS = HERE / "data", HERE / "results"


@dataclass(slots=True)
class Kept:
    """One run. `failed` says by system and scenario why a peer has no figure; `held` is blocking.py's, `chains` are
    chains.py's samples."""

    about: dict[str, str]
    scenarios: list[Scenario]
    samples: list[Sample] = field(default_factory=list)
    footprints: dict[str, Footprint] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    held: list[Held] = field(default_factory=list)
    chains: list[Sample] = field(default_factory=list)


def save(kept: Kept, path: Path) -> None:
    """Write a run, a sample a line, so that a file can be read and compared."""
    path.parent.mkdir(parents=True, exist_ok=True)
    members = []
    for name, value in asdict(kept).items():
        if isinstance(value, list):
            rows = ",\n".join(f"  {json.dumps(each, ensure_ascii=False)}" for each in value)
            members.append(f' "{name}": [\n{rows}\n ]' if rows else f' "{name}": []')
        else:
            members.append(f' "{name}": {json.dumps(value, ensure_ascii=False, indent=1)}')
    path.write_text("{\n" + ",\n".join(members) + "\n}\n")


def load(path: Path) -> Kept:
    """Return what `save` wrote."""
    found = json.loads(path.read_text())
    return Kept(
        about=found["about"],
        scenarios=[_scenario(each) for each in found["scenarios"]],
        samples=[_sample(each) for each in found["samples"]],
        footprints={
            name: Footprint(**{**figures, **{each: tuple(figures[each]) for each in ("starts_s", "idle_rss_bytes")}})
            for name, figures in found["footprints"].items()
        },
        failed=found["failed"],
        held=[Held(**each) for each in found["held"]],
        chains=[_sample(each) for each in found["chains"]],
    )


def data_path(about: dict[str, str], suffix: str = "") -> Path:
    """Return where a published run is kept: data/2026-11-22-amd-epyc.json."""
    processor = re.sub(r"[^a-z0-9]+", "-", re.sub(r"\((r|tm)\)|cpu|processor", "", about["cpu"].lower())).strip("-")
    return DATA / f"{about['time'][:10]}-{processor}{suffix}.json"


def _scenario(fields: dict[str, Any]) -> Scenario:
    return Scenario(**{**fields, "headers": tuple((name, value) for name, value in fields["headers"])})


def _sample(fields: dict[str, Any]) -> Sample:
    return Sample(fields["round"], fields["system"], Outcome(**fields["outcome"]))
