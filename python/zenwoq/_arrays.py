# SPDX-FileCopyrightText: 2026 The zenwoq authors
# SPDX-License-Identifier: Apache-2.0
"""Arrays of any library as addresses, shapes and types, without importing that library.

An array is read through the first of these that it has: ``__array_interface__`` (NumPy, also with ml_dtypes),
``__dlpack__`` (torch, JAX, CuPy on the host, ...), the buffer protocol (bytes, bytearray, memoryview, array.array,
mmap).
"""

from __future__ import annotations

import ctypes
import math
import sys
from ctypes import POINTER, c_char_p, c_int, c_int32, c_int64, c_ssize_t, c_uint8, c_uint16, c_uint64, c_void_p
from dataclasses import dataclass
from typing import Any

from zenwoq._structs import Dtype

# The names of element types, and the bytes of one element.
_SIZES = {"float32": 4, "float16": 2, "bfloat16": 2, "uint16": 2, "uint8": 1, "int8": 1}
_TYPE_STRINGS = {"<f4": "float32", "<f2": "float16", "<u2": "uint16", "|u1": "uint8", "|i1": "int8"}
_BUFFER_FORMATS = {"f": "float32", "e": "float16", "H": "uint16", "B": "uint8", "b": "int8", "c": "uint8"}
_DLPACK_TYPES = {
    (2, 32): "float32",
    (2, 16): "float16",
    (4, 16): "bfloat16",
    (1, 16): "uint16",
    (1, 8): "uint8",
    (0, 8): "int8",
}
_DLPACK_CPU = 1


