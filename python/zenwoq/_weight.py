# SPDX-FileCopyrightText: 2026 The zenwoq authors
# SPDX-License-Identifier: Apache-2.0
"""Weights: packed from codes, scales and zeros, or opened from packed bytes."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from ctypes import byref
from typing import Any, Literal

from zenwoq import _arrays, _library
from zenwoq._arrays import Array
from zenwoq._library import PACKED_ALIGNMENT, OpenWeight
from zenwoq._structs import CodeLayout, CodeTable, Dtype, WeightDesc, WeightSource, ZeroKind

CodesLayout = Literal["nibbles", "u8", "s8"]
TableName = Literal["minus_8", "twos_complement", "unsigned"]

_LAYOUTS = {"nibbles": CodeLayout.NIBBLES, "u8": CodeLayout.U8, "s8": CodeLayout.S8}
_TABLES = {"minus_8": CodeTable.MINUS_8, "twos_complement": CodeTable.TWOS_COMPLEMENT, "unsigned": CodeTable.UNSIGNED}
_PANEL_ROWS = 64  # the ranges of rows to pack start and end at multiples of it
_BYTES_WORTH_THREADS = 1 << 20  # fewer bytes are packed before threads have started


def _table(table: TableName | Sequence[float]) -> Any:
    if isinstance(table, str):
        if table not in _TABLES:
            raise ValueError(f"table {table!r}: must be {', '.join(_TABLES)}, or 16 numbers")
        values = _library.code_table(_TABLES[table])
    else:
        values = [float(value) for value in table]
    if len(values) != 16:
        raise ValueError(f"table of {len(values)} values, must have 16")
    return (ctypes.c_float * 16)(*values)


class WeightParts:
    """Codes, scales and zeros that belong together, checked, as the C library takes them.

    The arguments are those of :class:`Weight`.
    """

    def __init__(
        self,
        codes: Any,
        scales: Any,
        zeros: Any = None,
        *,
        layout: CodesLayout = "nibbles",
        table: TableName | Sequence[float] = "minus_8",
        k: int | None = None,
        group_size: int | None = None,
        dtype: str | None = None,
    ):
        if layout not in _LAYOUTS:
            raise ValueError(f"layout {layout!r}: must be {', '.join(_LAYOUTS)}")
        self._codes = _rows("codes", _arrays.as_array("codes", codes))
        self._scales = _contiguous("scales", _arrays.as_array("scales", scales, dtype))
        if self._codes.itemsize != 1:
            raise TypeError(f"codes holds {self._codes.dtype}, must be uint8 or int8")
        n, columns = self._codes.shape
        k = (columns * 2 if layout == "nibbles" else columns) if k is None else k
        if columns != ((k + 1) // 2 if layout == "nibbles" else k):
            raise ValueError(f"codes has shape {self._codes.shape}, which does not fit k = {k} as {layout}")
        scale_type = _arrays.float_dtype("scales", self._scales)
        groups = self._scales.shape[1] if len(self._scales.shape) == 2 else 1
        if group_size is None:
            if groups > 1 and k % groups != 0:
                raise ValueError(f"k = {k} does not divide into the {groups} groups of scales: give group_size")
            group_size = 0 if groups <= 1 else k // groups
        self.desc = WeightDesc(n=n, k=k, group_size=group_size, scale_type=scale_type, table=_table(table))
        _check_groups("scales", self._scales, self.desc)
        self._zeros = self._read_zeros(zeros, scale_type, dtype)
        self.source = WeightSource(
            code_layout=_LAYOUTS[layout],
            codes=self._codes.address,
            codes_bytes=self._codes.nbytes if self._codes.is_contiguous() else _span(self._codes),
            codes_row_bytes=self._codes.strides[0] if n > 1 else 0,
            scales=self._scales.address,
            scales_bytes=self._scales.nbytes,
            zeros=self._zeros.address if self._zeros else None,
            zeros_bytes=self._zeros.nbytes if self._zeros else 0,
        )

    def _read_zeros(self, zeros: Any, scale_type: Dtype, dtype: str | None) -> Array | None:
        if zeros is None:
            return None
        array = _contiguous("zeros", _arrays.as_array("zeros", zeros))
        if array.itemsize != 1:
            array = _contiguous("zeros", _arrays.as_array("zeros", zeros, dtype))
        if array.itemsize == 1:
            self.desc.zero_kind = ZeroKind.INTEGER
        elif array.dtype == scale_type.text:
            self.desc.zero_kind = ZeroKind.OFFSET
        else:
            raise TypeError(
                f"zeros holds {array.dtype}, must be int8 (zero codes) or, as the scales, {scale_type.text} (offsets)"
            )
        _check_groups("zeros", array, self.desc)
        return array

    def packed_bytes(self) -> int:
        """The size of the packed form in bytes."""
        return _library.packed_bytes(self.desc)

    def pack_into(self, address: int, size: int, threads: int) -> None:
        """Packs ranges of rows on this many threads, into memory that is aligned to 64 bytes."""
        n = self.desc.n
        panels = -(-n // _PANEL_ROWS)
        parts = min(panels, threads * 4) if threads > 1 and size >= _BYTES_WORTH_THREADS else 1
        borders = [min(n, panels * i // parts * _PANEL_ROWS) for i in range(parts)] + [n]
        desc, source = byref(self.desc), byref(self.source)

        def pack(begin: int, end: int) -> None:  # ctypes lets other Python threads run meanwhile
            _library.call("zenwoq_weight_pack", desc, source, begin, end, address, size)

        if parts == 1:
            return pack(0, n)
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(pack, borders[:-1], borders[1:]))
        return None


def _aligned_memory(size: int) -> memoryview:
    memory = bytearray(size + PACKED_ALIGNMENT)
    shift = -_arrays.as_array("packed", memory).address % PACKED_ALIGNMENT
    return memoryview(memory)[shift : shift + size]


def _span(array: Array) -> int:
    return (array.shape[0] - 1) * array.strides[0] + array.shape[1]


def _rows(name: str, array: Array) -> Array:
    """A matrix, which may have gaps between its rows but not inside them."""
    if len(array.shape) != 2 or 0 in array.shape:
        raise ValueError(f"{name} has shape {array.shape}, must be a matrix with at least one row and column")
    if (array.shape[1] > 1 and array.strides[1] != 1) or (array.shape[0] > 1 and array.strides[0] < array.shape[1]):
        raise ValueError(
            f"{name} has strides {array.strides}: rows must follow each other, their elements without gaps"
        )
    return array


def _contiguous(name: str, array: Array) -> Array:
    if not array.is_contiguous():
        raise ValueError(f"{name} has shape {array.shape} and strides {array.strides}, must be contiguous")
    return array


def _check_groups(name: str, array: Array, desc: WeightDesc) -> None:
    expected = {(desc.n, desc.groups)} | ({(desc.n,)} if desc.groups == 1 else set())
    if array.shape not in expected:
        raise ValueError(f"{name} has shape {array.shape}, must be [n, groups] = ({desc.n}, {desc.groups})")


class Weight:
    """A 4-bit weight in packed form: ``W[n, k] = scale[n, g] * (table[code[n, k]] + 8 - zero[n, g])``.

    Made from arrays, or by :func:`zenwoq.load` from a checkpoint, whose weights may have more: scales of E8M0, E4M3 or
    two levels, a scale of the whole tensor, columns in act-order, factors of x (zenwoq.h says how they compute).

    The bytes are the same on every CPU; they may be saved, mapped and opened again with :meth:`from_packed`. Weights
    can be copied and pickled, and used by any number of threads at once.

    Args:
        codes: ``[n, ceil(k / 2)]`` uint8, two codes per byte with the even k in the low four bits; or, as `layout`
            says, ``[n, k]`` with one code per byte: ``"u8"`` 0..15, ``"s8"`` signed -8..7. There may be gaps between
            rows.
        scales: ``[n, groups]`` float32, float16 or bfloat16; with one group also ``[n]``.
        zeros: None; or ``[n, groups]`` int8 in 0..16 (the code whose value is zero); or ``[n, groups]`` in the scales'
            type, which is then added: ``W = scale * table[code] + zero``.
        layout: ``"nibbles"``, ``"u8"`` or ``"s8"``.
        table: values of the 16 codes: ``"minus_8"`` (code - 8), ``"twos_complement"`` (for ``"s8"`` codes: the values
            themselves), ``"unsigned"`` (the code), or 16 numbers.
        k: the number of input features; needed if the codes are nibbles and it is odd.
        group_size: needed if the last group is shorter than the others; 0 is one group per row.
        dtype: ``"bfloat16"`` takes uint16 scales and zeros as bits of bfloat16 numbers.

    Raises:
        TypeError: an argument is no array in the CPU's memory, or has a wrong element type.
        ValueError: shapes do not fit, a code or zero is out of range, or a scale is not finite.
        MemoryError: there is no memory for the packed form.

    Attributes:
        n: output features.
        k: input features.
        group_size: 0 is one group per row.
        text: for example ``"int4 sym per-group 128, scale bf16"``.
    """

    n: int
    k: int
    group_size: int
    text: str

    def __init__(
        self,
        codes: Any,
        scales: Any,
        zeros: Any = None,
        *,
        layout: CodesLayout = "nibbles",
        table: TableName | Sequence[float] = "minus_8",
        k: int | None = None,
        group_size: int | None = None,
        dtype: str | None = None,
    ):
        parts = WeightParts(codes, scales, zeros, layout=layout, table=table, k=k, group_size=group_size, dtype=dtype)
        memory = _aligned_memory(parts.packed_bytes())
        parts.pack_into(_arrays.as_array("packed", memory).address, memory.nbytes, _cpu_threads())
        self._open(memory.toreadonly())

    @classmethod
    def from_packed(cls, packed: Any) -> Weight:
        """Opens packed bytes without copying them; they must stay as they are while the weight lives.

        Args:
            packed: ``[bytes]`` uint8, contiguous: an array or a buffer (bytes, mmap, memoryview). Products are fastest
                at addresses that are multiples of 64.

        Raises:
            TypeError: packed is not bytes in the CPU's memory.
            Error: packed is no packed weight, or is damaged or of another version (``ZENWOQ_ERROR_BAD_PACKED``).
        """
        weight = cls.__new__(cls)
        weight._open(packed)
        return weight

    @classmethod
    def _from_copy(cls, packed: bytes) -> Weight:
        memory = _aligned_memory(len(packed))
        memory[:] = packed
        return cls.from_packed(memory.toreadonly())

    def __reduce__(self) -> tuple[Callable[[bytes], Weight], tuple[bytes]]:
        """Pickles and deep-copies the weight as its packed bytes; the copy has separate memory."""
        return Weight._from_copy, (self.packed.tobytes(),)

    def _open(self, packed: Any) -> None:
        array = _contiguous("packed", _arrays.as_array("packed", packed))
        if array.itemsize != 1 or len(array.shape) != 1:
            raise TypeError(f"packed holds {array.dtype} of shape {array.shape}, must be one row of uint8")
        self._array = array
        self._desc = _library.describe(array.address, array.nbytes)
        self.n, self.k, self.group_size = self._desc.n, self._desc.k, self._desc.group_size
        self._size = _library.packed_bytes(self._desc)
        self.text = self._with_handle(OpenWeight.text)

    def _with_handle(self, function: Callable[[OpenWeight], Any]) -> Any:
        with OpenWeight(self._array.address, self._array.nbytes) as handle:
            return function(handle)

    @property
    def packed(self) -> memoryview:
        """The packed bytes, read-only, in the weight's own memory or in that from which it was opened.

        ``numpy.asarray(weight.packed)`` is an array of it.
        """
        memory = (ctypes.c_uint8 * self._size).from_address(self._array.address)
        memory._owner = self._array  # type: ignore[attr-defined]  # lives as long as any view of it
        return memoryview(memory).cast("B").toreadonly()

    @property
    def nbytes(self) -> int:
        """The size of the packed form in bytes."""
        return self._size

    @property
    def scale_dtype(self) -> str:
        """The scales' type: ``"float32"``, ``"bfloat16"``, ``"float16"``, ``"e8m0"``, ``"e4m3"``, ``"u8_f16"`` ..."""
        return Dtype(self._desc.scale_type).text

    @property
    def table(self) -> tuple[float, ...]:
        """The values of the 16 codes."""
        return tuple(self._desc.table)

    def dequantize(self, begin: int = 0, end: int | None = None, *, out: Any = None) -> Any:
        """Rows ``[begin, end)`` of W as float32, with one rounding per value.

        Args:
            begin: first row.
            end: one past the last row; None is n.
            out: ``[end - begin, k]`` float32, contiguous, writable; None makes a NumPy array.

        Returns:
            out, or the new array.

        Raises:
            ValueError: the rows are out of range, or out has another shape.
            TypeError: out is no writable float32 array.
        """
        end = self.n if end is None else end
        if not 0 <= begin < end <= self.n:
            raise ValueError(f"rows [{begin}, {end}) of n = {self.n}")
        result = _arrays.empty_like(None, (end - begin, self.k), "float32") if out is None else out
        array = _contiguous("out", _arrays.as_array("out", result))
        if array.dtype != "float32" or not array.writable:
            raise TypeError(
                f"out holds {array.dtype}{'' if array.writable else ', read-only'}; must be writable float32"
            )
        if array.shape != (end - begin, self.k):
            raise ValueError(f"out has shape {array.shape}, must be ({end - begin}, {self.k})")
        self._with_handle(lambda handle: handle.dequantize(begin, end, array.address, array.nbytes))
        return result

    def slice(self, begin: int = 0, end: int | None = None, *, k_begin: int = 0, k_end: int | None = None) -> Weight:
        """Rows ``[begin, end)`` of the weight, and of them columns ``[k_begin, k_end)``, as a weight of its own.

        The bytes are copied; they are those that packing this part gives. Factors of x are cut with the columns; of a
        weight with one group per row every part has its scales again.

        Args:
            begin: first row, a multiple of 64.
            end: one past the last row, a multiple of 64 or n; None is n.
            k_begin: first column, where a group begins (with scales of two levels: eight groups; with one group per
                row: any multiple of 8). Columns in act-order can only be taken all.
            k_end: one past the last column, where a group ends; None is k.

        Raises:
            ValueError: the range is none of these; the text has what was asked for and what is possible.
            MemoryError: there is no memory.
        """
        rows = (begin, self.n if end is None else end)
        columns = (k_begin, self.k if k_end is None else k_end)
        if min(*rows, *columns) < 0:
            raise ValueError(f"rows [{rows[0]}, {rows[1]}), columns [{columns[0]}, {columns[1]}): must not be negative")

        def copy(handle: OpenWeight) -> memoryview:
            memory = _aligned_memory(handle.slice_bytes(rows, columns))
            handle.slice(rows, columns, _arrays.as_array("packed", memory).address, memory.nbytes)
            return memory

        return Weight.from_packed(self._with_handle(copy).toreadonly())

    @staticmethod
    def join(weights: Sequence[Weight]) -> Weight:
        """The rows of all weights, one weight's below the other's, as one weight. The bytes are copied.

        Args:
            weights: at least one; alike in all but n (also in permutation, factors of x and the tensor scale), the n of
                every one but the last a multiple of 64.

        Raises:
            ValueError: there are none, or they do not fit; the text names the first that does not.
            MemoryError: there is no memory.
        """
        memory = memoryview(b"")

        def allocate(size: int) -> int:
            nonlocal memory
            memory = _aligned_memory(size)
            return _arrays.as_array("packed", memory).address

        _library.join([(weight._array.address, weight._array.nbytes) for weight in weights], allocate)
        return Weight.from_packed(memory.toreadonly())

    def unpack(self) -> tuple[Any, Any, Any]:
        """Codes, scales and zeros exactly as they were packed, as NumPy arrays.

        Returns:
            codes ``[n, ceil(k / 2)]`` uint8 nibbles, columns in the source's order; scales ``[n, groups]`` (bfloat16 as
            ml_dtypes' type where that is installed, else as uint16; ``"e8m0"`` and ``"e4m3"`` as their bytes; of two
            levels the bytes, see :attr:`super_scales`); zeros ``[n, groups]`` int8, in the scales' type or one of their
            own, or None.

        Raises:
            ImportError: NumPy is not installed.
        """
        shape = (self.n, self._desc.groups)
        codes = _arrays.empty_like(None, (self.n, (self.k + 1) // 2), "uint8")
        scales = _arrays.empty_like(None, shape, Dtype(self._desc.scale_type).array_text)
        kind = ZeroKind(self._desc.zero_kind)
        types = {
            ZeroKind.INTEGER: "int8",
            ZeroKind.OFFSET: Dtype(self._desc.scale_type).array_text,
            ZeroKind.FLOAT: Dtype(self._desc.zero_type).array_text,
        }
        zeros = None if kind is ZeroKind.NONE else _arrays.empty_like(None, shape, types[kind])
        places = []
        for name, part in (("codes", codes), ("scales", scales), ("zeros", zeros)):
            array = None if part is None else _arrays.as_array(name, part)
            places.append((0, 0) if array is None else (array.address, array.nbytes))
        self._with_handle(lambda handle: handle.unpack(*places))
        return codes, scales, zeros

    @property
    def permutation(self) -> Any:
        """Of columns in act-order: which of x each packed column meets, uint32 ``[k]``; None if they are not."""
        return self._extra("permutation", (self.k,), "uint32") if self._desc.permuted else None

    @property
    def x_scale(self) -> Any:
        """The factors of x's columns, float32 ``[k]``, which :meth:`dequantize` leaves out; None if there are none."""
        return self._extra("x_scale", (self.k,), "float32") if self._desc.x_scaled else None

    @property
    def super_scales(self) -> Any:
        """Of scales of two levels: ``[n, groups / 8]`` float16, by which the bytes of eight groups are multiplied."""
        return self._supers("super_scales")

    @property
    def super_offsets(self) -> Any:
        """The same of offsets."""
        return self._supers("super_offsets") if self._desc.zero_kind == ZeroKind.OFFSET else None

    def _supers(self, name: str) -> Any:
        has_two = self._desc.scale_type in (Dtype.U8_F16, Dtype.S8_F16)
        return self._extra(name, (self.n, -(-self._desc.groups // 8)), "float16") if has_two else None

    def _extra(self, name: str, shape: tuple[int, ...], dtype: str) -> Any:
        values = _arrays.empty_like(None, shape, dtype)
        address, size = values.ctypes.data, values.nbytes
        self._with_handle(lambda handle: handle.unpack_extra(name, address, size))
        return values

    def __repr__(self) -> str:
        return f"zenwoq.Weight(n={self.n}, k={self.k}, {self.text!r}, {self._size} bytes)"


def _cpu_threads() -> int:
    from zenwoq._cpu import cpu_info

    return cpu_info().threads
