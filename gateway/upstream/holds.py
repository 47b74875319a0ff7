"""Targets that an operator keeps requests from: drained until that is undone, or at rest for a while.

One for all snapshots of a process. With several workers the hub has the list and tells every worker; a hub that is
new learns it from them, so that nothing is forgotten before the last process ends.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, Literal

Hold = Literal["drained", "resting"]
LONGEST_S: Final = 7 * 86400.0


class Holds:
    """`now` is monotonic, the machine's own, which its processes share.

    `names` are the targets that are held; it may still have one whose rest is over, until somebody looks.
    """

    __slots__ = ("_drained", "_now", "_rests", "names", "version")

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._drained: set[str] = set()
        self._rests: dict[str, float] = {}
        self.names: frozenset[str] = frozenset()
        self.version = 0
        """Grows with each change: of two lists the one with the higher is the newer."""

    def of(self, target: str) -> Hold | None:
        """Return what holds a target, None when nothing does."""
        if target not in self.names:
            return None
        if target in self._drained:
            return "drained"
        if self.rests_s(target) > 0.0:
            return "resting"
        del self._rests[target]
        self._name()
        return None

    def rests_s(self, target: str) -> float:
        """Return for how long a target still rests; 0 when it does not."""
        return max(0.0, self._rests.get(target, 0.0) - self._now())

    def rest(self, target: str, seconds: float) -> None:
        """Send nothing to a target for so long; 0 ends its rest."""
        if seconds > 0:
            self._rests[target] = self._now() + min(seconds, LONGEST_S)
        else:
            self._rests.pop(target, None)
        self._changed()

    def drain(self, target: str) -> None:
        """Send nothing new to a target until `undrain`."""
        self._drained.add(target)
        self._changed()

    def undrain(self, target: str) -> None:
        """Let a target have requests again, its rest ended too."""
        self._drained.discard(target)
        self._rests.pop(target, None)
        self._changed()

    def told(self) -> dict[str, Any]:
        """Return the list as it is told to another process."""
        return {"version": self.version, "drained": sorted(self._drained), "rests": self._rests}

    def learn(self, told: dict[str, Any]) -> None:
        """Take another process's list if it is the newer one."""
        if told["version"] > self.version:
            self._drained, self._rests = set(told["drained"]), dict(told["rests"])
            self.version = told["version"]
            self._name()

    def _changed(self) -> None:
        self.version += 1
        self._name()

    def _name(self) -> None:
        self.names = frozenset(self._drained | self._rests.keys())
