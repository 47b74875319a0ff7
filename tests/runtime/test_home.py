"""Homes: how one is named, and where its files are looked up."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.errors import ConfigError
from gateway.runtime.home import STANDARD, Home, find_home


@pytest.fixture
def home(tmp_path: Path) -> Path:
    folder = tmp_path / "home"
    folder.mkdir()
    (folder / "gateway.yaml").write_text("version: 1")
    return folder


def test_a_home_is_named_by_its_folder_or_its_file(home: Path) -> None:
    expected = Home(home, home / "gateway.yaml")
    assert find_home(str(home), {}) == expected
    assert find_home(str(home / "gateway.yaml"), {}) == expected


def test_the_file_of_a_home_may_have_another_name(home: Path) -> None:
    other = home / "staging.yaml"
    other.write_text("version: 1")
    assert find_home(str(other), {}) == Home(home, other)


def test_the_current_folder_goes_before_the_environment(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(home)
    assert find_home(None, {"GATEWAY_HOME": str(tmp_path)}).folder == home


def test_the_environment_names_the_home_when_the_current_folder_is_none(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert find_home(None, {"GATEWAY_HOME": str(home)}).folder == home


def test_no_home_anywhere_says_how_to_make_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError) as caught:
        find_home(None, {})
    assert str(caught.value) == (
        "no gateway.yaml in the current folder, and GATEWAY_HOME is not set; "
        'name a home, or make one with "gateway init DIR"'
    )


def test_a_folder_without_the_file_and_a_name_without_a_folder_are_told_apart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ConfigError, match=r"is a folder without gateway\.yaml; make a home"):
        find_home(str(tmp_path), {})
    with pytest.raises(ConfigError, match=r'"[^"]*nowhere" does not exist; name a folder'):
        find_home(str(tmp_path / "nowhere"), {})
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=r'GATEWAY_HOME="[^"]*nowhere" does not exist'):
        find_home(None, {"GATEWAY_HOME": str(tmp_path / "nowhere")})


def test_a_file_is_looked_up_in_the_home_and_then_in_the_standard_one(home: Path) -> None:
    found = find_home(str(home), {})
    assert found.find_file("config/providers.yaml") == STANDARD / "config/providers.yaml"
    (home / "config").mkdir()
    (home / "config/providers.yaml").write_text("{}")
    assert found.find_file("config/providers.yaml") == home / "config/providers.yaml"
    with pytest.raises(ConfigError, match=r'no file "config/none\.yaml" in the home or the standard home'):
        found.find_file("config/none.yaml")


def test_paths_are_shown_relative_to_the_home(home: Path, tmp_path: Path) -> None:
    found = find_home(str(home), {})
    assert found.shown(home / "routes" / "a.yaml") == "routes/a.yaml"
    assert found.shown(tmp_path / "other.yaml") == str(tmp_path / "other.yaml")


def test_the_standard_home_has_plugins_and_config() -> None:
    assert (STANDARD / "config/providers.yaml").is_file()
    assert (STANDARD / "plugins").is_dir()
