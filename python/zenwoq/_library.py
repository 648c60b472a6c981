# SPDX-FileCopyrightText: 2026 The zenwoq authors
# SPDX-License-Identifier: Apache-2.0
"""The C library through ctypes: its functions, and statuses as exceptions.

The environment variable ``ZENWOQ_LIBRARY`` names the ``libzenwoq.so`` to load instead of the package's own: the package
can then be used from the source tree, on a library that was just built.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import mmap
import os
from collections.abc import Callable
from ctypes import POINTER, byref, c_char_p, c_float, c_int, c_size_t, c_void_p
from pathlib import Path
from typing import Any

from zenwoq._structs import (
    CheckpointOptions,
    CodeTable,
    ContextOptions,
    ConvertOptions,
    CpuInfoStruct,
    LinearDesc,
    Packed,
    RunArgs,
    Tensor,
    TensorInfo,
    Tensors,
    WeightDesc,
    WeightExtras,
    WeightSource,
)

PACKED_ALIGNMENT = 64  # ZENWOQ_PACKED_ALIGNMENT, of borrowed packed bytes


class Error(RuntimeError):
    """A call of the C library that failed.

    Attributes:
        status: name of the C status, such as ``"ZENWOQ_ERROR_BAD_PACKED"``.
    """

    def __init__(self, status: str, text: str):
        super().__init__(f"{text} ({status})")
        self.status = status


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
