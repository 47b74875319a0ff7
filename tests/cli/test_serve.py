"""`gateway serve` as a process: what wins, what it says when ready, how it ends."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.cli.conftest import Command
from tests.cli.test_process import ROOT, gateway

SMALL = "version: 1\nserver: {listen: 127.0.0.1:1, drain: {lame_duck: 0ms, grace: 1s}}\nadmin: {listen: 'off'}\n"


@contextmanager
def serving(folder: str, *args: str, **env: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Run `gateway serve` until the block ends; yield it with its ready line."""
    process = subprocess.Popen(
        [sys.executable, "-m", "gateway", "serve", folder, *args],
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), **env},
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    try:
        ready = next((line for line in process.stderr if line.startswith("ready: ")), "")
        yield process, ready
    finally:
        process.kill()
        process.wait()
        process.stderr.close()


@pytest.mark.parametrize("stop", [signal.SIGTERM, signal.SIGINT])
def test_serve_says_where_it_is_and_stops_clean(command: Command, stop: signal.Signals) -> None:
    with serving(command.write(SMALL), "--listen", "127.0.0.1:0", "--no-watch") as (process, ready):
        assert ready.startswith("ready: http://127.0.0.1:")
        assert ready.endswith(" (admin off)\n")
        process.send_signal(stop)
        assert process.wait(timeout=20) == 0


def test_environment_wins_over_the_file_and_a_flag_over_the_environment(command: Command) -> None:
    folder = command.write(SMALL)
    socket_path = command.folder / "s"
    with serving(folder, GATEWAY_LISTEN=f"unix:{socket_path}", GATEWAY_ADMIN_LISTEN="off") as (_, ready):
        assert ready == f"ready: unix:{socket_path} (admin off)\n"
    with serving(folder, "--listen", f"unix:{socket_path}2", GATEWAY_LISTEN="127.0.0.1:1") as (_, ready):
        assert ready == f"ready: unix:{socket_path}2 (admin off)\n"


def test_serve_exits_1_when_the_address_is_taken(command: Command) -> None:
    folder = command.write(SMALL)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        done = gateway("serve", folder, "--listen", f"127.0.0.1:{taken.getsockname()[1]}", cwd=command.folder)
    assert done.returncode == 1
    assert "cannot_bind" in done.stderr
