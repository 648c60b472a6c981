# SPDX-FileCopyrightText: 2026 The zenwoq authors
# SPDX-License-Identifier: Apache-2.0
"""The C library through ctypes: the structs of zenwoq.h, and statuses as exceptions.

The environment variable ``ZENWOQ_LIBRARY`` names the ``libzenwoq.so`` to load instead of the package's own: the package
can then be used from the source tree, on a library that was just built.
"""

from __future__ import annotations

import contextlib
import ctypes
import enum
import functools
import mmap
import os
from collections.abc import Callable
from ctypes import POINTER, byref, c_char, c_char_p, c_float, c_int, c_size_t, c_uint32, c_uint64, c_void_p
from pathlib import Path
from typing import Any

PACKED_ALIGNMENT = 64  # ZENWOQ_PACKED_ALIGNMENT, of borrowed packed bytes


class Error(RuntimeError):
    """A call of the C library that failed.

    Attributes:
        status: name of the C status, such as ``"ZENWOQ_ERROR_BAD_PACKED"``.
    """

    def __init__(self, status: str, text: str):
        super().__init__(f"{text} ({status})")
        self.status = status


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


class _Sized(ctypes.Structure):
    """A struct that starts with struct_size, which this class fills."""

    def __init__(self, **values: Any):
        super().__init__(**values)
        self.struct_size = ctypes.sizeof(self)


class ContextOptions(_Sized):
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


class WeightDesc(_Sized):
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


class WeightSource(_Sized):
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


class WeightExtras(_Sized):
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


class Packed(_Sized):
    """``zenwoq_packed``."""

    _fields_ = [
        ("struct_size", c_size_t),
        ("packed", c_void_p),
        ("packed_bytes", c_size_t),
        ("n", c_size_t),
        ("k", c_size_t),
    ]


class LinearDesc(_Sized):
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


class RunArgs(_Sized):
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


class CpuInfoStruct(_Sized):
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


class KernelInfo(_Sized):
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


class CheckpointOptions(_Sized):
    """``zenwoq_checkpoint_options``."""

    _fields_ = [("struct_size", c_size_t), ("opaque_layout", c_int), ("reserved", c_uint32)]


class Tensor(_Sized):
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


class Tensors(_Sized):
    """``zenwoq_tensors``."""

    _fields_ = [
        ("struct_size", c_size_t),
        ("tensors", POINTER(Tensor)),
        ("count", c_size_t),
        ("config", c_char_p),
        ("metadata", c_char_p),
    ]


class TensorInfo(_Sized):
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


class ConvertOptions(_Sized):
    """``zenwoq_convert_options``."""

    _fields_ = [
        ("struct_size", c_size_t),
        ("skip", c_uint32),
        ("reserved", c_uint32),
        ("progress", c_void_p),
        ("progress_user", c_void_p),
    ]


_SIGNATURES: dict[str, list[Any]] = {
    "zenwoq_code_table_fill": [c_int, POINTER(c_float)],
    "zenwoq_context_create": [POINTER(ContextOptions), POINTER(c_void_p)],
    "zenwoq_context_cpu_info": [c_void_p, POINTER(CpuInfoStruct)],
    "zenwoq_packed_cut": [c_void_p, c_size_t, c_size_t, c_size_t, POINTER(c_void_p), POINTER(c_size_t)],
    "zenwoq_packed_describe": [POINTER(Packed), POINTER(WeightDesc)],
    "zenwoq_packed_run": [c_void_p, POINTER(Packed), POINTER(LinearDesc), POINTER(RunArgs)],
    "zenwoq_weight_dequantize": [c_void_p, c_size_t, c_size_t, c_void_p, c_size_t],
    "zenwoq_weight_packed": [c_void_p, POINTER(c_void_p), POINTER(c_size_t)],
    "zenwoq_weight_open": [c_void_p, c_size_t, c_int, POINTER(c_void_p)],
    "zenwoq_weight_pack": [POINTER(WeightDesc), POINTER(WeightSource), c_size_t, c_size_t, c_void_p, c_size_t],
    "zenwoq_weight_packed_bytes": [POINTER(WeightDesc), POINTER(c_size_t)],
    "zenwoq_weight_slice": [c_void_p, c_size_t, c_size_t, c_size_t, c_size_t, c_void_p, c_size_t],
    "zenwoq_weight_slice_bytes": [c_void_p, c_size_t, c_size_t, c_size_t, c_size_t, POINTER(c_size_t)],
    "zenwoq_weight_unpack_extras": [c_void_p, POINTER(WeightExtras)],
    "zenwoq_weight_unpack": [c_void_p, c_void_p, c_size_t, c_void_p, c_size_t, c_void_p, c_size_t],
    "zenwoq_weights_join": [POINTER(c_void_p), c_size_t, c_void_p, c_size_t],
    "zenwoq_weights_join_bytes": [POINTER(c_void_p), c_size_t, POINTER(c_size_t)],
}

