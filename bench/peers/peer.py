# SPDX-FileCopyrightText: 2026 The zenwoq authors
# SPDX-License-Identifier: Apache-2.0
#
# What the worker wants of a peer.


class Peer:
    """One implementation in one mode, in a process of its own.

    Life: create -> prepare(problem) -> run() often, output() -> prepare another problem ..."""

    def __init__(self, threads, settings):
        """threads: how many a layer may use. settings: of the catalogue's entry, and those of the command line."""
        self.threads = threads
        self.settings = settings

    def about(self):
        """A dict of texts for the JSON; "version" at least."""
        raise NotImplementedError

    def prepare(self, problem):
        """Packs copies of the weights, builds what runs this problem, and no more: the first run() is a warm-up."""
        raise NotImplementedError

    def release(self):
        """Gives back all memory of the last problem's weights."""
        raise NotImplementedError

    def run(self):
        """A pass: every copy of the weights once, each into an output of its own. This is what is timed."""
        raise NotImplementedError

    def output(self, index):
        """y [M, N] of a copy, f32."""
        raise NotImplementedError

    def notes(self):
        """Of the problem at hand, for its row: a kernel's name, say."""
        return ""


class LoopPeer(Peer):
    """A peer that is called once for each copy. Packed weights are kept from one M to the next."""

    def __init__(self, threads, settings):
        super().__init__(threads, settings)
        self._weights_key = None
        self.packed = []  # of each copy, what pack() gave
        self.outputs = []

    def pack(self, weight):
        """operands.Weight -> what run() wants."""
        raise NotImplementedError

    def prepare(self, problem):
        if self._weights_key != problem.weights_key or len(self.packed) < problem.copies:
            self.release()
            self.packed = [self.pack(problem.weight(i)) for i in range(problem.copies)]
            self._weights_key = problem.weights_key
        self.outputs = [None] * problem.copies
        self.bind(problem)

    def bind(self, problem):
        """Activations and outputs of this M; self.packed is there, and may be longer than problem.copies."""
        raise NotImplementedError

    def release(self):
        self._weights_key = None
        self.packed = []
        self.outputs = []
