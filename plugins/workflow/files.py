"""The files that options name: prompts and schemas, from the home or from the standard home beside this plugin."""

from __future__ import annotations

from pathlib import Path

from gateway.plugin import ConfigError

STANDARD = Path(__file__).resolve().parents[2]
"""Where this plugin's folder stands in `plugins/`: beside it are the standard prompts."""
LARGEST_BYTES = 1024 * 1024


class Files:
    """Reads them. `seen` are the places looked at, which are to be watched: one that is made later goes first."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.seen: list[Path] = []

    def text(self, name: str, where: str) -> str:
        """Return the text of the file that the option at `where` names. Raises: ConfigError."""
        places = (self.home / name, STANDARD / name)
        self.seen.extend(places)
        return _text(next((path for path in places if path.is_file()), None), name, where)


def _text(path: Path | None, name: str, where: str) -> str:
    if path is None:
        raise ConfigError(
            f'{where}: no file "{name}" in the home or the standard home',
            cure="a relative path starts at the home's folder",
        )
    try:
        with path.open("rb") as file:
            content = file.read(LARGEST_BYTES + 1)
        text = content.decode("utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f'{where}: "{name}" cannot be read: {error}', cure="write it as UTF-8 text") from error
    if len(content) > LARGEST_BYTES:
        raise ConfigError(f'{where}: "{name}" is larger than a mebibyte', cure="shorten it")
    if not text:
        raise ConfigError(f'{where}: "{name}" is empty', cure="say in it what the model is to do")
    return text
