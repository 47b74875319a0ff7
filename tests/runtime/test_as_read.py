"""Whether the files still say what was read from them: what the watcher asks before it begins to watch."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.runtime.config import Config
from gateway.runtime.home import Home
from gateway.runtime.load import load_config
from gateway.runtime.plugins import discover
from gateway.runtime.watch import is_as_read

MAIN = """version: 1
include: [routes/*.yaml]
providers: {mock: {dialect: openai_chat, base_url: "http://127.0.0.1:9", api_key: "${file:key}"}}
"""


def written(folder: Path, path: str, text: str) -> None:
    file = folder / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    written(tmp_path, "gateway.yaml", MAIN)
    written(tmp_path, "key", "sk-one")
    written(tmp_path, "routes/a.yaml", "routes: [{name: a, targets: [mock/m]}]\n")
    return tmp_path


def read(folder: Path) -> Config:
    home = Home(folder, folder / "gateway.yaml")
    return load_config(home, {}, discover(home))


def test_untouched_files_are_as_they_were_read(home: Path) -> None:
    config = read(home)
    written(home, "routes/notes.txt", "not matched")
    assert is_as_read(config)


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("gateway.yaml", MAIN + "\n"),
        ("routes/a.yaml", "routes: [{name: b, targets: [mock/m]}]\n"),
        ("key", "sk-two"),
        ("routes/b.yaml", ""),
        ("config/providers.yaml", ""),
        ("config/prices.yaml", ""),
    ],
)
def test_a_file_that_changed_or_joined_shows(home: Path, path: str, text: str) -> None:
    config = read(home)
    written(home, path, text)
    assert not is_as_read(config)


def test_a_file_that_is_gone_shows(home: Path) -> None:
    config = read(home)
    (home / "key").unlink()
    assert not is_as_read(config)
