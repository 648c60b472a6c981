# SPDX-FileCopyrightText: 2026 The zenwoq authors
# SPDX-License-Identifier: Apache-2.0
"""Time and memory of zenwoq.torch.optimize."""

from __future__ import annotations

import gc
import multiprocessing
import os
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import torch
import zenwoq.torch

from bench.llm.llama import quantized
from bench.llm.report import Row
from bench.llm.sizes import Sizes
from bench.llm.timing import MIB, seconds


def cost(sizes: Sizes, threads: int) -> dict[str, float]:
    """Time and memory of optimize in this process: the MiB that it has before, at most, and after."""
    torch.set_num_threads(threads)
    model = quantized(sizes, "intx")
    before = resident("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # resets the peak
    took = seconds(lambda: zenwoq.torch.optimize(model, progress=False))
    peak = resident("VmHWM")
    return {"seconds": took, "before_mib": before, "peak_mib": peak, "after_mib": resident("VmRSS")}


def resident(name: str) -> float:
    """The figure of a line of /proc/self/status, in MiB."""
    gc.collect()
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(name)).split()[1]) / 1024


def optimize_row(sizes: Sizes, threads: int) -> Row:
    """Measures the Llama's intx layers in a new process, so that the peak is theirs, which returns all freed memory."""
    os.environ["MALLOC_MMAP_THRESHOLD_"] = str(MIB // 4)
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        values: dict[str, Any] = pool.submit(cost, sizes, threads).result()
    del os.environ["MALLOC_MMAP_THRESHOLD_"]
    values["peak_over_before_mib"] = values["peak_mib"] - values["before_mib"]
    note = "peak {peak_over_before_mib:.0f} MiB over the {before_mib:.0f} before, {after_mib:.0f} after".format(
        **values
    )
    return Row("optimize", "the llama's intx layers", f"{values['seconds']:.2f} s", "", note, values)
