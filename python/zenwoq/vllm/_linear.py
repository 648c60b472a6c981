# SPDX-FileCopyrightText: 2026 The zenwoq authors
# SPDX-License-Identifier: Apache-2.0
"""Linears of vLLM with packed 4-bit weights.

vLLM makes one linear of several that read the same x (q, k and v; gate and up) and gives each process of a
tensor-parallel group a part of it. Here the tensors of the file are kept whole until all are there. Then each weight is
packed, cut, and joined to the others, so that no format needs code for shards.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from vllm.model_executor.layers.linear import (
    ColumnParallelLinear,
    LinearMethodBase,
    UnquantizedLinearMethod,
)
from vllm.model_executor.layers.vocab_parallel_embedding import VocabParallelEmbedding

import zenwoq.torch  # noqa: F401 - the operators
from zenwoq import Weight
from zenwoq._weight import WeightParts
from zenwoq.vllm._formats import Format
from zenwoq.vllm._report import Report
from zenwoq.vllm._tensors import kept, packed, place_for, stored
from zenwoq.vllm._warm import warm_linear

_QKV = {"q": 0, "k": 1, "v": 2}
DENSE = "weight"  # the part that a layer has which is not quantized in the file, where a format lets it be so
_PANEL = 64  # columns: weights are cut at multiples of it
# Of the first packed weight: LoRA and multi-head latent attention ask a layer for a parameter of this name.
_PACKED = "weight_packed"


class LinearMethod(LinearMethodBase):  # type: ignore[misc]
    """What vLLM calls for a linear whose weight zenwoq computes with.

    Args:
        format: of the weight in the checkpoint.
        prefix: the layer's name in the model.
        report: of the model.
    """

    def __init__(self, format: Format, prefix: str, report: Report):
        self._format = format
        self._prefix = prefix
        self._report = report
        self._dense: UnquantizedLinearMethod | None = None  # of a layer that is not packed in the file

    def create_weights(
        self,
        layer: torch.nn.Module,
        input_size_per_partition: int,
        output_partition_sizes: list[int],
        input_size: int,
        output_size: int,
        params_dtype: torch.dtype,
        **extra_weight_attrs: Any,
    ) -> None:
        """Makes places for the tensors of the file. Sizes: of this process and of the whole layer."""
        if reason := _reason_against(layer):
            raise ValueError(f"{self._prefix}: {reason}: ZENWOQ_VLLM=0 leaves the model to vLLM")
        self._k = input_size_per_partition
        self._sizes = list(output_partition_sizes)
        self._whole = (output_size, input_size)
        self._type = params_dtype
        self._report.plans(params_dtype)
        loaded: dict[tuple[int, ...], dict[str, torch.Tensor]] = {}  # by the linears that it is of
        self._loaded = loaded

        def loader(place: Any, tensor: torch.Tensor, shard: Any = None) -> None:
            loaded.setdefault(self._shards(shard), {})[place.part] = kept(tensor)

        for part in self._format.parts:
            kind = self._format.types.get(part, _type_of(part, params_dtype))
            layer.register_parameter(part, place_for(self._prefix, part, kind, loader))

    def _shards(self, shard: Any) -> tuple[int, ...]:
        """Which of the linears that this one is made of, as vLLM says it, by their numbers."""
        if shard is None:
            return tuple(range(len(self._sizes)))
        names: tuple[Any, ...] = shard if isinstance(shard, tuple) else (shard,)
        return tuple(_QKV[name] if name in _QKV else int(name) for name in names)

    def process_weights_after_loading(self, layer: Any) -> None:
        """Packs what was loaded, and lets go of it."""
        loaded, self._loaded = self._loaded, {}
        for part in self._format.parts:
            delattr(layer, part)
        missing = set(range(len(self._sizes))).difference(*loaded)
        if missing:
            which = f"{len(missing)} of its {len(self._sizes)} weights are" if len(self._sizes) > 1 else "its weight is"
            raise ValueError(
                f"{self._prefix}: {which} not in the checkpoint (--load-format dummy has no 4-bit weights)"
            )
        dense = {shards: parts for shards, parts in loaded.items() if self._is_dense(parts)}
        if dense and len(dense) < len(loaded):
            raise ValueError(
                f"{self._prefix}: some of its weights are packed in the checkpoint and some are dense, but vLLM makes "
                f"one linear of them: pack all of them, or none"
            )
        if dense:
            loaded.clear()  # vLLM keeps the place's loader, and so this
            return self._make_dense(layer, dense)
        pieces: dict[int, Weight] = {}
        try:
            for shards in sorted(loaded):
                weight = self._format.pack(loaded.pop(shards))
                for shard, rows, columns in self._cuts(layer, shards, (weight.n, weight.k)):
                    pieces[shard] = cut(weight, rows, columns)
        except (RuntimeError, TypeError, ValueError) as error:
            raise ValueError(f"{self._prefix}: {error}") from error
        weights = joined([pieces[shard] for shard in sorted(pieces)])
        for i, weight in enumerate(weights):
            layer.register_parameter(_name(i), torch.nn.Parameter(stored(weight), requires_grad=False))
            bias = getattr(layer, "bias", None)
            warm_linear(weight, self._type, None if bias is None else bias.dtype)
        self._n = [weight.n for weight in weights]
        self._padding = sum(self._sizes) - sum(self._n)
        self._report.packed(f"{self._format.name} linears")
        return None

    def _is_dense(self, parts: dict[str, torch.Tensor]) -> bool:
        return DENSE in parts and parts[DENSE].dtype.is_floating_point

    def _make_dense(self, layer: Any, loaded: dict[tuple[int, ...], dict[str, torch.Tensor]]) -> None:
        pieces: dict[int, torch.Tensor] = {}
        for shards, parts in loaded.items():
            for shard, rows, columns in self._cuts(layer, shards, tuple(parts[DENSE].shape)):
                pieces[shard] = parts[DENSE][rows, columns].to(self._type)
        weight = torch.cat([pieces[shard] for shard in sorted(pieces)])
        layer.register_parameter("weight", torch.nn.Parameter(weight, requires_grad=False))
        self._dense = UnquantizedLinearMethod()
        self._dense.process_weights_after_loading(layer)
        self._report.dense(self._prefix)

    def _cuts(self, layer: Any, shards: tuple[int, ...], shape: tuple[int, ...]) -> Iterator[tuple[int, slice, slice]]:
        """This process's parts of a weight with the rows of some of the linears: which, rows, columns."""
        rank = int(layer.tp_rank)
        whole = _rows(layer, self._whole[0], len(self._sizes))
        n, k = sum(whole[shard] for shard in shards), self._whole[1]
        if shape != (n, k):
            raise ValueError(f"its weight is {' x '.join(map(str, shape))} in the checkpoint, {n} x {k} in the model")
        first_k = rank * self._k if self._k != k else 0
        if isinstance(layer, VocabParallelEmbedding):  # of vLLM's rows the last are padding, which no file has
            ours = layer.shard_indices
            yield 0, slice(ours.org_vocab_start_index, ours.org_vocab_end_index), slice(0, k)
            return
        begin = 0
        for shard in shards:
            size = self._sizes[shard]
            # Fewer heads of k and v than processes: several have the same ones.
            which = rank // getattr(layer, "num_kv_head_replicas", 1) if shard in (1, 2) else rank
            first = begin + (which * size if size != whole[shard] else 0)
            yield shard, slice(first, first + size), slice(first_k, first_k + self._k)
            begin += whole[shard]

    def apply(self, layer: Any, x: torch.Tensor, bias: torch.Tensor | None = None) -> torch.Tensor:
        """``x W^T + bias`` of this process's part: ``[..., n]`` in x's dtype."""
        if self._dense is not None:
            return self._dense.apply(layer, x, bias)  # type: ignore[no-any-return]
        if self._padding:  # of a head
            rows = None if bias is None else bias[: self._n[0]]
            results = torch.ops.zenwoq.linear(x, layer.weight_packed, rows, self._n[0])
            return torch.nn.functional.pad(results, (0, self._padding))
        if len(self._n) == 1:
            return torch.ops.zenwoq.linear(x, layer.weight_packed, bias, self._n[0])  # type: ignore[no-any-return]
        weights = [getattr(layer, _name(i)) for i in range(len(self._n))]
        biases = [None] * len(weights) if bias is None else list(bias.split(self._n))
        return torch.cat(torch.ops.zenwoq.linears(x, weights, biases, self._n), -1)


