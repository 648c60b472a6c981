# SPDX-FileCopyrightText: 2026 The zenwoq authors
# SPDX-License-Identifier: Apache-2.0
"""zenwoq itself through its C API, with the Python package's binding; ZENWOQ_LIBRARY names the library."""

from __future__ import annotations

from ctypes import byref, c_size_t, c_void_p
from typing import Any

import numpy as np
from zenwoq import _library, cpu_info
from zenwoq._library import call
from zenwoq._structs import CodeTable, ContextOptions, Dtype, KernelInfo, RunArgs, WeightDesc, WeightSource

from bench.peers.operands import Array, Problem, Weight
from bench.peers.peer import LoopPeer


def about_library() -> dict[str, Any]:
    """What the library says about itself and the CPU."""
    cpu = cpu_info()
    return {
        "version": _library.version(),
        "cpu": cpu.brand.strip(),
        "uarch": cpu.uarch,
        "tier": cpu.tier,
        "tier_reason": cpu.tier_reason,
        "tuning": cpu.tuning,
        "l3_bytes": cpu.l3_bytes,
    }


class Zenwoq(LoopPeer):
    """Layers on a context with as many threads as the others have."""

    def __init__(self, threads: int, settings: dict[str, Any]):
        super().__init__(threads, settings)
        self._run = _library._library().zenwoq_linear_run
        self._context = c_void_p()
        call("zenwoq_context_create", byref(ContextOptions(threads=threads)), byref(self._context))
        self._calls: list[tuple[Any, Any]] = []  # (linear, arguments) of each copy

    def about(self) -> dict[str, Any]:
        """What the library says about itself and the CPU."""
        return about_library()

    def pack(self, weight: Weight) -> c_void_p:
        """A zenwoq_linear: f32 outputs, no bias. It keeps its weight alive."""
        n, half_k = weight.codes.shape
        desc = WeightDesc(n=n, k=2 * half_k, group_size=weight.group, scale_type=Dtype.BFLOAT16)
        desc.table[:] = _library.code_table(CodeTable.MINUS_8)
        source = WeightSource(
            codes=weight.codes.ctypes.data,
            codes_bytes=weight.codes.nbytes,
            scales=weight.scale_bits.ctypes.data,
            scales_bytes=weight.scale_bits.nbytes,
        )
        packed, linear = c_void_p(), c_void_p()
        call("zenwoq_weight_create", self._context, byref(desc), byref(source), byref(packed))
        try:
            call("zenwoq_linear_create", self._context, packed, None, byref(linear))
        finally:
            _library._library().zenwoq_weight_destroy(packed)
        return linear

    def bind(self, problem: Problem) -> None:
        """Generates code and makes the arguments of each copy's call."""
        self._x = problem.x_bits
        self._m = problem.m
        self._calls = []
        for i in range(problem.copies):
            y = self.outputs[i] = np.empty((problem.m, problem.n), np.float32)
            call("zenwoq_linear_prepare", self.packed[i], c_size_t(problem.m))
            arguments = RunArgs(
                m=problem.m,
                x_type=Dtype.BFLOAT16,
                x=self._x.ctypes.data,
                x_bytes=self._x.nbytes,
                y=y.ctypes.data,
                y_bytes=y.nbytes,
            )
            self._calls.append((self.packed[i], byref(arguments)))

    def run(self) -> None:
        """Runs all copies; checks once at the end instead of after each call."""
        run = self._run
        failed = 0
        for linear, arguments in self._calls:
            failed |= run(linear, arguments)
        if failed:
            raise RuntimeError(_library._library().zenwoq_last_error().decode())

    def output(self, index: int) -> Array:
        """The output of a copy."""
        output: Array = self.outputs[index]
        return output

    def release(self) -> None:
        """Destroys the layers."""
        for linear in self.packed:
            _library._library().zenwoq_linear_destroy(linear)
        self._calls = []
        super().release()

    def notes(self) -> str:
        """The names of the kernels that a run uses."""
        count, names, index = c_size_t(1), [], 0
        while index < count.value:
            info = KernelInfo()
            place = c_size_t(self._m), c_size_t(index)
            call("zenwoq_linear_kernel", self.packed[0], *place, byref(count), byref(info))
            names.append(info.name.decode())
            index += 1
        return " ".join(names)
