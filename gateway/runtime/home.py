"""Homes: the folder that holds gateway.yaml, and beside it optionally plugins/ and config/."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from gateway.errors import ConfigError

FILE_NAME: Final = "gateway.yaml"


def _standard() -> Path:
    """Return where the standard plugins/ and config/ are: package data of an installed wheel, else the checkout."""
    packaged = Path(__file__).resolve().parents[1] / "standard"
    return packaged if packaged.is_dir() else Path(__file__).resolve().parents[2]


STANDARD: Final[Path] = _standard()
"""The standard home, looked into after the operator's own."""


@dataclass(frozen=True, slots=True)
class Home:
    """The operator's home: its folder (absolute) and the configuration file in it."""

    folder: Path
    file: Path

    def shown(self, path: Path) -> str:
        """Return `path` as messages show it: relative to the home where it is inside."""
        try:
            return path.relative_to(self.folder).as_posix()
        except ValueError:
            return str(path)

    def find_file(self, relative: str | Path) -> Path:
        """Return the file of that name in this home, else in the standard one. Raises: ConfigError."""
        for folder in (self.folder, STANDARD):
            candidate = folder / relative
            if candidate.is_file():
                return candidate
        raise ConfigError(
            f'no file "{relative}" in the home or the standard home', cure="a relative path starts at the home's folder"
        )


def find_home(arg: str | None, environ: Mapping[str, str]) -> Home:
    """Return the home named by `arg`, else the current folder, else `$GATEWAY_HOME`.

    A home may be named by its folder or by the file itself. Raises: ConfigError.
    """
    if arg is not None:
        return _home_at(Path(arg).expanduser(), f'"{arg}"')
    here = Path.cwd()
    if (here / FILE_NAME).is_file():
        return Home(here.resolve(), here.resolve() / FILE_NAME)
    named = environ.get("GATEWAY_HOME", "")
    if named:
        return _home_at(Path(named).expanduser(), f'GATEWAY_HOME="{named}"')
    raise ConfigError(
        f"no {FILE_NAME} in the current folder, and GATEWAY_HOME is not set",
        cure='name a home, or make one with "gateway init DIR"',
    )


def _home_at(path: Path, shown: str) -> Home:
    if path.is_dir():
        if not (path / FILE_NAME).is_file():
            raise ConfigError(f"{shown} is a folder without {FILE_NAME}", cure='make a home with "gateway init DIR"')
        return Home(path.resolve(), path.resolve() / FILE_NAME)
    if path.exists():
        # A file keeps its own name when it is a link, and its folder is where the link stands.
        return Home(path.parent.resolve(), path.parent.resolve() / path.name)
    raise ConfigError(f"{shown} does not exist", cure=f"name a folder that holds {FILE_NAME}, or the file itself")
