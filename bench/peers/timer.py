# SPDX-FileCopyrightText: 2026 The zenwoq authors
# SPDX-License-Identifier: Apache-2.0
"""The time of a pass."""

from __future__ import annotations

import math
import time
from collections.abc import Callable

LONG_PASS_S = 0.5  # if a pass takes this long, there is no untimed pass before each timed one


class Timer:
    """Times passes.

    Attributes:
        pass_s: the seconds of one, as far as is known before it is measured; to be set.
    """

    def __init__(self, run: Callable[[], object]):
        self._run = run
        self.pass_s = 0.0

    def passes(self, count: int) -> float:
        """The mean seconds of a pass, over `count` passes."""
        run = self._run
        start = time.perf_counter_ns()
        for _ in range(count):
            run()
        return (time.perf_counter_ns() - start) * 1e-9 / count

    def measure(self, seconds: float) -> tuple[float, float]:
        """Measures that many seconds, at least one pass. Returns the seconds of one, and CPU time over elapsed time."""
        if self.pass_s < LONG_PASS_S:
            self.passes(1)
        cpu = time.process_time_ns()
        wall = time.perf_counter_ns()
        pass_s = self.passes(max(1, math.ceil(seconds / self.pass_s)))
        busy = (time.process_time_ns() - cpu) / (time.perf_counter_ns() - wall)
        return pass_s, busy
