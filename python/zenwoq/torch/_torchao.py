# SPDX-FileCopyrightText: 2026 The zenwoq authors
# SPDX-License-Identifier: Apache-2.0
"""TorchAO's 4-bit weights.

Intx     W = scale * (q - zero_point)       q int8 in -8..7, one per byte
Opaque   W = scale * (code - 8) + zero      codes as ATen's CPU kernel packs them, scale and zero side by side
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from zenwoq._weight import WeightParts

Reader = Callable[[], WeightParts]
Found = tuple[str, Reader | None]  # the reason why there is no reader, or the reader

_FLOATS = (torch.float32, torch.float16, torch.bfloat16)
_INTX = ("IntxUnpackedToInt8Tensor", "IntxUnpackedTensor")
_OPAQUE = ("Int4OpaqueTensor",)
_PACKED_FOR = {64: "AVX-512", 32: "AVX2", 0: "no vectors"}  # rows of a block in ATen's layouts
_SAMPLE_ROWS = 256
_AFFINE = ("AffineQuantizedTensor",)  # before torchao 0.18: IntxWeightOnlyConfig(version=1)


def _name(dtype: object) -> str:
    return str(dtype).removeprefix("torch.")


def describe(weight: Any) -> str:
    """For example ``"torchao int4 intx, group 128"``."""
    kind = type(weight).__name__
    if kind in ("Tensor", "Parameter"):
        return _name(weight.dtype)
    block = getattr(weight, "block_size", None)
    group = f", group {block[-1]}" if block else ""
    if kind in _OPAQUE:
        return f"torchao int4 opaque{group}"
    if kind in _INTX + _AFFINE:
        bits = "" if kind in _AFFINE else f" {_target(weight)}"
        return f"torchao{bits} {'affine' if kind in _AFFINE else 'intx'}{group}"
    return kind


def open_weight(weight: Any) -> Found:
    """Finds the reader of a weight, without reading the weight."""
    kind = type(weight).__name__
    if kind in ("Tensor", "Parameter"):
        return f"not quantized ({_name(weight.dtype)})", None
    if weight.dim() != 2:
        return f"{weight.dim()} dimensions", None
    if kind in _INTX:
        return _open_intx(weight)
    if kind in _OPAQUE:
        return _open_opaque(weight)
    if kind in _AFFINE:
        return _open_affine(weight)
    return f"{kind} is not supported", None


def _target(weight: Any) -> str:
    """The target type, such as ``"int4"``; older classes have a number of bits instead."""
    bits = getattr(weight, "bit_width", None)
    return f"int{bits}" if bits is not None else _name(weight.target_dtype)


def _open_intx(weight: Any) -> Found:
    if _target(weight) != "int4":
        return f"{_target(weight)} values, not int4", None
    activation = getattr(weight, "activation_quantization", None)
    if activation is not None:
        return f"activations are quantized too ({getattr(activation, 'value', activation)})", None
    codes = weight.qdata if hasattr(weight, "qdata") else weight.int_data
    return _open_codes(codes, weight.scale, weight.zero_point, weight.block_size)


def _open_affine(weight: Any) -> Found:
    impl = weight.tensor_impl
    layout = type(impl).__name__
    if not all(hasattr(impl, name) for name in ("int_data", "scale", "zero_point")):
        return f"layout {layout} is not supported", None
    if (weight.quant_min, weight.quant_max) != (-8, 7) or impl.int_data.dtype != torch.int8:
        return f"values in {weight.quant_min}..{weight.quant_max}, not int4", None
    domain = getattr(weight, "zero_point_domain", None)
    if domain is not None and getattr(domain, "name", str(domain)) not in ("INT", "NONE"):
        return f"zero points in the {getattr(domain, 'name', domain)} domain", None
    return _open_codes(impl.int_data, impl.scale, impl.zero_point, weight.block_size)


def _open_codes(codes: torch.Tensor, scale: torch.Tensor, zero: torch.Tensor | None, block: Any) -> Found:
    n, k = codes.shape
    block = tuple(block)
    if len(block) != 2 or block[0] != 1 or k % block[1] != 0:
        return f"blocks of {list(block)}, only rows cut into equal groups are supported", None
    group = block[1]
    if group % 8 != 0 and group != k:
        return f"groups of {group}, not a multiple of 8", None
    if scale.dtype not in _FLOATS:
        return f"{_name(scale.dtype)} scales", None
    zeros = None
    if zero is not None and bool(zero.any()):
        if not bool(
            ((zero == zero.round()) if zero.dtype.is_floating_point else torch.ones(1, dtype=torch.bool)).all()
        ):
            return "zero points that are not integers", None
        if bool(((zero < -8) | (zero > 8)).any()):
            return "zero points outside -8..8", None
        zeros = zero.reshape(n, k // group)

    def read() -> WeightParts:
        return WeightParts(
            codes.contiguous(),
            scale.reshape(n, k // group).contiguous(),
            None if zeros is None else (zeros.to(torch.int8) + 8).contiguous(),
            layout="s8",
            table="twos_complement",
            group_size=0 if group == k else group,
        )

    return "", read


def _open_opaque(weight: Any) -> Found:
    if getattr(weight, "act_mapping_type", None) is not None:
        return f"activations are quantized too ({weight.act_mapping_type})", None
    for part in ("act_pre_scale", "qzeros", "compensation"):
        if getattr(weight, part, None) is not None:
            return f"has {part}, which zenwoq does not apply", None
    n, k = weight.shape
    group = weight.block_size[-1]
    scale_and_zero = weight.scale_and_zero
    if scale_and_zero.dtype not in _FLOATS or scale_and_zero.shape != (k // group, n, 2):
        return f"scales of shape {list(scale_and_zero.shape)} and type {_name(scale_and_zero.dtype)}", None
    if n % 16 != 0 or k % group != 0:
        return f"{n} x {k} in groups of {group}, not as ATen packs", None

    def read() -> WeightParts:
        codes = unpack_opaque(weight.qdata, n, k, group, scale_and_zero)
        scales, zeros = (scale_and_zero[:, :, i].t().contiguous() for i in (0, 1))
        return WeightParts(codes, scales, zeros, layout="u8", group_size=0 if group == k else group)

    return "", read


def unpack_opaque(qdata: torch.Tensor, n: int, k: int, group: int, scale_and_zero: torch.Tensor) -> torch.Tensor:
    """The uint8 codes ``[n, k]`` of a weight that ATen packed.

    The bytes depend on the instruction set that ATen packed for and do not say which that was. The layout is the one
    that ATen's own kernel reads on this machine: a few columns of the weight must be as that kernel computes them.

    Raises:
        ValueError: a scale or zero is not finite; no known layout gives these columns; or the weight was packed for
            another kind of CPU, and ATen would compute nonsense here.
    """
    wrong = (~scale_and_zero.isfinite()).nonzero()
    if len(wrong):
        at, row, kind = wrong[0].tolist()
        raise ValueError(f"{('scale', 'zero')[kind]} {scale_and_zero[at, row, kind]} at row {row}, group {at}")
    capability = torch.backends.cpu.get_cpu_capability()
    rows_first = 32 if capability == "AVX2" else 64
    columns = sorted({0, 1, k // 2, k - 1})
    x = torch.zeros((len(columns), k), dtype=scale_and_zero.dtype)
    x[torch.arange(len(columns)), columns] = 1
    expected = torch.ops.aten._weight_int4pack_mm_for_cpu(x, qdata, group, scale_and_zero).float()
    scale, zero = (scale_and_zero[torch.tensor(columns) // group, :, i].float() for i in (0, 1))
    precision = torch.finfo(scale_and_zero.dtype)
    rounding = precision.eps * (8 * scale.abs() + zero.abs()) + precision.smallest_normal * precision.eps
    overflown = ~expected.isfinite()  # which says nothing about the layout
    for rows in dict.fromkeys((rows_first, *_PACKED_FOR)):
        codes = _unpack_blocks(qdata, n, k, rows)
        values = (codes[:, columns].t().float() - 8) * scale + zero
        if bool((overflown | ((values - expected).abs() <= rounding)).all()):
            _check_packed_for(rows, codes, qdata, scale_and_zero)
            return codes
    raise ValueError(f"qdata of {n} x {k} is in no layout that ATen reads with {capability}")


def _check_packed_for(rows: int, codes: torch.Tensor, qdata: torch.Tensor, scale_and_zero: torch.Tensor) -> None:
    """Raises ValueError if the codes show that the weight was packed in another layout."""
    misfits = _misfits(codes, scale_and_zero)
    if misfits <= 2:
        return
    n, k = codes.shape
    groups = min(n, _SAMPLE_ROWS) * len(scale_and_zero)
    for other, cpu in _PACKED_FOR.items():
        other_misfits = _misfits(_unpack_blocks(qdata, n, k, other), scale_and_zero)
        if other_misfits <= groups // 20 and misfits > 2 * other_misfits + 2:
            raise ValueError(
                f"qdata of {n} x {k} was packed for {cpu}, but ATen reads it as packed for {_PACKED_FOR[rows]} "
                f"here and would compute nonsense: quantize on this kind of machine (of {groups} groups, {misfits} "
                f"have codes that do not fit their scale, {other_misfits} if read as they were packed)"
            )


def _misfits(codes: torch.Tensor, scale_and_zero: torch.Tensor) -> int:
    """Counts groups that have codes 0 and 15 although they are not stretched, or do not although they are.

    TorchAO stretches each group over all codes, unless its values are all nearly the same, for example zeros: then it
    sets the scale to 1e-6. Hardly any group is a misfit in the right layout; others mix the codes of two rows.
    formats/torchao_opaque.cpp has the same rule, and both read the fixtures opaque_zeros_*.
    """
    count = min(len(codes), _SAMPLE_ROWS)
    sample = torch.arange(count) * len(codes) // count
    groups = codes[sample].reshape(count, len(scale_and_zero), -1)
    full = (groups == 0).any(2) & (groups == 15).any(2)
    stretched = scale_and_zero[:, sample, 0].t().float() > 1.1e-6
    return int((full != stretched).sum())


def _unpack_blocks(qdata: torch.Tensor, n: int, k: int, rows: int) -> torch.Tensor:
    """Unpacks blocks whose bytes hold rows i and i + rows/2; left-over rows (all for rows = 0) are 2i and 2i + 1."""
    flat = qdata.reshape(-1)
    codes = torch.empty((n, k), dtype=torch.uint8)
    full = n // rows * rows if rows else 0
    if full:
        blocks = flat[: full * k // 2].view(full // rows, k, rows // 2)
        out = codes[:full].view(full // rows, 2, rows // 2, k)
        out[:, 0] = (blocks & 15).transpose(1, 2)
        out[:, 1] = (blocks >> 4).transpose(1, 2)
    step = n - full if rows else 16  # without vectors, ATen packs blocks of any size alike
    for begin in range(full, n, max(step, 1)):
        block = flat[begin * k // 2 : (begin + step) * k // 2].view(k, step // 2)
        out = codes[begin : begin + step].view(step // 2, 2, k)
        out[:, 0] = (block & 15).t()
        out[:, 1] = (block >> 4).t()
    return codes
