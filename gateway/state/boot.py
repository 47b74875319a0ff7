"""Time that all processes of a machine read alike, that no change of the wall clock moves, and that goes on after a
restart of the machine: the time since it booted, plus an offset kept in the file."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

NOTE_EVERY_S: Final = 1.0
_BOOT_ID: Final = Path("/proc/sys/kernel/random/boot_id")


def since_boot() -> float:
    """Return seconds since the machine booted, sleep included where the system tells it (Linux)."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


def boot_id() -> str:
    """Return what is another after every boot, empty where the system does not tell (all but Linux)."""
    try:
        return _BOOT_ID.read_text("ascii").strip()
    except OSError:
        return ""


class BootClock:
    """The file's clock: `now` is seconds since the file was made, as far as anybody can tell.

    For the time the machine was off the wall clock is believed, and never backwards. Without a boot id a boot is
    noticed when the time since boot is less than it was; if it is not, the time off counts less than it was.
    """

    def __init__(self, offset: float, since_boot: Callable[[], float], wall: Callable[[], float]) -> None:
        self._offset, self._since_boot, self._wall = offset, since_boot, wall
        self._noted = 0.0

    @classmethod
    def of(
        cls,
        db: sqlite3.Connection,
        boot: str | None = None,
        since_boot: Callable[[], float] = since_boot,
        wall: Callable[[], float] = time.time,
    ) -> BootClock:
        """Return the clock of the file `db`, in whose transaction the caller is."""
        boot = boot_id() if boot is None else boot
        row = db.execute("SELECT boot, offset, seen, wall FROM meta WHERE id = 1").fetchone()
        if row is None:
            offset = 1.0 - since_boot()
        else:
            offset = row[1]
            if row[0] != boot or since_boot() + offset < row[2]:
                offset = row[2] + max(0.0, wall() - row[3]) - since_boot()
        clock = cls(offset, since_boot, wall)
        now = clock.now()
        db.execute("INSERT OR REPLACE INTO meta VALUES(1, 1, ?, ?, ?, ?)", (boot, offset, now, wall()))
        return clock

    def now(self) -> float:
        """Return the file's time in seconds."""
        return self._since_boot() + self._offset

    def note(self, db: sqlite3.Connection, now: float) -> None:
        """Write down how late it is, now and then: what is known of the time when the machine went off."""
        if now - self._noted >= NOTE_EVERY_S:
            self._noted = now
            db.execute("UPDATE meta SET seen = max(seen, ?), wall = ? WHERE id = 1", (now, self._wall()))
