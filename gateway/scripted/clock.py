"""Time that moves when a test says so."""

from __future__ import annotations


class ManualClock:
    """A clock that stands still until `advance`; it fits wherever the gateway takes a Clock.

    Both readings move together. The starting values are arbitrary but not zero, so that code which takes
    zero for "never" is found out.
    """

    def __init__(self, *, monotonic: float = 1_000.0, time: float = 1_800_000_000.0) -> None:
        self._monotonic, self._time = monotonic, time

    def monotonic(self) -> float:
        """Return seconds since an arbitrary start; they never jump."""
        return self._monotonic

    def time(self) -> float:
        """Return Unix time in seconds."""
        return self._time

    def advance(self, seconds: float) -> None:
        """Move both readings forward. Raises: ValueError for a negative step, which monotonic time cannot take."""
        if seconds < 0:
            raise ValueError(f"advance({seconds}): time only moves forward; use jump() for the wall clock")
        self._monotonic += seconds
        self._time += seconds

    def jump(self, seconds: float) -> None:
        """Set the wall clock forward or back, as an administrator or NTP does; monotonic time is untouched."""
        self._time += seconds
