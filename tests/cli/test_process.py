"""The command as a process: exit codes and streams as a shell sees them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.conftest import Command

ROOT = Path(__file__).parents[2]


def gateway(*args: str, cwd: Path, **env: str) -> subprocess.CompletedProcess[str]:
    """Run `python -m gateway …` in `cwd`."""
    return subprocess.run(
        [sys.executable, "-m", "gateway", *args],
        cwd=cwd,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), **env},
        capture_output=True,
        text=True,
        timeout=30,
    )


def test_check_exits_0_with_the_result_on_stdout(command: Command, home: str) -> None:
    done = gateway("check", cwd=Path(home))
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.endswith("\nok\n")


def test_check_exits_2_with_errors_on_stderr_alone(command: Command) -> None:
    folder = command.write("version: 1\nrutes: []\n")
    done = gateway("check", folder, cwd=command.folder)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == 'gateway.yaml:2:1: unknown key "rutes"; did you mean "routes"?\n'


def test_a_home_may_be_named_by_its_file_or_by_the_environment(command: Command, home: str, tmp_path: Path) -> None:
    by_file = gateway("routes", str(Path(home) / "gateway.yaml"), cwd=tmp_path)
    by_environment = gateway("routes", cwd=tmp_path, GATEWAY_HOME=home)
    assert by_file.returncode == by_environment.returncode == 0
    assert by_file.stdout == by_environment.stdout
    none = gateway("routes", cwd=tmp_path)
    assert none.returncode == 2
    assert "GATEWAY_HOME is not set" in none.stderr


@pytest.mark.parametrize("args", [("no-such-command",), ("check", "--no-such-option"), ("check", "a", "b"), ("init",)])
def test_wrong_usage_exits_2(args: tuple[str, ...], tmp_path: Path) -> None:
    done = gateway(*args, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert "Traceback" not in done.stderr


def test_checking_a_home_imports_no_client_library_and_no_table_drawing(command: Command, home: str) -> None:
    code = (
        "import sys\nfrom gateway.cli import gateway\n"
        f"gateway(['check', {home!r}], standalone_mode=False)\n"
        "print(sorted({'openai', 'anthropic', 'rich', 'gateway.supervisor', 'langgraph'} & set(sys.modules)))"
    )
    env = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, timeout=30)
    assert done.stdout.splitlines()[-1] == "[]", done.stderr


@pytest.mark.parametrize(
    ("args", "env", "said"),
    [
        (("--listen", "nonsense"), {}, "'--listen': \"nonsense\" is not an address"),
        ((), {"GATEWAY_LISTEN": "nonsense"}, "'--listen'"),
        ((), {"GATEWAY_WORKERS": "many"}, "'--workers'"),
        (("--workers", "0"), {}, "'--workers'"),
        ((), {"LOG_LEVEL": "loud"}, "'--log-level'"),
    ],
)
def test_serve_refuses_bad_flags_and_environment_with_2(
    command: Command, home: str, args: tuple[str, ...], env: dict[str, str], said: str
) -> None:
    done = gateway("serve", home, *args, cwd=command.folder, **env)
    assert (done.returncode, done.stdout) == (2, "")
    assert said in done.stderr


def test_serve_refuses_a_bad_configuration_with_2_and_its_place(command: Command) -> None:
    folder = command.write("version: 1\nrutes: []\n")
    done = gateway("serve", folder, "--listen", "127.0.0.1:0", "--admin", "off", cwd=command.folder)
    assert done.returncode == 2
    assert 'gateway.yaml:2:1: unknown key "rutes"' in done.stderr
