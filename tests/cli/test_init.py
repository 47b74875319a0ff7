from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.cli.conftest import Command
from tests.imports import ROOT


def test_a_new_home_works_at_once(command: Command) -> None:
    result = command("init", str(command.folder))
    assert result.exit_code == 0, result.output
    files = {str(path.relative_to(command.folder)) for path in command.folder.rglob("*") if path.is_file()}
    assert files == {"gateway.yaml", "plugins/stamp.py", "config/schema.json", ".env.example", ".gitignore"}
    text = (command.folder / "gateway.yaml").read_text()
    assert text.startswith("# yaml-language-server: $schema=config/schema.json\n")
    assert "stamp" in json.loads((command.folder / "config/schema.json").read_text())["$defs"]["options"]
    report = json.loads(command("explain", str(command.folder), "--model", "smart", "--json").stdout)
    assert report["first"] == "echo/echo"
    assert command("plugins", str(command.folder)).exit_code == 0
    assert command("check", str(command.folder)).exit_code == 0


def test_a_new_home_has_the_chain_and_the_stores_of_the_repositorys_own(command: Command) -> None:
    command("init", str(command.folder))
    made = yaml.safe_load((command.folder / "gateway.yaml").read_text())
    own = yaml.safe_load((ROOT / "gateway.yaml").read_text())

    def names(chain: list[Any]) -> list[str]:
        return [each if isinstance(each, str) else next(iter(each)) for each in chain]

    assert names(made["plugins"]) == names(own["plugins"])
    assert f"${{STATE_URL:-{made['state']}}}" == own["state"]
    assert f"${{LEDGER_URL:-{made['ledger']}}}" == own["ledger"]
    assert "var/" in (command.folder / ".gitignore").read_text().splitlines()


def test_a_new_home_can_keep_keys(command: Command) -> None:
    command("init", str(command.folder))
    made = command("keys", "new", "me", str(command.folder), "--save")
    assert made.exit_code == 0, made.output
    assert (command.folder / "var" / "ledger.db").is_file()


def test_the_example_plugin_can_be_named(command: Command) -> None:
    command("init", str(command.folder))
    text = (command.folder / "gateway.yaml").read_text()
    command.write(text.replace("\nplugins:\n", "\nplugins:\n  - stamp: {value: hi}\n", 1))
    report = json.loads(command("explain", str(command.folder), "--model", "echo", "--json").stdout)
    assert report["plugins"][0]["options"] == {"value": "hi"}


def test_an_empty_folder_stays_the_same_folder(command: Command) -> None:
    command.folder.mkdir()
    before = command.folder.stat().st_ino
    assert command("init", str(command.folder)).exit_code == 0
    assert command.folder.stat().st_ino == before
    assert (command.folder / "gateway.yaml").is_file()


@pytest.mark.parametrize("kind", ["folder with a file", "hidden file", "file", "dangling link"])
def test_what_is_there_is_never_overwritten(command: Command, kind: str) -> None:
    target = command.folder
    if kind == "file":
        target.write_text("mine")
    elif kind == "dangling link":
        target.symlink_to(target.with_name("nowhere"))
    else:
        command.write("mine", ".hidden" if kind == "hidden file" else "gateway.yaml")
    before = sorted(target.parent.rglob("*"))
    result = command("init", str(target))
    assert result.exit_code == 2
    assert sorted(target.parent.rglob("*")) == before
    if kind == "folder with a file":
        assert (target / "gateway.yaml").read_text() == "mine"


def test_a_failed_import_leaves_nothing(command: Command, tmp_path: Path) -> None:
    source = tmp_path / "source.yaml"
    for text in ("nothing: here\n", "model_list: [\n", "- a\n", '{"targets": [}'):
        source.write_text(text)
        result = command("init", str(command.folder), "--from", str(source))
        assert result.exit_code == 2
        assert str(source) in result.stderr
        assert sorted(tmp_path.iterdir()) == [source]
    result = command("init", str(command.folder), "--from", str(tmp_path / "absent.yaml"))
    assert result.exit_code == 2
    assert "cannot be read" in result.stderr
