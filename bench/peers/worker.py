# SPDX-FileCopyrightText: 2026 The zenwoq authors
# SPDX-License-Identifier: Apache-2.0
"""A process that runs one peer: ``python -m bench.peers.worker KEY THREADS``.

Commands come on stdin and answers go to stdout, one JSON object a line. An answer has "error" if the command failed;
the process then still serves the next.
"""

from __future__ import annotations

import ctypes
import gc
import importlib
import json
import math
import os
import resource
import sys
from typing import TYPE_CHECKING, Any

from bench.peers import catalogue
from bench.peers.catalogue import Entry
from bench.peers.timer import Timer

if TYPE_CHECKING:
    from bench.peers.operands import Problem
    from bench.peers.peer import Peer

CALL_COPIES = 32
WORST_ERROR = 0.05  # more is no rounding: the peer computed something else
LEAST_WEIGHTS = 1 << 26  # with fewer weights, the process's memory says nothing about a single one
FOUR_BIT_BYTES = 1.5  # most bytes of a weight without scales: packed beside the original is 1.0, unpacked to bf16 2.0
SCALE_BYTES = 12  # most bytes of a group's scale: f32 beside the original, and its sum


def resident_bytes() -> int:
    """The resident memory of this process, after all free memory has been given back."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * resource.getpagesize()


def make_peer(package: str, entry: Entry, threads: int, settings: dict[str, Any]) -> Any:
    """Imports the library of a package's peer, which may be missing, and makes the peer."""
    module = importlib.import_module(f"{package}.{entry.module}")
    return getattr(module, entry.class_name)(threads, settings)


class Server:
    """Serves the commands, which are its methods without an underscore."""

    def __init__(self, key: str, threads: int):
        self._entry = next(entry for entry in catalogue.ENTRIES if entry.key == key)
        self._threads = threads
        self._peer: Peer
        self._weights_key: tuple[int, int, int] | None = None

    def start(self) -> dict[str, Any]:
        """Imports the peer's library, which may be missing, and makes the peer."""
        self._peer = make_peer("bench.peers", self._entry, self._threads, self._entry.settings)
        self._timer = Timer(self._peer.run)
        return self._peer.about()

    def call(self, k: int) -> dict[str, Any]:
        """Answers the microseconds of a call with hardly any work: 64 x k, one row."""
        self._prepare(64, k, k, 1, CALL_COPIES)
        best = math.inf
        for _ in range(20):
            best = min(best, self._timer.passes(10))
        self._peer.release()
        return {"call_us": best * 1e6 / CALL_COPIES}

    def prepare(self, n: int, k: int, group: int, m: int, copies: int) -> dict[str, Any]:
        """Packs and warms up. Answers relative_error, notes, and with new weights bytes_per_weight (None: too few)."""
        new = self._weights_key != (n, k, group)
        if new:
            self._peer.release()
            before = resident_bytes()
        problem = self._prepare(n, k, group, m, copies)
        self._weights_key = (n, k, group)
        answer: dict[str, Any] = {"notes": self._peer.notes()}
        if new:
            output_bytes = copies * m * n * (2 if self._entry.output == "bf16" else 4)
            weights = copies * n * k
            each = (resident_bytes() - before - output_bytes) / weights if weights >= LEAST_WEIGHTS else None
            answer["bytes_per_weight"] = each
            if self._entry.four_bit and each and each > FOUR_BIT_BYTES + SCALE_BYTES / group:
                raise RuntimeError(f"a weight takes {each:.2f} bytes: it is not kept in 4 bits")
        # The last copy, because a peer that used one copy for all would be far off.
        answer["relative_error"] = problem.relative_error(self._peer.output(copies - 1), copies - 1)
        if not answer["relative_error"] < WORST_ERROR:
            raise RuntimeError(f"wrong result, relative error {answer['relative_error']:.3g}")
        self._timer.pass_s = self._timer.passes(1)
        return answer

    def measure(self, seconds: float) -> dict[str, Any]:
        """Measures that many seconds, at least one pass. Answers us per layer, and busy: CPU time over elapsed time."""
        pass_s, busy = self._timer.measure(seconds)
        return {"us": pass_s * 1e6 / self._copies, "busy": busy}

    def _prepare(self, n: int, k: int, group: int, m: int, copies: int) -> Problem:
        from bench.peers.operands import Problem

        self._weights_key = None
        self._copies = copies
        problem = Problem(n, k, group, m, copies)
        self._peer.prepare(problem)
        self._peer.run()
        return problem


def serve(server: Any) -> None:
    """Answers requests with the methods of `server` until stdin ends."""
    # Whatever a library prints goes to stderr: stdout is for answers.
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    gc.disable()  # a collection in the middle of a pass would be timed
    for line in sys.stdin:
        request = json.loads(line)
        try:
            answer = getattr(server, request.pop("command"))(**request)
        except Exception as error:  # whatever a library raises is the answer
            answer = {"error": " ".join(f"{type(error).__name__}: {error}".split())[:500]}
        print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    serve(Server(sys.argv[1], int(sys.argv[2])))