_FORMATS_SIGNATURES: dict[str, list[Any]] = {
    "zenwoq_checkpoint_bias": [c_void_p, c_size_t, c_size_t, c_int, c_void_p, c_size_t],
    "zenwoq_checkpoint_config": [c_void_p, POINTER(c_void_p), POINTER(c_size_t)],
    "zenwoq_checkpoint_convert": [c_void_p, c_void_p, c_char_p, POINTER(ConvertOptions)],
    "zenwoq_checkpoint_count": [c_void_p, POINTER(c_size_t)],
    "zenwoq_checkpoint_find": [c_void_p, c_char_p, POINTER(c_size_t)],
    "zenwoq_checkpoint_info": [c_void_p, c_size_t, POINTER(TensorInfo)],
    "zenwoq_checkpoint_load": [c_void_p, c_size_t, c_size_t, c_void_p, POINTER(c_void_p)],
    "zenwoq_checkpoint_map": [c_void_p, c_size_t, c_size_t, POINTER(c_void_p)],
    "zenwoq_checkpoint_open": [c_char_p, POINTER(CheckpointOptions), POINTER(c_void_p)],
    "zenwoq_checkpoint_open_tensors": [POINTER(Tensors), POINTER(CheckpointOptions), POINTER(c_void_p)],
    "zenwoq_checkpoint_values": [c_void_p, c_size_t, c_int, c_void_p, c_size_t],
    "zenwoq_checkpoint_verify": [c_void_p],
}


def folder() -> Path:
    """Where the package's shared libraries are."""
    return Path(__file__).parent.absolute()


def library_path() -> Path:
    """The C library: the package's own, or the one that ``ZENWOQ_LIBRARY`` names."""
    return Path(os.environ.get("ZENWOQ_LIBRARY") or folder() / "libzenwoq.so")


@functools.cache
def _library() -> ctypes.CDLL:
    library = ctypes.CDLL(str(library_path()))
    _declare(library, _SIGNATURES)
    for name in ("zenwoq_last_error", "zenwoq_version"):
        getattr(library, name).restype = c_char_p
    for name in ("zenwoq_status_name", "zenwoq_tier_name", "zenwoq_weight_text"):
        getattr(library, name).restype = c_char_p
    library.zenwoq_status_name.argtypes = [c_int]
    library.zenwoq_tier_name.argtypes = [c_int]
    library.zenwoq_weight_text.argtypes = [c_void_p]
    library.zenwoq_weight_destroy.argtypes = [c_void_p]
    library.zenwoq_weight_destroy.restype = None
    return library


def _declare(library: ctypes.CDLL, signatures: dict[str, list[Any]]) -> None:
    for name, arguments in signatures.items():
        function = getattr(library, name)
        function.restype = c_int
        function.argtypes = arguments


@functools.cache
def _formats() -> ctypes.CDLL:
    """The library of formats, beside the C library; in a build folder, in the folder of its own."""
    _library()  # which it needs, and which is found by where it lies
    name = "libzenwoq-formats.so"
    path = library_path().with_name(name)
    library = ctypes.CDLL(str(path if path.exists() else path.parent.parent / "formats" / name))
    _declare(library, _FORMATS_SIGNATURES)
    library.zenwoq_checkpoint_destroy.argtypes = [c_void_p]
    library.zenwoq_checkpoint_destroy.restype = None
    return library


def version() -> str:
    """The C library's version."""
    return str(_library().zenwoq_version().decode())


def tier_name(tier: int) -> str:
    """The name of a tier: ``"avx512bf16"``."""
    return str(_library().zenwoq_tier_name(tier).decode())


# Statuses that mean what Python's ValueError means.
_VALUE_ERRORS = (
    "ZENWOQ_ERROR_BAD_FILE",
    "ZENWOQ_ERROR_BUFFER_TOO_SMALL",
    "ZENWOQ_ERROR_INVALID_ARGUMENT",
    "ZENWOQ_ERROR_OVERFLOW",
)