@dataclass
class Array:
    """Memory that something else owns.

    Attributes:
        address: of the first element.
        shape: elements in each dimension.
        strides: the distance in elements from one index to the next in each dimension.
        dtype: name of the element type, as in ``_SIZES``.
        writable: whether the owner allows writing.
        owner: kept alive by this object.
    """

    address: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    dtype: str
    writable: bool
    owner: object

    @property
    def itemsize(self) -> int:
        """Bytes of an element."""
        return _SIZES[self.dtype]

    @property
    def size(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        """Bytes of all elements."""
        return self.size * self.itemsize

    def is_contiguous(self) -> bool:
        """Whether the elements follow each other without gaps, the last index fastest."""
        return self.size == 0 or all(
            have == want or length == 1
            for have, want, length in zip(self.strides, contiguous_strides(self.shape), self.shape, strict=True)
        )


def contiguous_strides(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Strides, in elements, of an array without gaps."""
    strides: list[int] = []
    step = 1
    for length in reversed(shape):
        strides.append(step)
        step *= length
    return tuple(reversed(strides))


def as_array(name: str, value: Any, dtype: str | None = None) -> Array:
    """Finds the memory of an array.

    Args:
        name: the argument's name, for error texts.
        value: a NumPy array, a DLPack array on the CPU, or an object with a buffer.
        dtype: ``"bfloat16"`` says that 16-bit integers are the bits of bfloat16 numbers.

    Raises:
        TypeError: the value is no array, or its element type or device is not supported.
    """
    if hasattr(value, "__array_interface__"):
        array = _from_array_interface(name, value)
    elif hasattr(value, "__dlpack__"):
        array = _from_dlpack(name, value)
    else:
        array = _from_buffer(name, value)
    if dtype is not None and dtype != array.dtype:
        if not (dtype == "bfloat16" and array.dtype == "uint16"):
            raise TypeError(f"{name} holds {array.dtype}, which cannot be taken as {dtype}")
        array.dtype = dtype
    return array


def float_dtype(name: str, array: Array) -> Dtype:
    """The element type of an array of floats. Raises TypeError for others."""
    for dtype in Dtype:
        if dtype.text == array.dtype:
            return dtype
    hint = '; dtype="bfloat16" takes uint16 as the bits of bfloat16 numbers' if array.dtype == "uint16" else ""
    raise TypeError(f"{name} holds {array.dtype}, must be float32, float16 or bfloat16{hint}")


def _from_array_interface(name: str, value: Any) -> Array:
    # The type string of ml_dtypes' bfloat16 says only that it has two bytes.
    named = str(getattr(value.dtype, "name", ""))
    interface = value.__array_interface__
    dtype = named if named == "bfloat16" else _TYPE_STRINGS.get(interface["typestr"])
    if dtype is None:
        raise TypeError(
            f"{name} has elements of type {named or interface['typestr']}, supported are {', '.join(_SIZES)}"
        )
    shape = tuple(interface["shape"])
    strides = interface.get("strides")
    size = _SIZES[dtype]
    if strides is not None and any(stride % size for stride in strides):
        raise TypeError(f"{name} has strides {strides}, not multiples of its {size} bytes an element")
    elements = contiguous_strides(shape) if strides is None else tuple(stride // size for stride in strides)
    address, read_only = interface["data"]
    return Array(address or 0, shape, elements, dtype, not read_only, value)


class _DLTensor(ctypes.Structure):
    _fields_ = [
        ("data", c_void_p),
        ("device_type", c_int32),
        ("device_id", c_int32),
        ("ndim", c_int32),
        ("code", c_uint8),
        ("bits", c_uint8),
        ("lanes", c_uint16),
        ("shape", POINTER(c_int64)),
        ("strides", POINTER(c_int64)),
        ("byte_offset", c_uint64),
    ]


# The tensor is the first member of the managed tensor that the capsule holds. The capsule is never consumed here, so it
# frees the tensor when it is itself collected.
_capsule_pointer = ctypes.pythonapi.PyCapsule_GetPointer
_capsule_pointer.restype = c_void_p
_capsule_pointer.argtypes = [ctypes.py_object, c_char_p]


def _from_dlpack(name: str, value: Any) -> Array:
    device, _ = value.__dlpack_device__()
    if int(device) != _DLPACK_CPU:
        raise TypeError(f"{name} is on a device (DLPack type {int(device)}), must be in the CPU's memory")
    if getattr(value, "is_neg", bool)():  # torch's lazy negation, which DLPack does not carry
        raise TypeError(f"{name} is a negated view: pass {name}.resolve_neg()")
    try:
        capsule = value.__dlpack__()
    except BufferError as error:
        raise TypeError(f"{name}: {error}") from error
    tensor = _DLTensor.from_address(_capsule_pointer(capsule, b"dltensor"))
    dtype = _DLPACK_TYPES.get((tensor.code, tensor.bits)) if tensor.lanes == 1 else None
    if dtype is None:
        raise TypeError(
            f"{name} has elements of DLPack type {tensor.code} with {tensor.bits} bits, "
            f"supported are {', '.join(_SIZES)}"
        )
    shape = tuple(tensor.shape[: tensor.ndim])
    strides = tuple(tensor.strides[: tensor.ndim]) if tensor.strides else contiguous_strides(shape)
    address = (tensor.data or 0) + tensor.byte_offset
    return Array(address, shape, strides, dtype, True, (capsule, value))


class _PyBuffer(ctypes.Structure):
    _fields_ = [
        ("buf", c_void_p),
        ("obj", ctypes.py_object),
        ("len", c_ssize_t),
        ("itemsize", c_ssize_t),
        ("readonly", c_int),
        ("ndim", c_int),
        ("format", c_char_p),
        ("shape", POINTER(c_ssize_t)),
        ("strides", POINTER(c_ssize_t)),
        ("suboffsets", POINTER(c_ssize_t)),
        ("internal", c_void_p),
    ]


_PYBUF_SIMPLE = 0


def _from_buffer(name: str, value: Any) -> Array:
    try:
        view = memoryview(value)
    except TypeError:
        raise TypeError(f"{name} is a {type(value).__name__}: no NumPy array, DLPack array or buffer") from None
    dtype = _BUFFER_FORMATS.get(view.format.lstrip("@=<"))
    if dtype is None:
        raise TypeError(f"{name} has elements of format {view.format!r}, supported are {', '.join(_SIZES)}")
    if not view.c_contiguous:
        raise TypeError(f"{name} is a buffer with gaps")
    raw = _PyBuffer()
    if ctypes.pythonapi.PyObject_GetBuffer(ctypes.py_object(view), ctypes.byref(raw), _PYBUF_SIMPLE) != 0:
        raise TypeError(f"{name} gives no access to its buffer")
    address = raw.buf or 0
    # The view, kept by the array, keeps the memory where it is.
    ctypes.pythonapi.PyBuffer_Release(ctypes.byref(raw))
    shape = tuple(view.shape or ())
    return Array(address, shape, contiguous_strides(shape), dtype, not view.readonly, view)


def empty_like(like: Any, shape: tuple[int, ...], dtype: str) -> Any:
    """An uninitialized array of a shape in the library of `like`: a torch tensor for torch's, else a NumPy array.

    NumPy has no bfloat16: such an array is of ml_dtypes' type where that is installed, else of uint16.

    Raises:
        ImportError: NumPy is not installed.
    """
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(like, torch.Tensor):
        return torch.empty(shape, dtype=getattr(torch, dtype))
    try:
        import numpy
    except ImportError as error:
        raise ImportError(
            "NumPy, which the result would be an array of, is not installed: give out=, or install it"
        ) from error
    return numpy.empty(shape, numpy_dtype(dtype))


def numpy_dtype(dtype: str) -> Any:
    """NumPy's type for an element type."""
    if dtype != "bfloat16":
        return dtype
    try:
        import ml_dtypes
    except ImportError:
        return "uint16"
    return ml_dtypes.bfloat16
