"""The parts of the scale measurement serve what they say they serve, and judge what was counted by its bar."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner

from benchmarks.load import Outcome
from benchmarks.medians import Sample
from benchmarks.pages import PAGES
from benchmarks.scale.__main__ import PARTS, save
from benchmarks.scale.curves import flat
from benchmarks.scale.fleet import told
from benchmarks.scale.homes import varied, with_keys, with_routes
from benchmarks.scale.part import Part
from benchmarks.scenarios import credential
from gateway.cli import gateway as main
from gateway.credentials.keys import hash_of


def taken(home: Path) -> None:
    """A home that the gateway takes."""
    done = CliRunner().invoke(
        main, ["check", str(home)], env={"BENCH_UPSTREAM": "http://127.0.0.1:9"}, prog_name="gateway"
    )
    assert done.exit_code == 0, done.output


@pytest.mark.parametrize("globs", [False, True])
def test_routes_are_as_many_as_said_and_the_asked_one_is_last(globs: bool, tmp_path: Path) -> None:
    home = with_routes(tmp_path / "home", 12, globs=globs)
    taken(home)
    routes = yaml.safe_load((home / "gateway.yaml").read_text())["routes"]
    assert (len(routes), routes[-1]["match"]["model"]) == (12, "ben*" if globs else "bench")
    assert all("*" in str(route["match"]["model"]) for route in routes) == globs


def test_every_caller_has_a_key_and_a_limit(tmp_path: Path) -> None:
    home = with_keys(tmp_path / "home", 7)
    taken(home)
    keys = yaml.safe_load((home / "keys.yaml").read_text())
    assert [key["hash"] for key in keys] == [hash_of(credential(n)) for n in range(7)]


def test_a_home_of_the_suite_gets_another_state_and_ledger(tmp_path: Path) -> None:
    home = varied(tmp_path / "home", "default", state="sqlite:var/state.db", ledger="none")
    taken(home)
    text = (home / "gateway.yaml").read_text()
    assert 'state: "sqlite:var/state.db"' in text and 'ledger: "none"' in text
    assert "rate_limit" in text and (home / "config" / "prices.yaml").is_file()


def test_a_curve_is_judged_by_instructions_and_by_cpu_without_them() -> None:
    names, cpu = ["routes: 10", "routes: 1,000"], {"routes: 10": 100.0, "routes: 1,000": 150.0}
    counts = {"routes: 10": 1000.0, "routes: 1,000": 1099.0}
    assert flat("routes", names, counts, cpu) == (
        "routes: the most cost 1.10 times the fewest, by instructions; bar 1.1: holds"
    )
    assert flat("routes", names, {}, cpu) == "routes: the most cost 1.50 times the fewest, by CPU; bar 1.1: MISSED"


def test_round_trips_and_the_added_latency_of_redis_are_held_against_their_bars() -> None:
    def sample(system: str, scenario: str, p99_ms: float) -> Sample:
        return Sample(1, system, Outcome(scenario, 10, 10, 1.0, 1_000_000, 500.0, p99_ms * 1000, 0.0))

    samples = [sample("chain, memory", "latency", 1.0), sample("chain, Redis", "latency", 3.5)]
    samples += [sample("chain, memory", "saturation", 1.0), sample("chain, Redis", "saturation", 1.0)]
    asked = {"chain, memory": [{"reads": 0.0}], "chain, Redis": [{"reads": 1.02, "evalsha": 1.0, "time": 0.001}]}
    part = told(samples, asked, {"chain, memory": [0.0], "chain, Redis": [20.0, 10.0, 30.0]})
    assert part.rows[2] == ["chain, Redis", "100.0", "20.0", "1.02", "evalsha 1.00", "0.50", "3.50"]
    assert part.lines == [
        "chain, Redis: 1.02 round trips a request; bar 1: holds",
        "chain, Redis: p99 +2.50 ms over memory at 80 requests a second; bar 2: MISSED",
    ]


def test_a_part_is_a_table_with_its_verdicts_and_keeps_every_sample(tmp_path: Path) -> None:
    part = Part([["", "a"], ["x", "1"]], ["x: holds"], [{"x": 1}, {"x": 2}])
    assert part.text() == "|  | a |\n| --- | ---: |\n| x | 1 |\n\n- x: holds"
    save({"routes": part}, {"cpu": "any"}, tmp_path / "data" / "run.json")
    found = json.loads((tmp_path / "data" / "run.json").read_text())
    assert found == {"about": {"cpu": "any"}, "routes": [{"x": 1}, {"x": 2}]}


def test_every_part_has_a_place_in_a_page() -> None:
    text = "".join(page.read_text("utf-8") for page in PAGES if page.exists())
    wanted = [*(f"scale {name}" for name in PARTS), "scale facts", "bench", "bench bars", "bench chains", "bench facts"]
    assert [
        name for name in wanted if f"<!-- {name}: begin -->" not in text or f"<!-- {name}: end -->" not in text
    ] == []
