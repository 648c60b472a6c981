# SPDX-FileCopyrightText: 2026 The zenwoq authors
# SPDX-License-Identifier: Apache-2.0
"""The product on arrays of any library."""

from __future__ import annotations

from ctypes import byref
from typing import Any, Literal

from zenwoq import _arrays, _library
from zenwoq._arrays import Array
from zenwoq._structs import Dtype, LinearDesc, Packed, RunArgs
from zenwoq._weight import Weight


def linear(
    x: Any,
    weight: Weight,
    bias: Any = None,
    out: Any = None,
    *,
    dtype: str | None = None,
    out_dtype: Literal["float32", "bfloat16"] | None = None,
    threads: int = 0,
) -> Any:
    """``y = x @ W.T + bias`` with bf16 products and f32 sums; the same bits for any number of rows and threads.

    Any number of threads may call it at once, also with one weight.

    Args:
        x: ``[..., k]`` float32, float16 or bfloat16 (the first two are rounded to bfloat16): a NumPy array, a DLPack
            array in the CPU's memory, or a buffer. There may be gaps between rows, but not between their elements.
        weight: n x k.
        bias: ``[n]`` float32, float16 or bfloat16, contiguous, or None.
        out: ``[..., n]`` float32 or bfloat16, writable, not overlapping x; None makes a new array.
        dtype: ``"bfloat16"`` takes uint16 x, bias and out as bits of bfloat16 numbers.
        out_dtype: element type of a new array; None is float32.
        threads: the most threads to use; 0 is as many as the process may use.

    Returns:
        out; or a new torch tensor if x is one, else a new NumPy array.

    Raises:
        TypeError: an argument is no array in the CPU's memory, or has a wrong element type.
        ValueError: shapes do not fit, strides are not supported, or memory overlaps.
        ImportError: a new array is needed, but NumPy is not installed.
    """
    rows, m, ldx = _rows("x", _arrays.as_array("x", x, dtype))
    if rows.shape[-1] != weight.k:
        raise ValueError(f"x has shape {rows.shape}, its last dimension must be k = {weight.k}")
    if threads < 0:
        raise ValueError(f"threads is {threads}, must be at least 0")
    shape = (*rows.shape[:-1], weight.n)
    if out is None:
        out = _arrays.empty_like(x, shape, out_dtype or "float32")
        dtype = "bfloat16" if out_dtype == "bfloat16" else None
    elif out_dtype is not None:
        raise ValueError("out and out_dtype exclude each other")
    y, _, ldy = _rows("out", _arrays.as_array("out", out, dtype if _is_uint16(out) else None))
    if y.shape != shape:
        raise ValueError(f"out has shape {y.shape}, must be {shape}")
    if not y.writable:
        raise ValueError("out is read-only")
    y_type = _arrays.float_dtype("out", y)
    if y_type is Dtype.FLOAT16:
        raise TypeError("out holds float16, must be float32 or bfloat16")
    desc = LinearDesc(output_type=y_type, bias_type=Dtype.FLOAT32)
    kept = None if bias is None else _set_bias(desc, bias, weight.n, dtype)
    args = RunArgs(
        m=m,
        x_type=_arrays.float_dtype("x", rows),
        x=rows.address,
        ldx=ldx,
        x_bytes=_bytes(rows, m, ldx),
        y=y.address,
        ldy=ldy,
        y_bytes=_bytes(y, m, ldy),
        threads=threads,
    )
    packed = Packed(packed=weight._array.address, packed_bytes=weight._array.nbytes, n=weight.n, k=weight.k)
    _library.call("zenwoq_packed_run", _library.context(), byref(packed), byref(desc), byref(args))
    del kept
    return out


def _is_uint16(value: Any) -> bool:
    return _arrays.as_array("out", value).dtype == "uint16"


def _set_bias(desc: LinearDesc, bias: Any, n: int, dtype: str | None) -> Array:
    array = _arrays.as_array("bias", bias)
    if array.dtype == "uint16":
        array = _arrays.as_array("bias", bias, dtype)
    if array.shape != (n,) or not array.is_contiguous():
        raise ValueError(f"bias has shape {array.shape}, must be contiguous ({n},)")
    desc.bias_type = _arrays.float_dtype("bias", array)
    desc.bias = array.address
    desc.bias_bytes = array.nbytes
    return array


def _rows(name: str, array: Array) -> tuple[Array, int, int]:
    """The array, the number of its rows, and the elements from one row to the next."""
    if not array.shape:
        raise ValueError(f"{name} has no dimension, must have at least one")
    columns = array.shape[-1]
    m = array.size // columns if columns else 0
    if array.is_contiguous():
        return array, m, columns
    if len(array.shape) == 2 and array.strides[1] == 1 and array.strides[0] >= columns:
        return array, m, array.strides[0]
    raise ValueError(
        f"{name} has shape {array.shape} and strides {array.strides}: "
        "rows must be contiguous, in order and equally far apart"
    )


def _bytes(array: Array, m: int, ld: int) -> int:
    return 0 if m == 0 else ((m - 1) * ld + array.shape[-1]) * array.itemsize
