# SPDX-FileCopyrightText: 2026 The zenwoq authors
# SPDX-License-Identifier: Apache-2.0
"""Times, and the bandwidth that they are compared with."""

from __future__ import annotations

import time
from collections.abc import Callable

import torch

MS = 1e3
MIB = 2**20


def bandwidth(mib: int) -> float:
    """Bytes a second that torch's threads read: the best of ten sums over so many MiB of float32."""
    data = torch.ones(mib * MIB // 4)
    return data.nbytes / min(seconds(data.sum) for _ in range(10))


def seconds(function: Callable[[], object]) -> float:
    """Time of one call."""
    began = time.perf_counter()
    function()
    return time.perf_counter() - began


def call_seconds(function: Callable[[], object], repeats: int) -> float:
    """Time of a short call, without that of the loop: the best of 15 loops."""

    def loop(call: Callable[[], object]) -> float:
        return min(seconds(lambda: [call() for _ in range(repeats)]) for _ in range(15)) / repeats

    return loop(function) - loop(lambda: None)
