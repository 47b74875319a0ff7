"""plugins/README.md takes a reader from nothing to a working plugin: this does exactly what it says."""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import pytest

from gateway import plugin
from gateway.errors import ConfigErrors
from gateway.testing import running_gateway

ROOT = Path(__file__).parent.parent
BLOCK = re.compile(r"^```(\w+)(?: ([^\n]*))?\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks() -> list[tuple[str, str, str]]:
    return [(kind, more, text) for kind, more, text in BLOCK.findall((ROOT / "plugins/README.md").read_text())]


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """`gateway` as a reader's shell would find it."""
    folder = tmp_path / "bin"
    folder.mkdir()
    command = folder / "gateway"
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m gateway "$@"\n')
    command.chmod(0o755)
    return {
        **os.environ,
        "PATH": f"{folder}:{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        "GATEWAY_ADMIN_LISTEN": "off",
        "GATEWAY_LISTEN": "127.0.0.1:0",
    }


def test_every_step_of_the_guide_does_what_it_says(tmp_path: Path, environment: dict[str, str]) -> None:
    serving: subprocess.Popen[str] | None = None
    url, done = "", []
    try:
        for kind, more, text in blocks():
            if more.startswith("file="):
                file = tmp_path / more.removeprefix("file=")
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_text(text)
                done.append("file")
            elif more == "background":
                serving = subprocess.Popen(
                    shlex.split(text), cwd=tmp_path, env=environment, stderr=subprocess.PIPE, text=True
                )
                assert serving.stderr is not None
                line = next((line for line in serving.stderr if line.startswith("ready: ")), "")
                assert line, "the gateway did not become ready"
                url = line.split()[1]
                done.append("serve")
            elif kind == "console":
                command = text.replace("http://127.0.0.1:8080", url)
                ran = subprocess.run(
                    command, cwd=tmp_path, env=environment, shell=True, capture_output=True, text=True, check=False
                )
                assert ran.returncode == 0, ran.stderr
                expected = more.removeprefix("expect=") if more else ""
                assert expected in ran.stdout
                if expected:
                    assert "heck" not in ran.stdout
                done.append("run")
        pytest_run = [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "-p",
            "no:cacheprovider",
            "-o",
            "asyncio_mode=auto",
            "my-home",
        ]
        tested = subprocess.run(pytest_run, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
        assert "2 passed" in tested.stdout, tested.stdout
    finally:
        if serving is not None:
            serving.send_signal(signal.SIGINT)
            serving.communicate(timeout=20)
    assert done == ["run", "file", "file", "run", "serve", "run", "file"]
    assert serving is not None and serving.returncode == 0


def test_wrong_option_is_told_as_the_guide_promises(tmp_path: Path, environment: dict[str, str]) -> None:
    for _, more, text in blocks():
        if more.startswith("file=") and "test_" not in more:
            file = tmp_path / more.removeprefix("file=")
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text.replace("words: [darn", "word: [darn"))
    ran = subprocess.run(
        ["gateway", "check", "my-home"], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert ran.returncode == 2
    assert re.search(r'gateway\.yaml:4:\d+: .*did you mean "words"', ran.stderr), ran.stderr


def test_every_public_name_is_in_the_guide() -> None:
    guide = (ROOT / "plugins/README.md").read_text("utf-8")
    code = " ".join("".join(found) for found in re.findall(r"```\w+[^\n]*\n(.*?)```|`([^`\n]+)`", guide, re.DOTALL))
    assert set(plugin.__all__) - set(re.findall(r"\w+", code)) == set()


def test_every_service_and_every_hook_is_in_the_guide() -> None:
    guide = (ROOT / "plugins/README.md").read_text("utf-8")
    services = guide.partition("## Services")[2].partition("## Errors")[0]
    named = set(re.findall(r"^\| `(\w+)", services, re.MULTILINE))
    assert named == {each.name for each in fields(plugin.Services)}
    hooks = set(re.findall(r"^\| `(\w+)\(", guide, re.MULTILINE))
    assert {name for name in vars(plugin.Plugin) if callable(getattr(plugin.Plugin, name))} <= hooks | named
    for name in ("needs_usage", "public", "options_schema", "models", "asks"):
        assert name in vars(plugin.Plugin)
        assert f"`{name}" in guide


async def test_the_plugin_that_asks_models_is_whole() -> None:
    [source] = [text for _, more, text in blocks() if more == "plugin=second_opinion"]
    config = (
        "plugins: [second_opinion: {first: draft, second: better}]\nproviders: {echo: {}}\n"
        "routes: [{name: all, match: {model: [draft, better]}, targets: [echo/echo]}]\n"
    )
    body = {"model": "second-opinion", "messages": [{"role": "user", "content": "hi"}]}
    async with running_gateway(config, plugins={"second_opinion": source}) as gateway:
        whole = await gateway.post("/v1/chat/completions", body)
        stream = await gateway.post("/v1/chat/completions", {**body, "stream": True})
        models = [each["id"] for each in (await gateway.get("/v1/models")).json()["data"]]
    assert "Improve on your answer" in whole.json()["choices"][0]["message"]["content"]
    assert stream.body.endswith(b"data: [DONE]\n\n") and stream.headers["x-gateway-attempts"] == "2"
    assert models == ["second-opinion", "draft", "better"]
    with pytest.raises(ConfigErrors, match='second: no route serves the model "worse"'):
        async with running_gateway(
            config.replace("second: better", "second: worse"), plugins={"second_opinion": source}
        ):
            pass


async def test_the_plugin_that_counts_in_the_state_is_whole() -> None:
    [source] = [text for _, more, text in blocks() if more == "plugin=asked_today"]
    config = "plugins: [asked_today]\nproviders: {echo: {}}\nroutes: [{name: all, targets: [echo/echo]}]\n"
    body = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}
    async with running_gateway(config, plugins={"asked_today": source}) as gateway:
        counts = [(await gateway.post("/v1/chat/completions", body)).headers["x-asked-today"] for _ in range(3)]
    assert counts == ["1", "2", "3"]
