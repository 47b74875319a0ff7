"""From samples to tables: medians, every bar of the suite, and a run that is kept says the same when it is read again."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import bars, chains, kept, pages, report
from benchmarks.blocking import Held
from benchmarks.footprint import Footprint, gateway_bytes
from benchmarks.load import Outcome
from benchmarks.medians import Medians, Sample
from benchmarks.scenarios import CREDENTIAL, Scenario, suite
from benchmarks.systems import HERE

PLAIN = Scenario("plain-1k", "plain request, 1 KB", "plain", 1024, connections=3, exchanges=20)
ABOUT = {"cpu": "AMD EPYC(TM) Processor", "time": "2026-11-22T10:00:00Z", "commit": "abc"}


def sample(number: int, system: str, cpu_us: float, scenario: str = "plain-1k", p50_us: float = 1.0) -> Sample:
    return Sample(number, system, Outcome(scenario, 10, 10, 1.0, int(cpu_us * 10_000), p50_us, p50_us * 2, 0.2))


def test_ratio_is_of_medians_and_a_missed_bar_is_named() -> None:
    samples = [sample(n, "nginx", us) for n, us in enumerate((10, 20, 90))]
    samples += [sample(n, bars.BARE, us) for n, us in enumerate((120, 80, 900))]
    assert Medians(samples).ratio(bars.BARE, "plain-1k") == 6.0
    assert bars.verdicts(samples, {}) == ["plain request, 1 KB, bare chain: 6.00 × nginx; bar 3 × nginx: MISSED"]
    assert "| 120.0 (6.00 ×) |" in report.table(samples, [PLAIN], {})
    assert "median 20%, worst round 20% (the machine was not quiet" in report.disturbance(samples)


def test_every_bar_of_the_suite_has_a_line() -> None:
    systems = {
        "direct": 0.0,
        "nginx": 20.0,
        bars.BARE: 60.0,
        bars.FIVE: 80.0,
        bars.DEFAULT: 120.0,
        bars.TRANSLATED: 120.0,
    }
    systems |= {"LiteLLM": 6_000.0, "Ferro": 61.0}
    samples = [sample(1, name, us, s.name, us * 10) for name, us in systems.items() for s in suite(short=True)]
    own = Footprint((0.9, 0.8, 1.1), (50_000_000, 60_000_000, 70_000_000), 0, 1000, 48 * 1024 * 1000, 1)
    lines = bars.verdicts(samples, {bars.BARE: own, "LiteLLM": own}, ["LiteLLM", "Ferro", "Portkey"])
    assert [line.partition(": ")[0] for line in lines if "MISSED" in line] == [
        "event, 1 stream, five plugins",
        "event, 200 streams, bare chain",
        "event, 200 streams, five plugins",
        "event, 200 streams, default chain with its ledger",
        "p50 added at 80 requests a second, default chain",
        "p50 added at 80 requests a second, default chain",
        "p99 added at 80 requests a second, default chain",
    ]
    assert "p50 added at 80 requests a second, default chain: 6.00 × nginx; bar 2 × nginx: MISSED" in lines
    assert [line for line in lines if line.endswith("holds")][-5:] == [
        "plain request, 1 KB, bare chain: 1/100 of LiteLLM; bar 1/100: holds",
        "plain request, 1 KB, bare chain: 60.0 µs, the best peer (Ferro) 61.0 µs; bar below every peer: holds",
        "memory idle: 60.00 MB (gateway bare); bar 60 MB: holds",
        "memory per open stream: 48.00 KiB (gateway bare); bar 48 KiB: holds",
        "start, offline: 0.90 s (gateway bare); bar 1 s: holds",
    ]
    assert len(lines) == len(bars.RATIOS) + 2 + 3 + 3


def test_table_shows_latency_over_direct_and_how_many_times_more_the_slowest_peer_takes() -> None:
    samples = [
        sample(1, name, us, s.name, us * 10)
        for name, us in (("direct", 1), ("nginx", 20), ("LiteLLM", 6000))
        for s in suite(short=True)
    ]
    text = report.table(
        samples, suite(short=True), {"nginx": Footprint((0.01,), (8_000_000,), 9_000_000, 1000, 18_432_000, 1_800_000)}
    )
    assert "| p50 ms, 80 requests a second (added over direct) | 0.01 | 0.20 (+0.19) | 60.00 (+59.99) |" in text
    assert "| LiteLLM's, times this plain request, 1 KB | 6,000 | 300 |  |" in text
    assert "| memory per open stream, KiB |  | 18.0 |  |" in text
    assert "| installed, MB |  | 1.8 |  |" in text


def test_a_run_that_was_kept_makes_the_same_tables(tmp_path: Path) -> None:
    run = kept.Kept(
        ABOUT, list(suite(short=True)),
        samples=[sample(1, "nginx", 20), sample(1, bars.BARE, 80)],
        footprints={bars.BARE: Footprint((0.4,), (5,), 6, 1000, 7, 8)},
        failed={"LiteLLM, stream-1": "no answer"},
        held=[Held("ollama", "ollama", "one text", 3.0), Held("ollama", "anthropic", "one text", 4.0)],
        chains=[sample(1, chains.BARE, 80), sample(1, chains.LIMITS, 100)],
    )  # fmt: skip
    kept.save(run, tmp_path / "run.json")
    again = kept.load(tmp_path / "run.json")
    assert again == run
    assert report.parts(again) == report.parts(run)
    assert report.main([str(tmp_path / "run.json")]) == 0
    assert "LiteLLM, stream-1: no answer" in report.parts(again)["bench bars"]


def test_a_file_that_is_no_run_is_refused_with_its_name(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "other.json").write_text("{}")
    assert report.main([str(tmp_path / "other.json")]) == 1
    assert "other.json: not a run that was kept" in capsys.readouterr().err


def test_published_data_are_named_by_date_and_processor_only() -> None:
    assert kept.data_path(ABOUT) == HERE / "data" / "2026-11-22-amd-epyc.json"


def test_publishing_replaces_the_old_table_and_nothing_else(tmp_path: Path) -> None:
    first, second = tmp_path / "a.md", tmp_path / "b.md"
    first.write_text("before\n<!-- bench: begin -->\nold\n<!-- bench: end -->\nafter\n")
    second.write_text("<!-- bench bars: begin --><!-- bench bars: end -->")
    assert pages.publish({"bench": "new", "bench bars": "- bar"}, (first, second)) == [first, second]
    assert first.read_text() == "before\n<!-- bench: begin -->\nnew\n<!-- bench: end -->\nafter\n"
    assert second.read_text() == "<!-- bench bars: begin -->\n- bar\n<!-- bench bars: end -->"
    with pytest.raises(ValueError, match="no place for the table"):
        pages.publish({"other": "text"}, (first, second))


def test_default_chain_is_one_home_for_the_suite_and_the_chains(tmp_path: Path) -> None:
    assert chains.home(tmp_path / "made", chains.DEFAULT) == HERE / "homes" / "default"
    made = chains.home(tmp_path / "one", "auth")
    assert f"  - request_id\n  - {{{chains.ALONE['auth']}}}\n" in (made / "gateway.yaml").read_text()
    assert chains.KEY in (HERE / "homes" / "default" / "gateway.yaml").read_text()
    assert CREDENTIAL not in (HERE / "homes" / "default" / "gateway.yaml").read_text()


def test_installed_size_counts_the_locked_requirements_and_the_project() -> None:
    assert 20_000_000 < gateway_bytes() < 500_000_000
