# SPDX-FileCopyrightText: 2026 The zenwoq authors
# SPDX-License-Identifier: Apache-2.0
"""Times, and the bandwidth that they are compared with."""

from __future__ import annotations

import time
from collections.abc import Callable

import torch
from zenwoq.torch._memory import WeightMemory

MS = 1e3
MIB = 2**20


def bandwidth(mib: int) -> Callable[[], float]:
    """A function that measures the bytes per second that torch's threads read: the best of three sums of `mib` MiB."""
    data = WeightMemory().empty(mib * MIB).view(torch.float32)  # in huge pages, as zenwoq's weights are

    def measure() -> float:
        return data.nbytes / min(seconds(data.sum) for _ in range(3))

    data.fill_(1)
    return measure


def seconds(function: Callable[[], object]) -> float:
    """Time of one call."""
    began = time.perf_counter()
    function()
    return time.perf_counter() - began


def call_seconds(function: Callable[[], object], repeats: int) -> float:
    """Time of a short call, not counting the loop around it: the best of 15 loops."""

    def loop(call: Callable[[], object]) -> float:
        return min(seconds(lambda: [call() for _ in range(repeats)]) for _ in range(15)) / repeats

    return loop(function) - loop(lambda: None)
