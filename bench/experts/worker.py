# SPDX-FileCopyrightText: 2026 The zenwoq authors
# SPDX-License-Identifier: Apache-2.0
"""A process that runs one peer: ``python -m bench.experts.worker KEY THREADS``; it talks as bench/peers/worker.py."""

from __future__ import annotations

import importlib
import itertools
import math
import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.experts import catalogue
from bench.peers.worker import LONG_PASS_S, WORST_ERROR, serve

if TYPE_CHECKING:
    from bench.experts.peer import Peer


class Server:
    """Serves the commands, which are its methods without an underscore."""

    def __init__(self, key: str, threads: int):
        self._entry = next(entry for entry in catalogue.ENTRIES if entry.key == key)
        self._threads = threads
        self._peer: Peer

    def start(self, folder: str, settings: dict[str, Any]) -> dict[str, Any]:
        """Imports the peer's library, which may be missing, and makes the peer.

        Args:
            folder: one that all workers share, for exact results.
            settings: those of the command line.
        """
        # As many CPUs as threads, so that no peer has the help of others.
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: self._threads])
        self._folder = Path(folder)
        module = importlib.import_module(f"bench.experts.{self._entry.module}")
        self._peer = getattr(module, self._entry.class_name)(self._threads, {**self._entry.settings, **settings})
        return self._peer.about()

    def prepare(self, block: list[Any], tokens: int, hot: bool, routings: int) -> dict[str, Any]:
        """Packs and warms up. Answers relative_error."""
        from bench.experts.operands import Problem

        problem = Problem(catalogue.Block(*block), self._entry.settings["group"], tokens, hot, routings)
        self._peer.prepare(problem)
        self._indices = itertools.cycle(range(routings))
        self._run_s = self._runs(1)
        error = problem.relative_error(self._peer.output(0), 0, self._folder)
        if not error < WORST_ERROR:
            raise RuntimeError(f"wrong result, relative error {error:.3g}")
        if self._run_s < LONG_PASS_S:  # the first run warmed up
            self._run_s = self._runs(1)
        return {"relative_error": error}

    def measure(self, seconds: float) -> dict[str, Any]:
        """Measures that many seconds, at least one run. Answers us per run, and busy: CPU time over elapsed time."""
        if self._run_s < LONG_PASS_S:
            self._runs(1)
        cpu = time.process_time_ns()
        wall = time.perf_counter_ns()
        run_s = self._runs(max(1, math.ceil(seconds / self._run_s)))
        busy = (time.process_time_ns() - cpu) / (time.perf_counter_ns() - wall)
        return {"us": run_s * 1e6, "busy": busy}

    def _runs(self, count: int) -> float:
        """The mean seconds of a run, over `count` runs."""
        run, indices = self._peer.run, self._indices
        start = time.perf_counter_ns()
        for _ in range(count):
            run(next(indices))
        return (time.perf_counter_ns() - start) * 1e-9 / count


if __name__ == "__main__":
    serve(Server(sys.argv[1], int(sys.argv[2])))
