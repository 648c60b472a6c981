# SPDX-FileCopyrightText: 2026 The zenwoq authors
# SPDX-License-Identifier: Apache-2.0
"""What the worker needs from a peer."""

from __future__ import annotations

from typing import Any

from bench.experts.operands import Problem
from bench.peers.operands import Array
from bench.peers.peer import Implementation


class Peer(Implementation):
    """An implementation of blocks.

    Its life is: create -> prepare(problem) -> run(index) often, output(index) -> prepare another problem ...
    """

    def __init__(self, threads: int, settings: dict[str, Any]):
        super().__init__(threads, settings)
        self._weights_key: object = None

    def prepare(self, problem: Problem) -> None:
        """Packs the weights if they are new, and binds these tokens; the first run() warms up."""
        if self._weights_key != problem.weights_key:
            self.release()
            self._weights_key = None
            self.pack(problem)
            self._weights_key = problem.weights_key
        self.bind(problem)

    def pack(self, problem: Problem) -> None:
        """Makes what runs need of the weights."""
        raise NotImplementedError

    def bind(self, problem: Problem) -> None:
        """Makes activations, routings and outputs."""
        raise NotImplementedError

    def run(self, index: int) -> None:
        """Runs the block by the routing of this index: what is timed."""
        raise NotImplementedError

    def output(self, index: int) -> Array:
        """The f32 output [T,H] of the last run, which was of this index."""
        raise NotImplementedError