class InvalidArgumentError(Error, ValueError):
    """An argument or a file that the C library refuses; also a ``ValueError``."""


def call(function: str, *arguments: Any) -> None:
    """Calls a function that returns a status.

    Raises:
        InvalidArgumentError: an argument is wrong; also a ``ValueError``.
        MemoryError: there is no memory.
        Error: for any other status; ``status`` has its name.
    """
    _check(getattr(_library(), function)(*arguments))


def call_formats(function: str, *arguments: Any) -> None:
    """The same for a function of the library of formats."""
    _check(getattr(_formats(), function)(*arguments))


def _check(status: int) -> None:
    if status == 0:
        return
    name = _library().zenwoq_status_name(status).decode()
    text = _library().zenwoq_last_error().decode(errors="replace")
    if name == "ZENWOQ_ERROR_OUT_OF_MEMORY":
        raise MemoryError(text)
    raise (InvalidArgumentError if name in _VALUE_ERRORS else Error)(name, text)


@functools.cache
def context(threads: int = 0) -> c_void_p:
    """The process's context with so many threads, made at its first use and never destroyed; 0: all that it may use."""
    handle = c_void_p()
    call("zenwoq_context_create", byref(ContextOptions(threads=threads)), byref(handle))
    return handle


def code_table(kind: CodeTable) -> list[float]:
    """The 16 values of one of the usual tables."""
    table = (c_float * 16)()
    call("zenwoq_code_table_fill", kind, table)
    return list(table)


def packed_bytes(desc: WeightDesc) -> int:
    """The size of a weight's packed form in bytes."""
    size = c_size_t()
    call("zenwoq_weight_packed_bytes", byref(desc), byref(size))
    return size.value


def describe(address: int, size: int) -> WeightDesc:
    """Describes the packed bytes at an address after checking their header. Raises Error."""
    desc = WeightDesc()
    call("zenwoq_packed_describe", byref(Packed(packed=address, packed_bytes=size)), byref(desc))
    return desc


def cut(address: int, size: int, begin: int, end: int) -> tuple[int, int]:
    """Makes rows of writable packed bytes a weight where they lie: its address and bytes. Raises Error."""
    part, part_bytes = c_void_p(), c_size_t()
    call("zenwoq_packed_cut", address, size, begin, end, byref(part), byref(part_bytes))
    return int(part.value or 0), part_bytes.value


class OpenWeight:
    """A ``zenwoq_weight`` on borrowed or copied bytes; a context manager."""

    def __init__(self, address: int, size: int):
        self._handle = c_void_p()
        copy = address % PACKED_ALIGNMENT != 0
        call("zenwoq_weight_open", address, size, int(copy), byref(self._handle))

    @property
    def handle(self) -> int | None:
        """The C library's, which goes with this."""
        return self._handle.value

    def __enter__(self) -> OpenWeight:
        return self

    def __exit__(self, *_: object) -> None:
        _library().zenwoq_weight_destroy(self._handle)

    def text(self) -> str:
        """For example ``"int4 sym per-group 128, scale bf16"``."""
        return str(_library().zenwoq_weight_text(self._handle).decode())

    def dequantize(self, begin: int, end: int, address: int, size: int) -> None:
        """Writes rows [begin, end) as float32."""
        call("zenwoq_weight_dequantize", self._handle, begin, end, address, size)

    def slice_bytes(self, rows: tuple[int, int], columns: tuple[int, int]) -> int:
        """The bytes of a part."""
        size = c_size_t()
        call("zenwoq_weight_slice_bytes", self._handle, *rows, *columns, byref(size))
        return size.value

    def slice(self, rows: tuple[int, int], columns: tuple[int, int], address: int, size: int) -> None:
        """Writes a part's bytes, to an address that is a multiple of 64."""
        call("zenwoq_weight_slice", self._handle, *rows, *columns, address, size)

    def unpack(self, codes: tuple[int, int], scales: tuple[int, int], zeros: tuple[int, int]) -> None:
        """Writes codes, scales and zeros, each given as (address, bytes); (0, 0) is left out."""
        call("zenwoq_weight_unpack", self._handle, *codes, *scales, *zeros)

    def unpack_extra(self, name: str, address: int, size: int) -> None:
        """Writes one of the arrays of ``zenwoq_weight_extras``."""
        extras = WeightExtras(**{name: address, f"{name}_bytes": size})
        call("zenwoq_weight_unpack_extras", self._handle, byref(extras))


