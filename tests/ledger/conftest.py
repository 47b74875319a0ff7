"""Every test that takes `place` runs over SQLite and over PostgreSQL."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.ledger.kit import Place
from tests.postgres import Postgres, private_postgres

_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """A private server for the whole session."""
    server = private_postgres()
    if server is None:
        pytest.skip("PostgreSQL is missing (Debian: apt-get install postgresql): its half of the ledger is left out")
    yield server
    server.remove()


@pytest.fixture(params=["sqlite", "postgres"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    """An empty place for a ledger."""
    if request.param == "sqlite":
        return Place("sqlite:var/ledger.db", tmp_path)
    server: Postgres = request.getfixturevalue("postgres")
    return Place(server.create(f"ledger{next(_numbers)}"), tmp_path)
