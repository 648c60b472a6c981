# SPDX-FileCopyrightText: 2026 The zenwoq authors
# SPDX-License-Identifier: Apache-2.0
"""Puts packed experts into models: of TorchAO's 4-bit tensors, or rounded here from dense weights."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import torch

from zenwoq import Weight
from zenwoq.torch import _pretrained, _torchao
from zenwoq.torch._experts import (
    Shape,
    Stack,
    biases_of,
    check_pairs,
    install,
    is_experts,
    is_packed,
    shape_of,
    text_of,
)
from zenwoq.torch._experts import bytes_of as packed_bytes_of
from zenwoq.torch._given import NAME, Unsupported
from zenwoq.torch._progress import Bar, progress_bar
from zenwoq.torch._report import LayerReport, Report
from zenwoq.torch._sources import bytes_of

_GROUPS = (32, 64, 128)
_FLOATS = (torch.float32, torch.float16, torch.bfloat16)
_DENSE = "not quantized ({}): zenwoq.torch.quantize_experts packs it"


def quantize_experts(
    model: torch.nn.Module, *, group_size: int = 32, symmetric: bool = True, progress: bool | None = None
) -> Report:
    """Rounds the dense experts of a model of transformers to 4 bits, in place, and lets zenwoq run them.

    For each group of `group_size` weights along the input, in float32, with the smallest weight or 0 as `low` and the
    greatest or 0 as `high`::

        symmetric:   scale = bf16(max(high, -low) / 7.5)    code = clamp(round(w / scale), -8, 7)
        asymmetric:  scale = bf16((high - low) / 15)        zero = clamp(round(-8 - low / scale), -8, 7)
                                                            code = clamp(round(w / scale) + zero, -8, 7)

    with scales of at least 2^-100 and halves rounded to even; the weight is then scale * (code - zero). So TorchAO's
    IntxWeightOnlyConfig maps linears (symmetric, asymmetric), in the weights' own dtype. A last group may be shorter.

    Experts go one by one, and a dense parameter is freed when it is packed: at no time are two copies of the model in
    memory. Linears stay as they are. Modules that are not understood stay, too, with the reason in the report. No other
    thread may use the model meanwhile.

    Args:
        model: on the CPU, with experts in float32, float16 or bfloat16.
        group_size: 32, 64 or 128.
        symmetric: whether to do without zero points.
        progress: as :func:`optimize` has it.

    Returns:
        A report with an entry for each module of experts.

    Raises:
        ValueError: group_size is another one, or a weight is not finite, which the message names; modules before it are
            replaced.
        MemoryError: there is no memory for the packed weights; modules before it are replaced.
        TypeError: model is not a module.
    """
    if not isinstance(model, torch.nn.Module):
        raise TypeError(f"model is a {type(model).__name__}, must be a torch.nn.Module")
    if group_size not in _GROUPS:
        raise ValueError(f"group_size is {group_size}, must be {', '.join(map(str, _GROUPS))}")
    _pretrained.announce()

    def source_of(weight: torch.Tensor, is_transposed: bool) -> _Rows:
        kind = type(weight).__name__
        if kind not in ("Tensor", "Parameter") or weight.dtype not in _FLOATS:
            raise Unsupported(f"{kind} of {weight.dtype}, must be float32, float16 or bfloat16")
        if weight.device.type != "cpu":
            raise Unsupported(f"on {weight.device}")
        return _DenseRows(weight, is_transposed, group_size, symmetric)

    report = Report()
    start = time.perf_counter()
    modules = [(name, module) for name, module in model.named_modules() if is_experts(module) and not is_packed(module)]
    total = sum(parameter.nbytes for _, module in modules for parameter in module.parameters(recurse=False))
    with progress_bar(total, progress) as bar:
        for name, module in modules:
            report.layers.append(_replace(name, module, source_of, bar))
    report.seconds = time.perf_counter() - start
    return report


def optimize_experts(model: torch.nn.Module, bar: Bar) -> list[LayerReport]:
    """Lets zenwoq run experts with weights that TorchAO quantized. Returns a report of each module that was dense."""
    return [
        _replace(name, module, _torchao_rows, bar)
        for name, module in model.named_modules()
        if is_experts(module) and not is_packed(module)
    ]


def bytes_of_experts(model: torch.nn.Module) -> int:
    """The bytes of the weights that :func:`optimize_experts` reads."""
    return sum(
        bytes_of(parameter)
        for module in model.modules()
        if is_experts(module) and not is_packed(module)
        for parameter in module.parameters(recurse=False)
    )


class _Rows:
    """A stacked weight ``[experts, n, k]`` that can pack some rows of an expert."""

    text = ""

    def check(self) -> None:
        """Raises ValueError for a value that cannot be, before anything is changed."""

    def packed(self, expert: int, rows: slice) -> torch.Tensor:
        """The packed weight of these rows, as uint8."""
        raise NotImplementedError


class _DenseRows(_Rows):
    def __init__(self, weight: torch.Tensor, is_transposed: bool, group_size: int, symmetric: bool):
        self._weight = weight.detach()
        self._weight = self._weight.transpose(1, 2) if is_transposed else self._weight
        self._group_size, self._symmetric = group_size, symmetric
        self.text = str(weight.dtype).removeprefix("torch.")

    def check(self) -> None:
        for expert, weight in enumerate(self._weight):
            if not bool(weight.isfinite().all()):
                raise ValueError(f"expert {expert} has a weight that is not finite")

    def free(self) -> None:
        """Lets go of the weight."""
        self._weight = torch.empty(0)

    def packed(self, expert: int, rows: slice) -> torch.Tensor:
        values = self._weight[expert][rows].to(torch.float32)
        codes, scales, zeros = rounded(values, self._group_size, self._symmetric)
        weight = Weight(
            codes, scales, zeros, layout="s8", table="twos_complement", group_size=min(self._group_size, codes.shape[1])
        )
        return torch.frombuffer(bytearray(weight.packed), dtype=torch.uint8)


def rounded(
    weight: torch.Tensor, group_size: int, symmetric: bool
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]:
    """Codes -8..7 ``[n, k]``, scales ``[n, groups]`` in bfloat16 and zeros 0..16 of a weight ``[n, k]`` in float32.

    The formula is that of :func:`quantize_experts`. Zeros are those of :class:`zenwoq.Weight`, its own plus 8.
    """
    n, k = weight.shape
    groups = torch.nn.functional.pad(weight, (0, -k % group_size)).view(n, -1, group_size)
    low, high = groups.amin(-1).clamp(max=0), groups.amax(-1).clamp(min=0)
    span = torch.maximum(high, -low) / 7.5 if symmetric else (high - low) / 15
    scales = span.clamp(min=2.0**-100).to(torch.bfloat16)
    steps = scales.float()
    zeros = torch.zeros_like(steps) if symmetric else (-8 - low / steps).round().clamp(-8, 7)
    codes = ((groups / steps[..., None]).round() + zeros[..., None]).clamp(-8, 7).to(torch.int8)
    codes = codes.view(n, -1)[:, :k].contiguous()
    return codes, scales, None if symmetric else (zeros + 8).to(torch.int8)


class _Int4Rows(_Rows):
    """TorchAO's Int4Tensor of three dimensions."""

    def __init__(self, weight: Any):
        self._weight = weight
        self.text = self._open(0, slice(None))[1]

    def _open(self, expert: int, rows: slice) -> tuple[Any, str]:
        checkpoint = _torchao.given_of_expert(self._weight, expert, rows).open()
        layer = checkpoint.get(NAME)
        if layer is None:
            raise Unsupported(checkpoint.left_alone[0].reason)
        return layer, layer.format

    def packed(self, expert: int, rows: slice) -> torch.Tensor:
        layer, _ = self._open(expert, rows)
        return torch.frombuffer(layer.packed(threads=torch.get_num_threads()), dtype=torch.uint8)


