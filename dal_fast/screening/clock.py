"""How long the stages of a screening take."""

from __future__ import annotations

import time


class Clock:
    """Seconds per stage."""

    def __init__(self, before: dict[str, float]) -> None:
        self.seconds = dict(before)
        self._last = time.perf_counter()

    def lap(self, stage: str) -> dict[str, float]:
        """End a stage; seconds of all so far."""
        now = time.perf_counter()
        self.seconds[stage] = now - self._last
        self._last = now
        return self.seconds
