# SPDX-FileCopyrightText: 2026 The zenwoq authors
# SPDX-License-Identifier: Apache-2.0
"""The enums and structs of zenwoq/zenwoq.h and zenwoq/formats.h, for ctypes."""

from __future__ import annotations

import ctypes
import enum
from ctypes import POINTER, c_char, c_char_p, c_float, c_int, c_size_t, c_uint32, c_uint64, c_void_p
from typing import Any


class Dtype(enum.IntEnum):
    """Element types: ``zenwoq_dtype``."""

    FLOAT32 = 1
    FLOAT16 = 2
    BFLOAT16 = 3
    # Of scales alone.
    E8M0 = 4
    E4M3 = 5
    U8_F16 = 6
    S8_F16 = 7

    @property
    def bytes(self) -> int:
        """The size of an element in bytes; of scales of two levels their first."""
        return 4 if self is Dtype.FLOAT32 else 2 if self <= Dtype.BFLOAT16 else 1

    @property
    def text(self) -> str:
        """The name that NumPy and torch give it: ``"bfloat16"``; of scales alone, ours: ``"e8m0"``."""
        return self.name.lower()

    @property
    def array_text(self) -> str:
        """The type of an array that holds it: of scales alone, ``"uint8"``."""
        return self.text if self <= Dtype.BFLOAT16 else "uint8"


class ZeroKind(enum.IntEnum):
    """What the zeros of a weight are: ``zenwoq_zero_kind``."""

    NONE = 0
    INTEGER = 1
    OFFSET = 2
    FLOAT = 3


class CodeLayout(enum.IntEnum):
    """How codes lie in memory: ``zenwoq_code_layout``."""

    NIBBLES = 0
    U8 = 1
    S8 = 2
    GGUF_Q4_0 = 3
    GGUF_Q4_1 = 4
    GGUF_MXFP4 = 5
    GGUF_Q4_K = 6
    GGUF_IQ4_XS = 7
    NIBBLES_HIGH = 8
    GPTQ = 9
    AWQ = 10
    AWQ_FAST = 11
    ATEN_64 = 12
    ATEN_32 = 13


class CodeTable(enum.IntEnum):
    """The usual tables of values: ``zenwoq_code_table``."""

    MINUS_8 = 0
    TWOS_COMPLEMENT = 1
    UNSIGNED = 2
    NF4 = 3
    FP4 = 4
    E2M1 = 5
    IQ4_NL = 6


class Activation(enum.IntEnum):
    """Functions of a product's sums: ``zenwoq_activation``."""

    NONE = 0
    RELU = 1
    SILU = 2
    GELU = 3
    GELU_TANH = 4
    SWIGLU_OAI = 5  # of gated products alone


class SizedStruct(ctypes.Structure):
    """A struct that starts with struct_size, which this class fills."""

    def __init__(self, **values: Any):
        super().__init__(**values)
        self.struct_size = ctypes.sizeof(self)


class ContextOptions(SizedStruct):
    """``zenwoq_context_options``."""

    _fields_ = [
        ("struct_size", c_size_t),
        ("threads", c_uint32),
        ("max_tier", c_int),
        ("tuning", c_char_p),
        ("code_bytes_max", c_size_t),
        ("parallel_for", c_void_p),
        ("parallel_for_user", c_void_p),
        ("log", c_void_p),
        ("log_user", c_void_p),
    ]