def _reason_against(layer: Any) -> str:
    """Why a linear's rows would be wrong in silence; empty if they are not."""
    # Mamba of one group is one linear then, of which each process takes pieces; else it is a merged one.
    if type(layer) is ColumnParallelLinear and layer.prefix.endswith(".in_proj") and layer.tp_size > 1:
        return f"its parts are cut apart for {layer.tp_size} processes, which zenwoq does not do"
    return ""


def _name(i: int) -> str:
    """Of a layer's packed weights the i-th."""
    return _PACKED if i == 0 else f"{_PACKED}_{i}"


def _type_of(part: str, params_dtype: torch.dtype) -> torch.dtype:
    if "scale" in part or part == DENSE:
        return params_dtype
    return torch.int64 if part == "weight_shape" else torch.int32


def _rows(layer: Any, whole: int, count: int) -> list[int]:
    """The rows of the linears that a linear is made of, of all processes."""
    if isinstance(layer, VocabParallelEmbedding):
        return [int(layer.org_vocab_size)]
    if count == 1:
        return [whole]
    if hasattr(layer, "total_num_kv_heads"):
        heads, kv_heads = layer.total_num_heads, layer.total_num_kv_heads
        return [heads * layer.head_size, kv_heads * layer.head_size, kv_heads * layer.v_head_size]
    return [int(size) for size in layer.output_sizes]


def cut(weight: Weight, rows: slice, columns: slice) -> Weight:
    """Some rows and columns of a weight. Raises ValueError if it cannot be cut there."""
    n_begin, n_end, k_begin, k_end = rows.start, rows.stop, columns.start, columns.stop
    if (n_begin, n_end, k_begin, k_end) == (0, weight.n, 0, weight.k):
        return weight
    if n_begin % _PANEL == 0 and (n_end % _PANEL == 0 or n_end == weight.n):
        return weight.slice(n_begin, n_end, k_begin=k_begin, k_end=k_end)
    if weight.permutation is not None or weight.x_scale is not None or weight.super_scales is not None:
        raise ValueError(f"{weight.text}: it is cut at multiples of {_PANEL} rows only, not to [{n_begin}, {n_end})")
    weight = weight.slice(k_begin=k_begin, k_end=k_end)
    codes, scales, zeros = (part if part is None else part[n_begin:n_end].copy() for part in weight.unpack())
    return packed(
        WeightParts(
            codes, scales, zeros, table=weight.table, k=weight.k, group_size=weight.group_size, dtype=weight.scale_dtype
        )
    )


def joined(weights: list[Weight]) -> list[Weight]:
    """The weights as one, whose rows follow each other; as they are if they differ in more than their rows."""
    if len(weights) == 1:
        return weights
    try:
        return [Weight.join(weights)]
    except ValueError:  # act-order that differs, rows that are no multiple of 64, ...
        return weights
