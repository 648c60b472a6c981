# SPDX-FileCopyrightText: 2026 The zenwoq authors
# SPDX-License-Identifier: Apache-2.0
"""The order of measurements: all peers hold the same weights, and take turns."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from typing import Any

from bench.peers.process import PeerError, Worker

FEW_ROWS = 16  # up to this M, reading weights costs as much as the arithmetic
PAUSE_S = 0.05  # lets threads of the last peer that still spin fall asleep


def cold_bytes(m: int, l3_bytes: int, few_rows_bytes: int) -> int:
    """The bytes that must pass through the caches before the same weights come again.

    Args:
        m: rows of activations.
        l3_bytes: the CPU's L3.
        few_rows_bytes: the bytes for M up to FEW_ROWS; 0 = chosen here.
    """
    if m <= FEW_ROWS:
        return few_rows_bytes or max(256 << 20, l3_bytes * 5 // 2)
    return min(2 * l3_bytes, few_rows_bytes or 2 * l3_bytes)


def copies(n: int, k: int, m: int, l3_bytes: int, few_rows_bytes: int) -> int:
    """How many copies of W, each with its own y, are used: enough for cold_bytes of codes and f32 y, at least two."""
    return max(2, math.ceil(cold_bytes(m, l3_bytes, few_rows_bytes) / (n * k / 2 + m * n * 4)))


class Measurement:
    """One peer at one shape and M.

    Attributes:
        worker: the peer's worker.
        prepared: its answer to prepare.
        times_us: the time of a layer in each repetition.
        busy: CPU time over elapsed time in each repetition.
    """

    def __init__(self, worker: Worker, prepared: dict[str, Any]):
        self.worker = worker
        self.prepared = prepared
        self.times_us: list[float] = []
        self.busy: list[float] = []


def measure(
    workers: Sequence[Worker],
    shape: dict[str, int],
    repetitions: int,
    seconds: float,
    failed: Callable[[Worker, str], None],
) -> list[Measurement]:
    """Returns the measurements of workers that did not fail; calls failed(worker, text) for the others.

    Repetitions are interleaved, each starting with another peer: what disturbs the machine for a while disturbs all.
    `shape` has n, k, group, m, copies.
    """
    rows = []
    for worker in workers:
        try:
            rows.append(Measurement(worker, worker.ask("prepare", **shape)))
        except PeerError as error:
            failed(worker, str(error))
    for repetition in range(repetitions):
        first = repetition % max(1, len(rows))
        for row in rows[first:] + rows[:first]:
            time.sleep(PAUSE_S)
            try:
                answer = row.worker.ask("measure", seconds=seconds)
            except PeerError as error:
                failed(row.worker, str(error))
                rows = [other for other in rows if other is not row]
                continue
            row.times_us.append(answer["us"])
            row.busy.append(answer["busy"])
    return rows