def _torchao_rows(weight: torch.Tensor, is_transposed: bool) -> _Rows:
    kind = type(weight).__name__
    if kind in ("Tensor", "Parameter"):
        raise Unsupported(_DENSE.format(str(weight.dtype).removeprefix("torch.")))
    if kind != "Int4Tensor":
        raise Unsupported(f"{kind} of 3 dimensions is not supported")
    if is_transposed:
        raise Unsupported("quantized along the output: its module has weights [experts, in, out]")
    return _Int4Rows(weight)


_SourceOf = Callable[[torch.Tensor, bool], _Rows]


def _replace(name: str, module: Any, source_of: _SourceOf, bar: Bar) -> LayerReport:
    size = sum(bytes_of(parameter) for parameter in module.parameters(recurse=False))
    was = ""
    try:
        shape = shape_of(module)
        was = f"{shape.experts} experts"
        names = ("gate_up_proj", "down_proj")
        sources = [source_of(module._parameters[own], shape.is_transposed) for own in names]
        was = f"{was}, {' and '.join(dict.fromkeys(source.text for source in sources))}"
        packed = _pack(module, shape, sources, bar)
    except Unsupported as reason:
        return LayerReport(name, None, was or type(module).__name__, size, size, False, str(reason), stacked=True)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from error
    install(module, shape, packed, biases_of(module, shape))
    return _report_of(name, module, was, size)


def _pack(module: Any, shape: Shape, sources: list[_Rows], bar: Bar) -> dict[str, torch.Tensor | None]:
    """The packed weights; each dense parameter is freed when it is packed."""
    both, inner = 2 * shape.intermediate, shape.intermediate
    of_gate, of_up = (
        (slice(0, both, 2), slice(1, both, 2)) if shape.is_interleaved else (slice(0, inner), slice(inner, both))
    )
    gate, up, down = (Stack(shape.experts) for _ in range(3))
    for source in sources:
        source.check()
    for expert in range(shape.experts):
        gate.add(sources[0].packed(expert, of_gate))
        up.add(sources[0].packed(expert, of_up))
    check_pairs(gate.tensor, up.tensor)
    _free(module, sources[0], "gate_up_proj", bar)
    for expert in range(shape.experts):
        down.add(sources[1].packed(expert, slice(None)))
    _free(module, sources[1], "down_proj", bar)
    return {"gate_packed": gate.tensor, "up_packed": up.tensor, "down_packed": down.tensor}


def _free(module: Any, source: _Rows, own: str, bar: Bar) -> None:
    bar.update(bytes_of(module._parameters[own]))
    if isinstance(source, _DenseRows):  # of which nothing can be refused any more
        module._parameters[own] = None
        source.free()


def _report_of(name: str, module: Any, was: str, size: int) -> LayerReport:
    shape = shape_of(module)
    after = packed_bytes_of(module)
    result = f"{shape.experts} experts of {shape.hidden} x {shape.intermediate}: {text_of(module)}"
    return LayerReport(name, None, was, size, after, True, result, stacked=True)
