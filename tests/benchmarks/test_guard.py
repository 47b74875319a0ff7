"""The guard holds what is tracked against what is measured, bites on a regression, and says whose figures it used."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks import calibration, guard

UNITS = ("plain request", "varied request", "event")
TODAY = {"plain request, bare chain": 10.0, "event, bare chain": 2.0}


def run(
    tmp_path: Path, kept: dict[str, dict[str, guard.Figures]], *measured: guard.Figures, judge: str = "instructions"
) -> int:
    """Return the exit code of a run that measures one after the other of `measured`."""
    (tmp_path / "guard.json").write_text(json.dumps(kept))
    left = list(measured)
    return guard.main(["--judge", judge, "--figures", str(tmp_path / "guard.json")], {judge: lambda: left.pop(0)})


def test_tracked_figures_hold(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(tmp_path, {guard.python(): {"instructions": TODAY}}, TODAY) == 0
    assert "plain request, bare chain: 10.00 by instructions (+0.0% of 10.00): holds" in capsys.readouterr().out


@pytest.mark.parametrize("judge", guard.LIMITS)
def test_a_tracked_figure_thirty_percent_lower_makes_it_fail(
    judge: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kept = {guard.python(): {judge: {**TODAY, "event, bare chain": 2.0 * 0.7}}}
    assert run(tmp_path, kept, TODAY, TODAY, judge=judge) == 1
    said = capsys.readouterr().out
    assert "event, bare chain: 2.00 by " in said and "(+42.9% of 1.40): TOO MUCH" in said
    assert "plain request, bare chain" in said and "1 of 2 figures" in said


def test_a_regression_that_a_second_measurement_does_not_confirm_passes(tmp_path: Path) -> None:
    noisy = {"plain request, bare chain": 14.0, "event, bare chain": 2.0}
    assert run(tmp_path, {guard.python(): {"cpu": TODAY}}, noisy, TODAY, judge="cpu") == 0


def test_another_python_is_compared_with_the_nearest_and_twice_as_much_is_let_pass(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kept = {"3.1": {"instructions": TODAY}, "3.99": {"instructions": dict.fromkeys(TODAY, 99.0)}}
    slower = {name: cost * 1.25 for name, cost in TODAY.items()}
    assert run(tmp_path, kept, slower) == 0
    assert (
        f"no figures for Python {guard.python()} yet: compared with 3.1's, and 40% is let pass"
        in capsys.readouterr().out
    )
    assert run(tmp_path, {guard.python(): kept["3.1"]}, slower, slower) == 1


def test_what_nobody_has_accepted_yet_does_not_pass_quietly(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    more = {**TODAY, "something new": 1.0}
    assert run(tmp_path, {guard.python(): {"instructions": TODAY}}, more, more) == 1
    assert "something new: 1.00 by instructions (not tracked yet): TOO MUCH" in capsys.readouterr().out
    assert run(tmp_path, {}, TODAY) == 2
    assert "no tracked figures by instructions; write them with" in capsys.readouterr().err


def test_accepting_writes_this_python_and_leaves_the_others(tmp_path: Path) -> None:
    file = tmp_path / "guard.json"
    file.write_text(json.dumps({"3.10": {"cpu": TODAY}}))
    assert guard.main(["--accept", "--judge", "cpu", "--figures", str(file)], {"cpu": lambda: {"event": 1.23456}}) == 0
    assert guard.read(file) == {"3.10": {"cpu": TODAY}, guard.python(): {"cpu": {"event": 1.235}}}


def test_every_judge_has_figures_of_every_unit_and_chain() -> None:
    chains = {"instructions": ["bare chain", guard.NO_LEDGER], "cpu": list(guard.HOMES)}
    for by_judge in guard.read(guard.FIGURES).values():
        for judge, figures in by_judge.items():
            assert set(figures) == {f"{unit}, {chain}" for chain in chains[judge] for unit in UNITS}


def test_cpu_is_measured_of_a_real_gateway() -> None:
    chain = "bare chain"
    found = guard.by_cpu(repeats=1, homes={chain: guard.HOMES[chain]}, requests=200)
    assert set(found) == {f"{unit}, {chain}" for unit in UNITS}
    assert all(cost > 0 for cost in found.values())


def test_calibration_does_the_same_work_every_time() -> None:
    assert {calibration.once(number) for number in (0, 1, 12345)} == {calibration.once(7)}
    assert calibration.once(0) > 1024
