"""The errors found so far, in one list for all readers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from gateway.errors import ConfigError, ConfigErrors

MOST: Final = 100


class EnoughErrorsError(Exception):
    """The list is full: reading on would only cost time."""


class Found(list[ConfigError]):
    """A list that is full after MOST errors: a megabyte of mistakes is refused within a second, too.

    Adding one more raises EnoughErrorsError; whoever made the list catches it.
    """

    def append(self, error: ConfigError) -> None:
        """Add one. Raises: EnoughErrorsError."""
        if len(self) >= MOST:
            raise EnoughErrorsError
        super().append(error)

    def extend(self, errors: Iterable[ConfigError]) -> None:
        """Add several, as many as there is room for. Raises: EnoughErrorsError."""
        for error in errors:
            self.append(error)

    def sorted(self, order: Mapping[str, int], *, is_all: bool) -> ConfigErrors:
        """Return them as one error, in the order of the files and of their lines."""
        errors = sorted(self, key=lambda error: (order.get(error.file, len(order)), error.line, error.column))
        if not is_all:
            errors.append(ConfigError(f"more than {MOST} errors", cure="mend these first"))
        return ConfigErrors(errors)
