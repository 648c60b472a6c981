# SPDX-FileCopyrightText: 2026 The zenwoq authors
# SPDX-License-Identifier: Apache-2.0
"""What the worker needs from a peer."""

from __future__ import annotations

from typing import Any

from bench.experts.operands import Problem
from bench.peers.operands import Array


class Peer:
    """One implementation in one mode, in a separate process.

    Its life is: create -> prepare(problem) -> run(index) often, output(index) -> prepare another problem ...

    Attributes:
        threads: how many threads a run may use.
        settings: those of the catalogue's entry and of the command line.
    """

    def __init__(self, threads: int, settings: dict[str, Any]):
        self.threads = threads
        self.settings = settings
        self._weights_key: object = None

    def prepare(self, problem: Problem) -> None:
        """Packs the weights if they are new, and binds these tokens; the first run() warms up."""
        if self._weights_key != problem.weights_key:
            self.release()
            self._weights_key = None
            self.pack(problem)
            self._weights_key = problem.weights_key
        self.bind(problem)

    def about(self) -> dict[str, Any]:
        """What goes into the JSON; at least "version"."""
        raise NotImplementedError

    def pack(self, problem: Problem) -> None:
        """Makes what runs need of the weights."""
        raise NotImplementedError

    def bind(self, problem: Problem) -> None:
        """Makes activations, routings and outputs."""
        raise NotImplementedError

    def release(self) -> None:
        """Gives back all memory of the last weights."""
        raise NotImplementedError

    def run(self, index: int) -> None:
        """Runs the block by the routing of this index: what is timed."""
        raise NotImplementedError

    def output(self, index: int) -> Array:
        """The f32 output [T,H] of the last run, which was of this index."""
        raise NotImplementedError
