# SPDX-FileCopyrightText: 2026 The zenwoq authors
# SPDX-License-Identifier: Apache-2.0
"""A process that runs one peer: ``python -m bench.experts.worker KEY THREADS``; it talks as bench/peers/worker.py."""

from __future__ import annotations

import itertools
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.experts import catalogue
from bench.peers.timer import LONG_PASS_S, Timer
from bench.peers.worker import WORST_ERROR, make_peer, serve

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
        self._peer = make_peer("bench.experts", self._entry, self._threads, {**self._entry.settings, **settings})
        return self._peer.about()

    def prepare(self, block: list[Any], tokens: int, hot: bool, routings: int) -> dict[str, Any]:
        """Packs and warms up. Answers relative_error."""
        from bench.experts.operands import Problem

        problem = Problem(catalogue.Block(*block), self._entry.settings["group"], tokens, hot, routings)
        self._peer.prepare(problem)
        run, indices = self._peer.run, itertools.cycle(range(routings))
        self._timer = Timer(lambda: run(next(indices)))
        self._timer.pass_s = self._timer.passes(1)
        error = problem.relative_error(self._peer.output(0), 0, self._folder)
        if not error < WORST_ERROR:
            raise RuntimeError(f"wrong result, relative error {error:.3g}")
        if self._timer.pass_s < LONG_PASS_S:  # the first run warmed up
            self._timer.pass_s = self._timer.passes(1)
        return {"relative_error": error}

    def measure(self, seconds: float) -> dict[str, Any]:
        """Measures that many seconds, at least one run. Answers us per run, and busy: CPU time over elapsed time."""
        run_s, busy = self._timer.measure(seconds)
        return {"us": run_s * 1e6, "busy": busy}


if __name__ == "__main__":
    serve(Server(sys.argv[1], int(sys.argv[2])))
