"""Other generators: their commands carry the whole request, and their reports are read as they write them."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from benchmarks import external
from benchmarks.clocks import split_cpus
from benchmarks.scenarios import suite
from benchmarks.systems import HERE, BenchError, gateway, mock

WRK = """\
Running 3s test @ http://127.0.0.1:1/v1/chat/completions
  1 threads and 16 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency     1.01ms  200.00us   9.00ms   90.00%
  Latency Distribution
     50%  446.00us
     75%    1.50ms
     99%    1.20s
  47548 requests in 3.00s, 61.52MB read
  Non-2xx or 3xx responses: 3
  Socket errors: connect 0, read 1, write 0, timeout 2
Requests/sec:  15849.33
"""
H2LOAD = """\
finished in 1.2s, 10578.25 req/s, 13.96MB/s
requests: 4000 total, 4000 started, 4000 done, 3990 succeeded, 10 failed, 10 errored, 0 timeout
status codes: 3990 2xx, 0 3xx, 0 4xx, 0 5xx
"""
AB = """\
Complete requests:      4000
Failed requests:        2
Non-2xx responses:      1
Requests per second:    13787.25 [#/sec] (mean)
Percentage of the requests served within a certain time (ms)
  50%      1
  99%     17
"""


def test_reports_are_read_with_their_errors() -> None:
    assert external.wrk_said(WRK) == external.Said(47548, 6, 15849.33, 0.446, 1200.0)
    assert (
        external.wrk_said(WRK.replace("  Non-2xx or 3xx responses: 3\n", "").replace("  Socket", "  none")).wrong == 0
    )
    assert external.h2load_said(H2LOAD) == external.Said(3990, 10, 10578.25)
    assert external.ab_said(AB) == external.Said(4000, 3, 13787.25, 1.0, 17.0)
    for said in (external.wrk_said, external.h2load_said, external.ab_said):
        with pytest.raises(ValueError, match="no "):
            said("something else")


def test_commands_ask_the_scenario_with_its_credential(tmp_path: Path) -> None:
    scenario = suite(short=True)[0]
    body = tmp_path / "body.json"
    body.write_text('{"a": "]=]"}')
    ask = external.Ask(
        "http://h:1/v1/x", scenario, (("Content-Type", "application/json"), ("Authorization", "Bearer k")), body
    )
    assert external.wrk(ask)[-1] == external.h2load(ask)[-1] == external.ab(ask)[-1] == "http://h:1/v1/x"
    script = (tmp_path / "body.lua").read_text()
    assert 'wrk.body = [==[{"a": "]=]"}]==]' in script and 'wrk.headers["Authorization"] = "Bearer k"' in script
    assert "Authorization: Bearer k" in external.h2load(ask) and "Authorization: Bearer k" in external.ab(ask)
    assert str(scenario.exchanges) in external.ab(ask)


def test_what_a_generator_got_through_a_gateway_is_what_the_mock_sent(tmp_path: Path) -> None:
    scenario, (on, away) = suite(short=True)[0], split_cpus()
    with mock(away) as upstream, gateway("bare", HERE / "homes" / "bare", upstream, on, tmp_path / "run") as system:
        for program in external.PROGRAMS:
            if shutil.which(program) is None:
                with pytest.raises(BenchError, match=f"install the package {external.PACKAGES[program]}"):
                    external.once(program, system, scenario, upstream, tmp_path, 1)
            else:
                found = external.once(program, system, scenario, upstream, tmp_path, 1)
                assert found.requests > 0 and found.per_s > 0 and found.cpu_us > 0


def test_table_shows_medians_and_the_ratio_to_nginx() -> None:
    samples = [external.External(n, "nginx", "plain-1k", 20.0 + n, 10, 100.0, 1.0, 2.0) for n in (1, 2, 3)]
    samples += [external.External(n, "gateway", "plain-1k", 66.0, 10, 50.0, 1.5, 2.5) for n in (1, 2, 3)]
    text = external.table("wrk", samples)
    assert "| CPU µs per request, plain-1k | 22.0 | 66.0 (3.00 ×) |" in text
    assert "| p99 ms, plain-1k | 2.00 | 2.50 |" in text