def join(places: list[tuple[int, int]], allocate: Callable[[int], int]) -> None:
    """Writes the rows of weights, each given as (address, bytes), as one weight to where `allocate` says.

    Args:
        places: of the weights' packed bytes.
        allocate: gives the address of so many bytes, a multiple of 64.
    """
    with contextlib.ExitStack() as opened:
        handles = [opened.enter_context(OpenWeight(*place)).handle for place in places]
        weights, size = (c_void_p * len(handles))(*handles), c_size_t()
        call("zenwoq_weights_join_bytes", weights, len(handles), byref(size))
        call("zenwoq_weights_join", weights, len(handles), allocate(size.value), size.value)


class LoadedWeight:
    """A ``zenwoq_weight`` that owns its packed bytes; they are there for as long as this lives.

    Attributes:
        address: of the bytes.
        nbytes: how many there are.
    """

    def __init__(self, handle: c_void_p):
        self._handle = handle
        self._destroy = _library().zenwoq_weight_destroy
        address, size = c_void_p(), c_size_t()
        call("zenwoq_weight_packed", handle, byref(address), byref(size))
        self.address, self.nbytes = int(address.value or 0), size.value

    def __del__(self) -> None:
        self._destroy(self._handle)

    def packed(self) -> memoryview:
        """The bytes, which keep the weight alive."""
        memory = (ctypes.c_uint8 * self.nbytes).from_address(self.address)
        memory._owner = self  # type: ignore[attr-defined]
        return memoryview(memory).cast("B")


class OpenCheckpoint:
    """A ``zenwoq_checkpoint``, which goes with its last reference: a call that runs has one.

    Attributes:
        owner: what keeps tensors in memory alive.
    """

    def __init__(self, handle: c_void_p, owner: object = None):
        self._as_parameter_ = handle  # what ctypes hands over
        self.owner = owner
        self._destroy = _formats().zenwoq_checkpoint_destroy

    def __del__(self) -> None:
        self._destroy(self._as_parameter_)


def open_checkpoint(path: bytes, avx2: bool) -> OpenCheckpoint:
    """The checkpoint of a path. avx2: ``ZENWOQ_OPAQUE_AVX2``."""
    handle = c_void_p()
    call_formats("zenwoq_checkpoint_open", path, byref(CheckpointOptions(opaque_layout=int(avx2))), byref(handle))
    return OpenCheckpoint(handle)


def open_tensors(
    tensors: list[Tensor], config: bytes | None, metadata: bytes | None, avx2: bool, owner: object
) -> OpenCheckpoint:
    """The checkpoint of tensors in memory that `owner` keeps alive."""
    array = (Tensor * max(1, len(tensors)))(*tensors)
    given = Tensors(tensors=array, count=len(tensors), config=config, metadata=metadata)
    handle = c_void_p()
    options = CheckpointOptions(opaque_layout=int(avx2))
    call_formats("zenwoq_checkpoint_open_tensors", byref(given), byref(options), byref(handle))
    return OpenCheckpoint(handle, owner)


def config_of(checkpoint: OpenCheckpoint) -> bytes | None:
    """The text of a checkpoint's config.json; None if there is none."""
    text, size = c_void_p(), c_size_t()
    call_formats("zenwoq_checkpoint_config", checkpoint, byref(text), byref(size))
    return ctypes.string_at(text.value, size.value) if text.value else None


def map_weight(checkpoint: OpenCheckpoint, index: int, expert: int) -> LoadedWeight:
    """A weight of a .zwq file, in the file's pages. They are private: what torch may write goes to copies."""
    handle = c_void_p()
    call_formats("zenwoq_checkpoint_map", checkpoint, index, expert, byref(handle))
    loaded = LoadedWeight(handle)
    begin = loaded.address // mmap.PAGESIZE * mmap.PAGESIZE
    size = loaded.address + loaded.nbytes - begin
    ctypes.CDLL(None).mprotect(c_void_p(begin), c_size_t(size), mmap.PROT_READ | mmap.PROT_WRITE)
    return loaded


def load_weight(checkpoint: OpenCheckpoint, index: int, expert: int, threads: int) -> LoadedWeight:
    """Packs a weight of a checkpoint, on so many threads; 0: all that the process may use."""
    handle = c_void_p()
    call_formats("zenwoq_checkpoint_load", checkpoint, index, expert, context(threads), byref(handle))
    return LoadedWeight(handle)
