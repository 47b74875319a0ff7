"""The real clock."""

from __future__ import annotations

import time


class SystemClock:
    """Time as the system tells it, in seconds."""

    monotonic = staticmethod(time.monotonic)
    time = staticmethod(time.time)