class WeightDesc(SizedStruct):
    """``zenwoq_weight_desc``."""

    _fields_ = [
        ("struct_size", c_size_t),
        ("n", c_size_t),
        ("k", c_size_t),
        ("group_size", c_size_t),
        ("scale_type", c_int),
        ("zero_kind", c_int),
        ("table", c_float * 16),
        ("zero_type", c_int),
        ("tensor_scale_kind", c_int),
        ("tensor_scale", c_float),
        ("permuted", c_uint32),
        ("x_scaled", c_uint32),
        ("reserved", c_uint32),
    ]

    @property
    def groups(self) -> int:
        """The number of groups in a row."""
        return 1 if self.group_size == 0 else -(-self.k // self.group_size)


class WeightSource(SizedStruct):
    """``zenwoq_weight_source``."""

    _fields_ = [
        ("struct_size", c_size_t),
        ("code_layout", c_int),
        ("codes", c_void_p),
        ("codes_bytes", c_size_t),
        ("codes_row_bytes", c_size_t),
        ("scales", c_void_p),
        ("scales_bytes", c_size_t),
        ("zeros", c_void_p),
        ("zeros_bytes", c_size_t),
        ("parameters_by_group", c_uint32),
        ("reserved", c_uint32),
        ("super_scales", c_void_p),
        ("super_scales_bytes", c_size_t),
        ("super_offsets", c_void_p),
        ("super_offsets_bytes", c_size_t),
        ("permutation", c_void_p),
        ("permutation_bytes", c_size_t),
        ("x_scale", c_void_p),
        ("x_scale_bytes", c_size_t),
    ]


class WeightExtras(SizedStruct):
    """``zenwoq_weight_extras``."""

    _fields_ = [
        ("struct_size", c_size_t),
        ("super_scales", c_void_p),
        ("super_scales_bytes", c_size_t),
        ("super_offsets", c_void_p),
        ("super_offsets_bytes", c_size_t),
        ("permutation", c_void_p),
        ("permutation_bytes", c_size_t),
        ("x_scale", c_void_p),
        ("x_scale_bytes", c_size_t),
    ]


class Packed(SizedStruct):
    """``zenwoq_packed``."""

    _fields_ = [
        ("struct_size", c_size_t),
        ("packed", c_void_p),
        ("packed_bytes", c_size_t),
        ("n", c_size_t),
        ("k", c_size_t),
    ]


class LinearDesc(SizedStruct):
    """``zenwoq_linear_desc``."""

    _fields_ = [
        ("struct_size", c_size_t),
        ("output_type", c_int),
        ("bias_type", c_int),
        ("bias", c_void_p),
        ("bias_bytes", c_size_t),
        ("activation", c_int),
        ("factors", c_uint32),
        ("residuals", c_uint32),
        ("halves", c_uint32),
        ("up", c_void_p),
        ("up_packed", c_void_p),
        ("up_bias", c_void_p),
        ("up_bias_bytes", c_size_t),
    ]


class Matrix(ctypes.Structure):
    """``zenwoq_matrix``."""

    _fields_ = [
        ("data", c_void_p),
        ("ld", c_size_t),
        ("bytes", c_size_t),
    ]


class RunArgs(SizedStruct):
    """``zenwoq_run_args``."""

    _fields_ = [
        ("struct_size", c_size_t),
        ("m", c_size_t),
        ("x_type", c_int),
        ("x", c_void_p),
        ("ldx", c_size_t),
        ("x_bytes", c_size_t),
        ("y", c_void_p),
        ("ldy", c_size_t),
        ("y_bytes", c_size_t),
        ("workspace", c_void_p),
        ("workspace_bytes", c_size_t),
        ("threads", c_uint32),
        ("reserved", c_uint32),
        ("parallel_for", c_void_p),
        ("parallel_for_user", c_void_p),
        ("factor", Matrix),
        ("residual", Matrix * 2),
    ]


class CpuInfoStruct(SizedStruct):
    """``zenwoq_cpu_info``."""

    _fields_ = [
        ("struct_size", c_size_t),
        ("vendor", c_char * 16),
        ("brand", c_char * 64),
        ("uarch", c_char * 16),
        ("tuning", c_char * 16),
        ("family", c_uint32),
        ("model", c_uint32),
        ("stepping", c_uint32),
        ("avx2", c_uint32),
        ("avx512bf16", c_uint32),
        ("l1d_bytes", c_uint64),
        ("l2_bytes", c_uint64),
        ("l3_bytes", c_uint64),
        ("cache_source", c_char * 16),
        ("threads", c_uint32),
        ("tier", c_int),
        ("tier_reason", c_char * 192),
        ("code_memory", c_char * 192),
    ]


class KernelInfo(SizedStruct):
    """``zenwoq_kernel_info``."""

    _fields_ = [
        ("struct_size", c_size_t),
        ("name", c_char * 128),
        ("tier", c_int),
        ("address", c_void_p),
        ("code_bytes", c_size_t),
        ("generation_ns", c_uint64),
        ("reason", c_char * 192),
    ]


class CheckpointOptions(SizedStruct):
    """``zenwoq_checkpoint_options``."""

    _fields_ = [("struct_size", c_size_t), ("opaque_layout", c_int), ("reserved", c_uint32)]


class Tensor(SizedStruct):
    """``zenwoq_tensor``."""

    _fields_ = [
        ("struct_size", c_size_t),
        ("name", c_char_p),
        ("type", c_char_p),
        ("shape", POINTER(c_uint64)),
        ("rank", c_size_t),
        ("data", c_void_p),
        ("data_bytes", c_size_t),
    ]


class Tensors(SizedStruct):
    """``zenwoq_tensors``."""

    _fields_ = [
        ("struct_size", c_size_t),
        ("tensors", POINTER(Tensor)),
        ("count", c_size_t),
        ("config", c_char_p),
        ("metadata", c_char_p),
    ]


class TensorInfo(SizedStruct):
    """``zenwoq_tensor_info``."""

    _fields_ = [
        ("struct_size", c_size_t),
        ("kind", c_int),
        ("has_bias", c_uint32),
        ("name", c_char_p),
        ("reason", c_char_p),
        ("format", c_char_p),
        ("quantization", c_char_p),
        ("n", c_size_t),
        ("k", c_size_t),
        ("experts", c_size_t),
        ("source_bytes", c_uint64),
        ("packed_bytes", c_uint64),
        ("bias_type", c_int),
        ("reserved", c_uint32),
        ("type", c_char_p),
        ("rank", c_uint32),
        ("values_type", c_int),
        ("shape", c_uint64 * 8),
    ]


class ConvertOptions(SizedStruct):
    """``zenwoq_convert_options``."""

    _fields_ = [
        ("struct_size", c_size_t),
        ("skip", c_uint32),
        ("reserved", c_uint32),
        ("progress", c_void_p),
        ("progress_user", c_void_p),
    ]
