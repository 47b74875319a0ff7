"""What a configuration was made of, and whether it has changed: for the reloader, which asks again and again.

The kernel's word that something happened only says when to look; what counts is the files themselves. It does not tell
of what changed before it was asked nor, on network file systems, of what others did.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from gateway.runtime.config import Config, digest_of
from gateway.runtime.known import KNOWN_FILE
from gateway.runtime.prices import PRICES_FILE

State = Mapping[Path, tuple[int, int, int] | None]


def state_of(config: Config, further: frozenset[Path]) -> State:
    """Return what changes when a file of `config`, or of `further`, does: its time, size and inode, None when it is
    not there. A link counts as what it points to: Kubernetes swaps a folder's link instead of touching files."""
    found: dict[Path, tuple[int, int, int] | None] = {}
    for path in {*_files(config), *further}:
        try:
            facts = path.stat()
            found[path] = (facts.st_mtime_ns, facts.st_size, facts.st_ino)
        except OSError:
            found[path] = None
    return found


def is_as_read(config: Config) -> bool:
    """Return whether the files still say what `config` says: none of them has changed, and none has joined them."""
    try:
        content = [path.read_bytes() for path in config.files]
    except OSError:
        return False
    may_join = [file for folder, pattern in config.patterns for file in folder.glob(pattern)]
    may_join += [config.home / KNOWN_FILE, config.home / PRICES_FILE]
    return digest_of(content) == config.digest and all(file in config.files for file in may_join if file.is_file())


def folders_of(config: Config, state: State) -> frozenset[Path]:
    """Return the folders in which a change may be one of `state`'s, or one that is looked for."""
    folders = {folder for path in state for folder in (path.parent, path.resolve().parent)}
    return frozenset(folder for folder in {*folders, config.home / "plugins"} if folder.is_dir())


def _files(config: Config) -> Iterator[Path]:
    home = config.home
    yield config.file
    yield from config.files
    yield home / "config" / "providers.yaml"  # one that is made later goes before the standard one
    for folder, pattern in config.patterns:
        yield from folder.glob(pattern)
    yield from (home / "plugins").rglob("*.py")
    plugins = (*config.plugins, *(plugin for route in config.routes for plugin in route.plugins))
    for where in {plugin.use.rpartition(":")[0] for plugin in plugins if plugin.use}:
        if where.endswith(".py"):
            yield home / where
        else:  # a package: only one that lies in the home is run again at a reload
            top = where.partition(".")[0]
            yield home / f"{top}.py"
            if top != "gateway":  # a checkout is a home too, and its program needs a restart
                yield from (home / top).rglob("*.py")
