"""Published prices: the data of genai-prices, read without its updater, so without network.

The package is large for what is asked of it here, so a process of its own reads it and hands over a table as JSON;
that takes half a second, and is begun in a thread when a configuration needs prices: see `Published.load_beside`.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from importlib import import_module
from threading import Lock, Thread
from typing import Final

import msgspec

from gateway.pricing.table import Model, Table

NAMES: Final[Mapping[str, str]] = {
    "openai": "openai", "anthropic": "anthropic", "gemini": "google", "groq": "groq", "deepseek": "deepseek",
    "openrouter": "openrouter", "mistral": "mistral", "together": "together", "fireworks": "fireworks", "xai": "x-ai",
    "perplexity": "perplexity", "cerebras": "cerebras", "azure": "azure",
}  # fmt: skip
"""The known providers of config/providers.yaml that cost money, and what the data calls them."""
READER: Final = "gateway.pricing.packaged"
READ_IN_S: Final = 20.0
"""How long the process that reads the package may take on a busy machine."""


class Published:
    """The table of one process. Loading is safe from any thread; whoever comes while it loads waits for it."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._table: Table | None = None

    @property
    def is_loaded(self) -> bool:
        """Whether asking costs no more than looking up."""
        return self._table is not None

    def load(self) -> Table:
        """Return the table."""
        if self._table is None:
            with self._lock:
                if self._table is None:
                    self._table = read_in_a_process() or read_here()
        return self._table

    def load_beside(self) -> None:
        """Begin to load in a thread of its own; at once where the package has been imported already."""
        if "genai_prices.data" in sys.modules:
            self.load()
        elif self._table is None:
            Thread(target=self.load, name="prices", daemon=True).start()

    def find(self, name: str, base_url: str, model: str) -> Model | None:
        """Return the prices of `model` at the known provider `name`, else at the one that `base_url` is an address of;
        None when there are none."""
        return self.load().find(NAMES.get(name), base_url, model)


def read_in_a_process() -> Table | None:
    """Return the table; None where the package is here already, or where no process can be started."""
    if "genai_prices.data" in sys.modules:
        return None
    # A session of its own: Ctrl-C in a terminal is for the gateway, which does not wait for it.
    try:
        done = subprocess.run(
            [sys.executable, "-m", READER],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            timeout=READ_IN_S,
            check=True,
        )
        return msgspec.json.decode(done.stdout, type=Table)
    except (OSError, subprocess.SubprocessError, msgspec.DecodeError):
        return None


def read_here() -> Table:
    """Return the table; the package stays in memory."""
    found: Table = import_module(READER).table()
    return found
