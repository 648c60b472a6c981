# SPDX-FileCopyrightText: 2026 The zenwoq authors
# SPDX-License-Identifier: Apache-2.0
"""Checkpoints: files, folders, or tensors in memory, as layers with 4-bit weights.

What formats are read is in docs/formats.md; all are read by the C library of formats (zenwoq/formats.h).
"""

from __future__ import annotations

import ctypes
import enum
import json
import os
from collections.abc import Iterator, Mapping
from ctypes import byref, c_size_t
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from zenwoq import _arrays, _library
from zenwoq._structs import ConvertOptions, Dtype, Tensor, TensorInfo
from zenwoq._weight import Weight


class Kind(enum.IntEnum):
    """What an entry of a checkpoint is: ``zenwoq_tensor_kind``."""

    LAYER = 1
    DENSE = 2
    OTHER = 3


@dataclass(frozen=True)
class LeftAlone:
    """A tensor of a checkpoint that is no 4-bit layer.

    Attributes:
        name: of the tensor, or of the weight that it is a part of.
        reason: why it is left alone: ``"2-D bf16, not quantized"``.
        is_dense: whether it has numbers that :meth:`Checkpoint.tensor` gives: floats, or blocks of GGUF's that are
            unpacked to them (Q5, Q6, Q8).
        type: of its elements, as the file spells it: ``"BF16"``, ``"q6_k"``; empty if it is no single tensor.
        shape: rows first; empty if it is no single tensor.
        nbytes: its bytes in the file.
    """

    name: str
    reason: str
    is_dense: bool
    type: str
    shape: tuple[int, ...]
    nbytes: int


@dataclass(frozen=True)
class GivenTensor:
    """A tensor in memory, for :func:`open_tensors`.

    Attributes:
        type: its element type as safetensors spells it (``"I32"``), or a block type of GGUF's (``"q4_k"``).
        shape: in values.
        address: of the first byte; there are no gaps.
        nbytes: its size.
        owner: what keeps the memory alive.
    """

    type: str
    shape: tuple[int, ...]
    address: int
    nbytes: int
    owner: object


@dataclass(frozen=True)
class _LayerInfo:
    index: int
    name: str
    shape: tuple[int, int]
    experts: int
    format: str
    text: str
    bias_type: Dtype | None
    source_nbytes: int
    nbytes: int


