# SPDX-FileCopyrightText: 2026 The zenwoq authors
# SPDX-License-Identifier: Apache-2.0
"""zenwoq's experts through the C API; ZENWOQ_LIBRARY names the library."""

from __future__ import annotations

from ctypes import POINTER, byref, c_int, c_size_t, c_uint32, c_void_p
from typing import Any

import numpy as np
from zenwoq import _library
from zenwoq._library import call
from zenwoq._structs import Activation, CodeTable, ContextOptions, Dtype, SizedStruct, WeightDesc, WeightSource

from bench.experts.operands import DOWN, GATE, UP, Problem
from bench.experts.peer import Peer
from bench.peers.operands import Array, Weight, bf16_to_f32
from bench.peers.zenwoq_peer import about_library


class ExpertsDesc(SizedStruct):
    """``zenwoq_experts_desc``."""

    _fields_ = [  # noqa: RUF012 - as ctypes wants it
        ("struct_size", c_size_t),
        ("experts", c_size_t),
        ("hidden", c_size_t),
        ("intermediate", c_size_t),
        ("gate", POINTER(c_void_p)),
        ("up", POINTER(c_void_p)),
        ("down", POINTER(c_void_p)),
        ("activation", c_int),
        ("output_type", c_int),
        ("bias_type", c_int),
        ("gate_bias", c_void_p),
        ("gate_bias_bytes", c_size_t),
        ("up_bias", c_void_p),
        ("up_bias_bytes", c_size_t),
        ("down_bias", c_void_p),
        ("down_bias_bytes", c_size_t),
    ]


class ExpertsArgs(SizedStruct):
    """``zenwoq_experts_args``."""

    _fields_ = [  # noqa: RUF012 - as ctypes wants it
        ("struct_size", c_size_t),
        ("tokens", c_size_t),
        ("slots", c_size_t),
        ("x_type", c_int),
        ("x", c_void_p),
        ("ldx", c_size_t),
        ("x_bytes", c_size_t),
        ("ids", c_void_p),
        ("id_bytes", c_size_t),
        ("ids_bytes", c_size_t),
        ("router_type", c_int),
        ("router", c_void_p),
        ("router_bytes", c_size_t),
        ("y", c_void_p),
        ("ldy", c_size_t),
        ("y_bytes", c_size_t),
        ("threads", c_uint32),
        ("reserved", c_uint32),
        ("parallel_for", c_void_p),
        ("parallel_for_user", c_void_p),
    ]


def make_context(threads: int) -> c_void_p:
    """A context of so many threads, for the life of the process."""
    context = c_void_p()
    call("zenwoq_context_create", byref(ContextOptions(threads=threads)), byref(context))
    return context


def make_weight(context: c_void_p, weight: Weight) -> c_void_p:
    """A zenwoq_weight, the caller's: scales in f16 for groups of 32, as GGUF's Q4_0 has them, else in bf16."""
    n, half_k = weight.codes.shape
    f16 = weight.group == 32
    desc = WeightDesc(n=n, k=2 * half_k, group_size=weight.group, scale_type=Dtype.FLOAT16 if f16 else Dtype.BFLOAT16)
    desc.table[:] = _library.code_table(CodeTable.MINUS_8)
    scales = weight.scales().astype(np.float16) if f16 else weight.scale_bits
    source = WeightSource(
        codes=weight.codes.ctypes.data,
        codes_bytes=weight.codes.nbytes,
        scales=scales.ctypes.data,
        scales_bytes=scales.nbytes,
    )
    packed = c_void_p()
    call("zenwoq_weight_create", context, byref(desc), byref(source), byref(packed))
    return packed


class Experts(Peer):
    """``zenwoq_experts_run``: bf16 in and out."""

    def __init__(self, threads: int, settings: dict[str, Any]):
        super().__init__(threads, settings)
        self._run = _library._library().zenwoq_experts_run
        self._context = make_context(threads)
        self._experts = c_void_p()

    def about(self) -> dict[str, Any]:
        """What the library says about itself and the CPU."""
        return about_library()

    def pack(self, problem: Problem) -> None:
        """Makes the experts, which keep their weights alive."""
        block = problem.block
        parts = [(c_void_p * block.experts)() for _ in range(3)]
        try:
            for expert in range(block.experts):
                for part in (GATE, UP, DOWN):
                    parts[part][expert] = make_weight(self._context, problem.weight(expert, part)).value
            desc = ExpertsDesc(
                experts=block.experts,
                hidden=block.hidden,
                intermediate=block.intermediate,
                gate=parts[GATE],
                up=parts[UP],
                down=parts[DOWN],
                activation=Activation.SILU,
                output_type=Dtype.BFLOAT16,
                bias_type=Dtype.FLOAT32,
            )
            call("zenwoq_experts_create", self._context, byref(desc), byref(self._experts))
        finally:
            for weights in parts:
                for weight in weights:
                    _library._library().zenwoq_weight_destroy(c_void_p(weight))

    def bind(self, problem: Problem) -> None:
        """Generates code and makes the arguments of each routing's call."""
        self._problem = problem  # the arguments point into it
        self._y = np.empty(problem.x_bits.shape, np.uint16)
        call("zenwoq_experts_prepare", self._experts, c_size_t(problem.tokens))
        self._arguments = []
        for routing in problem.routings:
            arguments = ExpertsArgs(
                tokens=problem.tokens,
                slots=problem.block.slots,
                x_type=Dtype.BFLOAT16,
                x=problem.x_bits.ctypes.data,
                x_bytes=problem.x_bits.nbytes,
                ids=routing.ids.ctypes.data,
                id_bytes=4,
                ids_bytes=routing.ids.nbytes,
                router_type=Dtype.FLOAT32,
                router=routing.weights.ctypes.data,
                router_bytes=routing.weights.nbytes,
                y=self._y.ctypes.data,
                y_bytes=self._y.nbytes,
            )
            self._arguments.append(byref(arguments))

    def run(self, index: int) -> None:
        """One call."""
        if self._run(self._experts, self._arguments[index]):
            raise RuntimeError(_library._library().zenwoq_last_error().decode())

    def output(self, index: int) -> Array:
        """The output."""
        return bf16_to_f32(self._y)

    def release(self) -> None:
        """Destroys the experts."""
        _library._library().zenwoq_experts_destroy(self._experts)
        self._experts = c_void_p()
