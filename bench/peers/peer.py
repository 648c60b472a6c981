# SPDX-FileCopyrightText: 2026 The zenwoq authors
# SPDX-License-Identifier: Apache-2.0
"""What the worker wants of a peer."""

from __future__ import annotations

from typing import Any

from bench.peers.operands import Array, Problem, Weight


class Peer:
    """One implementation in one mode, in a process of its own.

    Life: create -> prepare(problem) -> run() often, output() -> prepare another problem ...

    Attributes:
        threads: how many a layer may use.
        settings: of the catalogue's entry, and those of the command line.
    """

    def __init__(self, threads: int, settings: dict[str, Any]):
        self.threads = threads
        self.settings = settings

    def about(self) -> dict[str, Any]:
        """What goes into the JSON; "version" at least."""
        raise NotImplementedError

    def prepare(self, problem: Problem) -> None:
        """Packs copies of the weights, builds what runs this problem, and no more: the first run() is a warm-up."""
        raise NotImplementedError

    def release(self) -> None:
        """Gives back all memory of the last problem's weights."""
        raise NotImplementedError

    def run(self) -> None:
        """A pass: every copy of the weights once, each into an output of its own. This is what is timed."""
        raise NotImplementedError

    def output(self, index: int) -> Array:
        """Y [M, N] of a copy, f32."""
        raise NotImplementedError

    def notes(self) -> str:
        """Of the problem at hand, for its row: a kernel's name, say."""
        return ""


class LoopPeer(Peer):
    """A peer that is called once for each copy. Packed weights are kept from one M to the next.

    Attributes:
        packed: of each copy, what pack() gave.
        outputs: of each copy.
    """

    def __init__(self, threads: int, settings: dict[str, Any]):
        super().__init__(threads, settings)
        self._weights_key: tuple[int, int, int] | None = None
        self.packed: list[Any] = []
        self.outputs: list[Any] = []

    def pack(self, weight: Weight) -> Any:
        """What run() wants of a weight."""
        raise NotImplementedError

    def prepare(self, problem: Problem) -> None:
        """Packs new weights, binds this M."""
        if self._weights_key != problem.weights_key or len(self.packed) < problem.copies:
            self.release()
            self.packed = [self.pack(problem.weight(i)) for i in range(problem.copies)]
            self._weights_key = problem.weights_key
        self.outputs = [None] * problem.copies
        self.bind(problem)

    def bind(self, problem: Problem) -> None:
        """Activations and outputs of this M; self.packed is there, and may be longer than problem.copies."""
        raise NotImplementedError

    def release(self) -> None:
        """Drops packed weights and outputs."""
        self._weights_key = None
        self.packed = []
        self.outputs = []