class Layer:
    """A layer of a checkpoint: a 4-bit weight, or as many of one shape as a mixture of experts has.

    Nothing is read before it is asked for. It keeps the checkpoint open.

    Attributes:
        name: without ``".weight"``.
        shape: ``(n, k)``: output and input features of each weight.
        experts: the number of weights; 1 unless it is a mixture of experts.
        format: as the checkpoint keeps it: ``"gptq"``, ``"gguf q4_k"``.
        text: what it is: ``"int4 sym per-group 128, scale bf16"``.
        has_bias: whether there is a bias.
        source_nbytes: the bytes of all its weights in the checkpoint.
        nbytes: the bytes of all its weights once they are packed.
    """

    def __init__(self, checkpoint: Checkpoint, info: _LayerInfo):
        self._checkpoint = checkpoint
        self._info = info
        self.name = info.name
        self.shape = info.shape
        self.experts = info.experts
        self.format = info.format
        self.text = info.text
        self.has_bias = info.bias_type is not None
        self.source_nbytes = info.source_nbytes
        self.nbytes = info.nbytes

    def weight(self, expert: int = 0) -> Weight:
        """Packs a weight, in memory of its own: it needs the checkpoint no longer.

        Args:
            expert: which, from 0 on.

        Raises:
            ValueError: there is no such expert, or the file has a value that cannot be (an infinite scale).
            MemoryError: there is no memory for it.
        """
        return Weight.from_packed(self.packed(expert))

    def mapped(self, expert: int = 0) -> Weight:
        """The weight of a .zwq file in the file's pages, which processes share: nothing is read before it is needed.

        The file stays mapped while the weight lives, whether the checkpoint is open or not. (:meth:`weight` copies into
        huge pages, from which products of few rows are faster.)

        Raises:
            ValueError: there is no such expert, or the packed weight is damaged.
            Error: the checkpoint is no .zwq file (``ZENWOQ_ERROR_UNSUPPORTED``).
        """
        return Weight.from_packed(self.mapped_bytes(expert))

    def mapped_bytes(self, expert: int = 0) -> memoryview:
        """The packed bytes of :meth:`mapped`. What is written to them goes to copies of the file's pages."""
        return _library.map_weight(*self._place(expert)).packed()

    def packed(self, expert: int = 0, threads: int = 0) -> memoryview:
        """The packed bytes of a weight, in memory that lives as long as any view of it.

        Args:
            expert: which, from 0 on.
            threads: the most threads to pack on; 0 is as many as the process may use.

        Raises:
            As :meth:`weight`.
        """
        return _library.load_weight(*self._place(expert), threads).packed()

    def bias(self, expert: int = 0) -> Any:
        """The bias of a weight ``[n]`` as a float32 array, or None. Raises ValueError, or ImportError without NumPy."""
        if self._info.bias_type is None:
            return None
        values = _arrays.empty_like(None, self.shape[:1], "float32")
        array = _arrays.as_array("bias", values)
        place = self._place(expert)
        _library.call_formats("zenwoq_checkpoint_bias", *place, Dtype.FLOAT32, array.address, array.nbytes)
        return values

    def dequantize(self, expert: int | None = None) -> Any:
        """The values as a float32 array, with the checkpoint's order of columns, factors of x left out.

        Args:
            expert: which weight; None is all of them.

        Returns:
            ``[n, k]``; for all weights of a layer that has several ``[experts, n, k]``.

        Raises:
            As :meth:`weight`; ImportError: NumPy is not installed.
        """
        if expert is not None or self.experts == 1:
            return self.weight(expert or 0).dequantize()
        values = _arrays.empty_like(None, (self.experts, *self.shape), "float32")
        for each in range(self.experts):
            self.weight(each).dequantize(out=values[each])
        return values

    def _place(self, expert: int) -> tuple[_library.OpenCheckpoint, int, int]:
        if not 0 <= expert < self.experts:
            raise ValueError(f"expert {expert} of {self.name}, which has {self.experts}")
        return self._checkpoint._open(), self._info.index, expert

    def __repr__(self) -> str:
        experts = f", experts={self.experts}" if self.experts != 1 else ""
        return f"zenwoq.Layer({self.name!r}, {self.shape[0]} x {self.shape[1]}{experts}, {self.format}: {self.text!r})"


def _left_alone(name: str, info: TensorInfo) -> LeftAlone:
    return LeftAlone(
        name=name,
        reason=info.reason.decode(),
        is_dense=info.kind == Kind.DENSE,
        type=info.type.decode(),
        shape=tuple(info.shape[: info.rank]),
        nbytes=int(info.source_bytes),
    )


def _layer_info(index: int, info: TensorInfo) -> _LayerInfo:
    return _LayerInfo(
        index=index,
        name=info.name.decode(),
        shape=(int(info.n), int(info.k)),
        experts=int(info.experts),
        format=info.format.decode(),
        text=info.quantization.decode(),
        bias_type=Dtype(info.bias_type) if info.has_bias else None,
        source_nbytes=int(info.source_bytes),
        nbytes=int(info.packed_bytes),
    )


