# SPDX-FileCopyrightText: 2026 The zenwoq authors
# SPDX-License-Identifier: Apache-2.0
"""What the worker needs from a peer."""

from __future__ import annotations

from typing import Any

from bench.peers.operands import Array, Problem, Weight


class Implementation:
    """One implementation in one mode, in a separate process, whatever it runs.

    Attributes:
        threads: how many threads a run may use.
        settings: those of the catalogue's entry and of the command line.
    """

    def __init__(self, threads: int, settings: dict[str, Any]):
        self.threads = threads
        self.settings = settings

    def about(self) -> dict[str, Any]:
        """What goes into the JSON; at least "version"."""
        raise NotImplementedError

    def release(self) -> None:
        """Gives back all memory of the last problem's weights."""
        raise NotImplementedError


class Peer(Implementation):
    """An implementation of layers.

    Its life is: create -> prepare(problem) -> run() often, output() -> prepare another problem ...
    """

    def prepare(self, problem: Problem) -> None:
        """Packs copies of the weights and builds what runs this problem, but runs nothing: the first run() warms up."""
        raise NotImplementedError

    def run(self) -> None:
        """A pass, which is what is timed: every copy of the weights once, each into a different output."""
        raise NotImplementedError

    def output(self, index: int) -> Array:
        """The f32 output [M, N] of a copy."""
        raise NotImplementedError

    def notes(self) -> str:
        """Notes for the current problem's row, such as a kernel's name."""
        return ""


class LoopPeer(Peer):
    """A peer that is called once for each copy. Packed weights are kept from one M to the next.

    Attributes:
        packed: what pack() returned for each copy.
        outputs: the output of each copy.
    """

    def __init__(self, threads: int, settings: dict[str, Any]):
        super().__init__(threads, settings)
        self._weights_key: tuple[int, int, int] | None = None
        self.packed: list[Any] = []
        self.outputs: list[Any] = []

    def pack(self, weight: Weight) -> Any:
        """Makes what run() needs of a weight."""
        raise NotImplementedError

    def prepare(self, problem: Problem) -> None:
        """Packs the weights if they are new, and binds this M."""
        if self._weights_key != problem.weights_key or len(self.packed) < problem.copies:
            self.release()
            self.packed = [self.pack(problem.weight(i)) for i in range(problem.copies)]
            self._weights_key = problem.weights_key
        self.outputs = [None] * problem.copies
        self.bind(problem)

    def bind(self, problem: Problem) -> None:
        """Makes activations and outputs for this M. self.packed is there, and may be longer than problem.copies."""
        raise NotImplementedError

    def release(self) -> None:
        """Drops packed weights and outputs."""
        self._weights_key = None
        self.packed = []
        self.outputs = []
