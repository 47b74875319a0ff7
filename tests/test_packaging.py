"""The wheel, the image and `make run`, proved step by step: no Docker engine is needed, only bubblewrap."""

from __future__ import annotations

import ast
import asyncio
import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest
import yaml

from gateway import __version__
from tests.imports import ROOT
from tests.serving import READY
from tests.test_repository import repository_files

pytestmark = pytest.mark.timeout(300)

DOCKERFILE = (ROOT / "Dockerfile").read_text("utf-8")
INSTRUCTIONS = re.findall(r"^([A-Z]+)\s+(.*)$", re.sub(r"\\\n\s*", " ", DOCKERFILE), re.MULTILINE)


def instructions(kind: str) -> list[str]:
    return [text for name, text in INSTRUCTIONS if name == kind]


def call(*command: str | Path, cwd: Path = ROOT, **environ: str) -> str:
    done = subprocess.run(
        [str(part) for part in command], cwd=cwd, env={**os.environ, **environ}, capture_output=True, text=True
    )
    assert done.returncode == 0, f"{command}: exit {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build it as the image does: with the locked tools, without isolation."""
    folder = tmp_path_factory.mktemp("wheel")
    call(sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "-w", folder, ROOT)
    [built] = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def environment(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Install it as the image does: a clean environment, what runs by its hashes, the wheel, then pip away."""
    folder = tmp_path_factory.mktemp("image") / "gateway"
    call(sys.executable, "-m", "venv", folder)
    python = folder / "bin" / "python"
    lock = ROOT / "requirements" / "all.txt"
    call(python, "-m", "pip", "install", "--quiet", "--require-hashes", "-r", lock)
    call(python, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", wheel)
    call(python, "-m", "compileall", "-q", folder / "lib")
    call(python, "-m", "pip", "uninstall", "--yes", "--quiet", "pip", "setuptools")
    return folder


def test_the_wheel_adds_one_import_name(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        top = {name.partition("/")[0] for name in archive.namelist()}
    assert top == {"gateway", f"llm_gateway-{__version__}.dist-info"}


def test_the_wheel_carries_the_standard_home_whole(wheel: Path) -> None:
    ours = [path for path in repository_files() if path.relative_to(ROOT).parts[0] in {"plugins", "config"}]
    assert any(path.name == "schema.json" for path in ours)
    with zipfile.ZipFile(wheel) as archive:
        for path in ours:
            inside = f"gateway/standard/{path.relative_to(ROOT).as_posix()}"
            assert archive.read(inside) == path.read_bytes(), inside


def test_the_wheel_carries_the_dashboard_whole(wheel: Path) -> None:
    ours = [path for path in repository_files() if path.is_relative_to(ROOT / "gateway" / "admin")]
    assert {".html", ".css", ".js", ".svg", ".LICENSE"} <= {path.suffix for path in ours}
    with zipfile.ZipFile(wheel) as archive:
        for path in ours:
            inside = path.relative_to(ROOT).as_posix()
            assert archive.read(inside) == path.read_bytes(), inside


def test_the_wheel_says_what_it_is(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        metadata = archive.read(f"llm_gateway-{__version__}.dist-info/METADATA").decode()
        scripts = archive.read(f"llm_gateway-{__version__}.dist-info/entry_points.txt").decode()
        assert "gateway/py.typed" in archive.namelist()
    assert f"\nVersion: {__version__}\n" in metadata
    assert "\nLicense-Expression: MIT\n" in metadata
    assert "gateway = gateway.cli:main" in scripts


def test_the_installed_command_knows_its_version_and_schema_outside_the_checkout(
    environment: Path, tmp_path: Path
) -> None:
    assert __version__ in call(environment / "bin" / "gateway", "--version", cwd=tmp_path)
    schema = json.loads(call(environment / "bin" / "gateway", "schema", cwd=tmp_path))
    assert schema == json.loads((ROOT / "config" / "schema.json").read_text("utf-8"))


def test_an_operators_home_outside_the_checkout_is_found_and_checked(environment: Path, tmp_path: Path) -> None:
    home = tmp_path / "home"
    shutil.copytree(ROOT / "examples" / "own_plugin", home)
    for command in (["check", str(home)], ["check", str(home / "gateway.yaml")], ["routes", str(home)]):
        call(environment / "bin" / "gateway", *command, cwd=tmp_path)
    call(environment / "bin" / "gateway", "check", cwd=home)
    call(environment / "bin" / "gateway", "check", cwd=tmp_path, GATEWAY_HOME=str(home))


# Runs inside the sandbox: what the image's engine does. Prints one JSON object.
ENGINE = r"""
import http.client, json, os, signal, sqlite3, subprocess, sys
command, check, prefix = json.loads(sys.argv[1]), json.loads(sys.argv[2]), sys.argv[3]
gateway = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
lines = []
for line in gateway.stderr:
    lines.append(line)
    if line.startswith("ready: "):
        break
healthy = subprocess.run(check).returncode
c = http.client.HTTPConnection("127.0.0.1", 8080, timeout=10)
asked = {"model": "echo", "messages": [{"role": "user", "content": "hi"}]}
c.request("POST", "/v1/chat/completions", json.dumps(asked))
answer = c.getresponse()
body = answer.read().decode()
written = []
for place in (prefix, os.getcwd(), "/usr", "/etc"):
    try:
        open(os.path.join(place, "probe"), "w").close()
        written.append(place)
    except OSError:
        pass
gateway.send_signal(signal.SIGTERM)
lines += gateway.stderr.readlines()
code = gateway.wait()
rows = sqlite3.connect("var/ledger.db").execute("SELECT route, outcome FROM ledger_rows").fetchall()
subprocess.run([sys.executable, "-c", "import asyncpg, sqlalchemy.dialects.postgresql"], check=True)
print(json.dumps({"rows": rows, "lines": lines, "healthy": healthy, "status": answer.status, "body": body, "exit": code,
                  "unhealthy": subprocess.run(check, stderr=subprocess.DEVNULL).returncode, "uid": os.getuid(),
                  "written": written}))
"""


def test_the_image_serves_on_a_read_only_root_unprivileged_and_offline(environment: Path, tmp_path: Path) -> None:
    """The image's environment, command and health check; nothing is writable but /tmp and the home's var/, no network
    but loopback."""
    if shutil.which("bwrap") is None:
        pytest.skip("bubblewrap is not installed")
    home = tmp_path / "home"
    (home / "var").mkdir(parents=True)
    shutil.copy(ROOT / "gateway.yaml", home)
    pairs = " ".join(instructions("ENV")[1:]).split()
    variables = dict(pair.split("=", 1) for pair in pairs)
    variables |= {"PATH": f"{environment / 'bin'}:/usr/bin:/bin", "GATEWAY_HOME": str(home)}
    [command] = instructions("CMD")
    health = instructions("HEALTHCHECK")[0].partition("CMD ")[2]
    done = subprocess.run(
        [
            "bwrap", "--ro-bind", "/", "/", "--tmpfs", "/tmp", "--dev", "/dev", "--proc", "/proc",
            "--tmpfs", str(ROOT), "--ro-bind", str(environment), str(environment), "--ro-bind", str(home), str(home),
            "--tmpfs", str(home / "var"), "--unshare-all", "--uid", "1000", "--gid", "1000", "--die-with-parent", "--clearenv",
            *(part for name, value in variables.items() for part in ("--setenv", name, value)),
            "--chdir", str(home),
            str(environment / "bin" / "python"), "-c", ENGINE,
            json.dumps(ast.literal_eval(command)), json.dumps(ast.literal_eval(health)), str(environment),
        ],
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    seen = json.loads(done.stdout)
    lines = "".join(seen["lines"])
    assert READY.search(next(line for line in seen["lines"] if line.startswith("ready:")))
    assert "ready: http://0.0.0.0:8080 (admin off)" in lines
    assert seen["healthy"] == 0, lines
    assert seen["unhealthy"] != 0, "the health check passes without a gateway"
    assert (seen["status"], seen["uid"], seen["exit"]) == (200, 1000, 0), lines
    assert "hi" in json.loads(seen["body"])["choices"][0]["message"]["content"]
    assert seen["written"] == []
    assert seen["rows"] == [["echo", "completed"]]


def test_a_home_that_cannot_be_written_is_told_and_nothing_is_served(tmp_path: Path) -> None:
    if shutil.which("bwrap") is None:
        pytest.skip("bubblewrap is not installed")
    shutil.copy(ROOT / "gateway.yaml", tmp_path)
    done = subprocess.run(
        ["bwrap", "--ro-bind", "/", "/", "--dev", "/dev", "--proc", "/proc", "--unshare-pid", "--die-with-parent",
         sys.executable, "-m", "gateway", "serve", str(tmp_path), "--listen", "127.0.0.1:0", "--admin", "off"],
        cwd=ROOT, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 2
    assert re.search(r"ledger: the ledger's file cannot be used: .*Read-only.*; give a file in a folder", done.stderr)
    assert "ready:" not in done.stderr


def test_the_image_is_two_stages_slim_unprivileged_and_in_exec_form() -> None:
    stages = instructions("FROM")
    assert len(stages) == 2
    assert all("-slim" in stage for stage in stages)
    assert " AS build" in stages[0]
    assert instructions("USER") == ["1000:1000"]
    assert [ast.literal_eval(text) for text in instructions("CMD")] == [["gateway", "serve"]]
    [health] = instructions("HEALTHCHECK")
    assert all(option in health for option in ("--interval=", "--timeout=", "--start-period=", "CMD ["))
    installs = [text for text in instructions("RUN") if "pip install" in text]
    assert sum("--mount=type=cache" in text for text in installs) == 2
    assert sum("--require-hashes -r requirements/" in text for text in installs) == 2
    [user] = [text for text in instructions("RUN") if "useradd" in text]
    assert "--uid 1000 " in user
    assert re.search(r"install --directory --owner 1000 --group 1000 \S+ /srv/gateway/var$", user), (
        "nowhere to keep a ledger"
    )
    locks = re.findall(r"-r requirements/(\S+)", " ".join(installs))
    assert locks == ["all.txt", "build.txt"]


def test_all_that_the_image_copies_exists_and_is_not_ignored() -> None:
    allowed = {line[1:] for line in (ROOT / ".dockerignore").read_text("utf-8").splitlines() if line.startswith("!")}
    sources = [source for text in instructions("COPY") if not text.startswith("--from") for source in text.split()[:-1]]
    assert sources
    for source in sources:
        assert (ROOT / source).exists(), source
        assert source.partition("/")[0] in allowed, source


def compose(name: str) -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((ROOT / name).read_text("utf-8"))
    return loaded


def test_production_compose_has_its_services_and_only_the_gateway_starts_unasked() -> None:
    services = compose("docker-compose.yml")["services"]
    assert set(services) == {"gateway", "redis", "postgres", "prometheus", "grafana"}
    assert [name for name, service in services.items() if "profiles" not in service] == ["gateway"]
    assert services["gateway"]["read_only"] is True
    assert services["gateway"]["cap_drop"] == ["ALL"]
    for service in services.values():
        for port in service.get("ports", ()):
            assert port.startswith("127.0.0.1:"), port


def test_redis_and_postgresql_come_as_one_profile_are_checked_and_keep_what_they_have() -> None:
    whole = compose("docker-compose.yml")
    fleet = {name: each for name, each in whole["services"].items() if each.get("profiles") == ["fleet"]}
    assert set(fleet) == {"redis", "postgres"}
    waits = whole["services"]["gateway"]["depends_on"]
    for name, service in fleet.items():
        assert {"test", "interval", "timeout", "start_period"} <= set(service["healthcheck"]), name
        [volume] = service["volumes"]
        assert volume.partition(":")[0] in whole["volumes"], name
        assert waits[name] == {"condition": "service_healthy", "required": False}


def variables_of(name: str) -> set[str]:
    return set(re.findall(r"\$\{([A-Z_]+)", (ROOT / name).read_text("utf-8")))


def test_all_that_compose_and_the_home_take_from_the_environment_is_in_the_example_of_it() -> None:
    told = set(re.findall(r"^(?:# )?([A-Z_]+)=", (ROOT / ".env.example").read_text("utf-8"), re.MULTILINE))
    for name in ("docker-compose.yml", "docker-compose.dev.yml"):
        assert variables_of(name) <= told, name
    passed = set(compose("docker-compose.yml")["services"]["gateway"]["environment"])
    assert variables_of("gateway.yaml") - passed == {"OLLAMA_BASE_URL"}


def test_the_example_environment_makes_compose_and_gateway_agree(tmp_path: Path) -> None:
    """What .env.example says of the profile `fleet`, put in force, names the services and loads."""
    lines = (ROOT / ".env.example").read_text("utf-8").partition("profile fleet")[2].splitlines()
    given = dict(line.removeprefix("# ").split("=", 1) for line in lines if re.match(r"# [A-Z_]+=", line))
    urls = {name: given[name].replace("${POSTGRES_PASSWORD}", "pw") for name in ("STATE_URL", "LEDGER_URL")}
    postgres = compose("docker-compose.yml")["services"]["postgres"]["environment"]
    assert urls["LEDGER_URL"] == f"postgresql://{postgres['POSTGRES_USER']}:pw@postgres/{postgres['POSTGRES_DB']}"
    assert urls["STATE_URL"].startswith("redis://redis:")
    shutil.copy(ROOT / "gateway.yaml", tmp_path)
    call(sys.executable, "-m", "gateway", "check", tmp_path, **urls)


def test_development_compose_reloads_and_logs_all() -> None:
    service = compose("docker-compose.dev.yml")["services"]["gateway"]
    assert service["environment"]["LOG_LEVEL"] == "DEBUG"
    assert "--watch" in service["command"]
    assert service["develop"]["watch"]


async def test_make_run_serves_from_a_fresh_copy_and_sets_up_only_once(tmp_path: Path) -> None:
    copy = tmp_path / "checkout"
    for path in repository_files():
        target = copy / path.relative_to(ROOT)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(path, target)
    environ = {k: v for k, v in os.environ.items() if k not in {"VIRTUAL_ENV", "MAKEFLAGS", "MAKELEVEL", "MFLAGS"}}
    environ["PATH"] = os.pathsep.join(p for p in environ["PATH"].split(os.pathsep) if not p.startswith(str(ROOT)))
    process = await asyncio.create_subprocess_exec(
        "make", "run", cwd=copy, env={**environ, "GATEWAY_LISTEN": "127.0.0.1:0", "GATEWAY_ADMIN_LISTEN": "off"},
        stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
        start_new_session=True,
    )  # fmt: skip
    assert process.stdout is not None
    printed = []
    try:
        async for raw in process.stdout:
            printed.append(raw.decode())
            if READY.match(printed[-1].rstrip()):
                break
        else:
            raise AssertionError("".join(printed))
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGINT)
        await process.communicate()
    assert subprocess.run(["make", "--question", ".venv/.run"], cwd=copy, env=environ).returncode == 0
    assert str(copy) in call(copy / ".venv/bin/python", "-c", "import gateway; print(gateway.__file__)", cwd=tmp_path)