class Checkpoint(Mapping[str, Layer]):
    """The 4-bit layers of a checkpoint by their names, and what else it has; what :func:`zenwoq.load` returns.

    A mapping in the checkpoint's order, and a context manager that closes it; it closes with its last layer, too. A
    layer is found by its weight's name as well (``"blk.0.attn_q.weight"``). Any number of threads may use it.

    Attributes:
        left_alone: the tensors that are no 4-bit layers, with the reasons.
    """

    left_alone: list[LeftAlone]

    def __init__(self, handle: _library.OpenCheckpoint):
        self._handle: _library.OpenCheckpoint | None = handle
        self._layers: dict[str, _LayerInfo] = {}
        self._tensors: dict[str, tuple[int, LeftAlone, int]] = {}  # dense ones: index, itself, type of its values
        self.left_alone = []
        count = c_size_t()
        _library.call_formats("zenwoq_checkpoint_count", handle, byref(count))
        for index in range(count.value):
            info = TensorInfo()
            _library.call_formats("zenwoq_checkpoint_info", handle, index, byref(info))
            name = info.name.decode()
            if info.kind == Kind.LAYER and name in self._layers:
                raise ValueError(f"two layers are called {name}")
            if info.kind == Kind.LAYER:
                self._layers[name] = _layer_info(index, info)
            else:
                left = _left_alone(name, info)
                self.left_alone.append(left)
                if left.is_dense:
                    self._tensors[name] = (index, left, info.values_type)

    def __getitem__(self, name: str) -> Layer:
        info = self._layers.get(name) or self._layers.get(name.removesuffix(".weight"))
        if info is not None:
            return Layer(self, info)
        reasons = [left.reason for left in self.left_alone if left.name in (name, f"{name}.weight")]
        raise KeyError(f"{name} is no 4-bit layer: {reasons[0]}" if reasons else f"no layer {name}")

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and (name in self._layers or name.removesuffix(".weight") in self._layers)

    def __iter__(self) -> Iterator[str]:
        return iter(self._layers)

    def __len__(self) -> int:
        return len(self._layers)

    def __enter__(self) -> Checkpoint:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Unmaps the files, once no other thread reads them. Weights that were packed stay; layers can pack no more."""
        self._handle = None

    @property
    def config(self) -> Any:
        """The config.json of the model: what a .zwq file holds of it, or the file beside the checkpoint; or None.

        Raises ValueError if it is no JSON.
        """
        text = _library.config_of(self._open())
        return None if text is None else json.loads(text)

    def tensor(self, name: str, *, dtype: str | None = None, out: Any = None) -> Any:
        """A tensor of plain numbers, such as a norm or an embedding.

        Args:
            name: as in `left_alone`.
            dtype: ``"float32"``, or the type in which its values are exact; None is that type.
            out: an array of that type and the tensor's shape, contiguous, writable; None makes a NumPy array.

        Returns:
            out, or the new array.

        Raises:
            KeyError: there is no such tensor, or it is of another kind (`left_alone` says of which).
            ValueError: `out` does not fit, or dtype is another one.
        """
        if name not in self._tensors:
            raise KeyError(f"{name} is no tensor of plain numbers")
        index, left, values_type = self._tensors[name]
        exact = Dtype(values_type)
        if dtype not in (None, "float32", exact.text):
            raise ValueError(f"dtype {dtype!r}: must be 'float32' or {exact.text!r}, in which {name} is exact")
        kind = Dtype.FLOAT32 if dtype == "float32" else exact
        values = _arrays.empty_like(None, left.shape, kind.text) if out is None else out
        array = _arrays.as_array("out", values)
        if array.dtype not in (kind.text, "uint16" if kind is Dtype.BFLOAT16 else kind.text) or not array.writable:
            raise ValueError(f"out holds {array.dtype}: must be writable {kind.text}")
        if array.shape != left.shape or not array.is_contiguous():
            raise ValueError(f"out has shape {array.shape}, must be contiguous {left.shape}")
        _library.call_formats("zenwoq_checkpoint_values", self._open(), index, kind, array.address, array.nbytes)
        return values

    def tensor_dtype(self, name: str) -> str:
        """The type in which the values of a tensor of plain numbers are exact: ``"bfloat16"``. Raises KeyError."""
        return Dtype(self._tensors[name][2]).text

    def verify(self) -> None:
        """Reads all of a .zwq file and compares it with its checksums.

        Raises:
            ValueError: it is damaged; names what is.
            Error: the checkpoint is no .zwq file (``ZENWOQ_ERROR_UNSUPPORTED``).
        """
        _library.call_formats("zenwoq_checkpoint_verify", self._open())

    def convert(self, path: str | os.PathLike[str], *, skip: bool = False) -> None:
        """Writes layers, biases, tensors of plain numbers and config.json to a .zwq file, whole or not at all.

        Args:
            path: of the file.
            skip: whether to leave out what cannot be written, in place of failing.

        Raises:
            Error: a tensor cannot be written, and skip is not set (``ZENWOQ_ERROR_UNSUPPORTED``).
            ValueError: the file cannot be written, or the checkpoint has a value that cannot be.
            MemoryError: there is no memory for a weight.
        """
        options = ctypes.byref(ConvertOptions(skip=int(skip)))
        _library.call_formats(
            "zenwoq_checkpoint_convert", self._open(), _library.context(), os.fsencode(Path(path)), options
        )

    def _open(self) -> _library.OpenCheckpoint:
        if self._handle is None:
            raise ValueError("the checkpoint is closed")
        return self._handle

    def __repr__(self) -> str:
        return f"zenwoq.Checkpoint({len(self)} layers, {len(self.left_alone)} other tensors)"


def load(path: str | os.PathLike[str], *, opaque_layout: str = "avx512") -> Checkpoint:
    """Opens a checkpoint: its 4-bit layers as a mapping by name.

        layers = zenwoq.load("model/")
        layers["model.layers.3.self_attn.k_proj"].dequantize()     # float32 [n, k]

    Files are mapped, not read: that takes milliseconds, and they must not change while the checkpoint is open.

    Args:
        path: a ``.safetensors`` file, a ``.safetensors.index.json``, a ``.gguf``, ``.onnx`` or ``.zwq`` file, or a
            folder with one of them and its ``config.json``.
        opaque_layout: the CPU that packed weights of TorchAO's ``Int4OpaqueTensor``: ``"avx512"`` or ``"avx2"``.

    Raises:
        ValueError: the file cannot be opened, is of no known kind, is damaged or contradicts itself.
        MemoryError: there is no memory.
    """
    if opaque_layout not in ("avx512", "avx2"):
        raise ValueError(f"opaque_layout {opaque_layout!r}: must be 'avx512' or 'avx2'")
    return Checkpoint(_library.open_checkpoint(os.fsencode(Path(path)), opaque_layout == "avx2"))


def open_tensors(
    tensors: Mapping[str, GivenTensor],
    *,
    config: object = None,
    metadata: Mapping[str, object] | None = None,
    avx2: bool = False,
) -> Checkpoint:
    """Opens tensors in memory, under the names that a file of their format has.

    Args:
        tensors: by name.
        config: what stands in the config.json beside them.
        metadata: TorchAO's metadata by the names of weights.
        avx2: whether opaque weights were packed for AVX2.

    Raises:
        ValueError: the tensors contradict each other.
    """
    structs, kept = [], []
    for name, tensor in tensors.items():
        shape = (ctypes.c_uint64 * max(1, len(tensor.shape)))(*tensor.shape)
        kept.append(tensor.owner)
        structs.append(
            Tensor(
                name=name.encode(),
                type=tensor.type.encode(),
                shape=shape,
                rank=len(tensor.shape),
                data=tensor.address,
                data_bytes=tensor.nbytes,
            )
        )
    texts = [
        None if value is None else json.dumps(value).encode()
        for value in (config, metadata and {key: json.dumps(value) for key, value in metadata.items()})
    ]
    return Checkpoint(_library.open_tensors(structs, texts[0], texts[1], avx2, kept))
