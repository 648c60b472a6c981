# SPDX-FileCopyrightText: 2026 The zenwoq authors
# SPDX-License-Identifier: Apache-2.0
"""TorchAO's 4-bit weights: its tensors as the parts that its safetensors files hold."""

from __future__ import annotations

from typing import Any

import torch

from zenwoq._weight import Weight
from zenwoq.torch._given import Given, Unsupported

_PART = "_weight_"  # before the names of a weight's tensors
_INTX = ("IntxUnpackedToInt8Tensor", "IntxUnpackedTensor")  # the second before torchao 0.14
_AFFINE = ("AffineQuantizedTensor",)  # before torchao 0.18: IntxWeightOnlyConfig(version=1)
_CHECKED_ROWS = 64  # of an opaque weight, at its start and at its end


def _name(dtype: object) -> str:
    return str(dtype).removeprefix("torch.")


def describe(weight: Any) -> str:
    """What a weight that is not read is: its class, or the dtype of a plain tensor."""
    kind = type(weight).__name__
    return _name(weight.dtype) if kind in ("Tensor", "Parameter") else kind


def given(weight: Any) -> Given:
    """The parts of a weight. Raises Unsupported with the reason if there is none that is read."""
    kind = type(weight).__name__
    if kind in ("Tensor", "Parameter"):
        raise Unsupported(f"not quantized ({_name(weight.dtype)})")
    if weight.dim() != 2:
        raise Unsupported(f"{weight.dim()} dimensions")
    if kind in _INTX:
        codes = weight.qdata if hasattr(weight, "qdata") else weight.int_data
        bits = getattr(weight, "bit_width", None)  # older classes have it instead of a type
        target = f"int{bits}" if bits is not None else _name(weight.target_dtype)
        activation = getattr(weight, "activation_quantization", None)
        return given_of_intx(codes, weight.scale, weight.zero_point, weight.block_size, target, activation)
    if kind in _AFFINE:
        return _affine(weight)
    if kind == "Int4OpaqueTensor":
        return _opaque(weight)
    if kind == "Int4Tensor":
        names = ("qdata", "scale", "zero_point", "act_pre_scale")
        parts = {f"{_PART}{name}": getattr(weight, name, None) for name in names}
        return Given(parts, metadata={"_type": kind, "_data": {}})
    raise Unsupported(f"{kind} is not supported")


def given_of_expert(weight: Any, expert: int, rows: slice) -> Given:
    """The parts of some rows of one expert of an Int4Tensor ``[experts, n, k]``."""
    if getattr(weight, "act_pre_scale", None) is not None:
        raise Unsupported("x is multiplied with act_pre_scale")
    parts = {
        f"{_PART}qdata": weight.qdata[expert, rows],
        f"{_PART}scale": weight.scale[expert, :, rows],
        f"{_PART}zero_point": weight.zero_point[expert, :, rows],
    }
    return Given(parts, metadata={"_type": "Int4Tensor", "_data": {}})


def given_of_intx(codes: torch.Tensor, scale: Any, zero: Any, block: Any, target: str, activation: Any = None) -> Given:
    """The parts of an Intx tensor: one code in each int8. Raises Unsupported for zero points that are not read."""
    groups = (codes.shape[0], -1)
    zeros = torch.zeros_like(scale, dtype=torch.int8) if zero is None else _whole(zero)
    data = {
        "target_dtype": {"_type": "torch.dtype", "_data": target},
        "block_size": list(block),
        "activation_quantization": None if activation is None else str(getattr(activation, "value", activation)),
    }
    return Given(
        {
            f"{_PART}qdata": codes,
            f"{_PART}scale": scale.reshape(groups),
            f"{_PART}zero_point": zeros.reshape(groups),
        },
        metadata={"_type": _INTX[0], "_data": data},
    )


def _whole(zero: torch.Tensor) -> torch.Tensor:
    """Zero points as int8."""
    if zero.dtype.is_floating_point and not bool((zero == zero.round()).all()):
        raise Unsupported("zero points that are not integers")
    if bool(((zero < -8) | (zero > 8)).any()):
        raise Unsupported("zero points outside -8..8")
    return zero.to(torch.int8)


def _affine(weight: Any) -> Given:
    impl = weight.tensor_impl
    if not all(hasattr(impl, name) for name in ("int_data", "scale", "zero_point")):
        raise Unsupported(f"layout {type(impl).__name__} is not supported")
    if (weight.quant_min, weight.quant_max) != (-8, 7) or impl.int_data.dtype != torch.int8:
        raise Unsupported(f"values in {weight.quant_min}..{weight.quant_max}, not int4")
    domain = getattr(weight, "zero_point_domain", None)
    if domain is not None and getattr(domain, "name", str(domain)) not in ("INT", "NONE"):
        raise Unsupported(f"zero points in the {getattr(domain, 'name', domain)} domain")
    return given_of_intx(impl.int_data, impl.scale, impl.zero_point, weight.block_size, "int4")


def _opaque(weight: Any) -> Given:
    """A weight that ATen packed on this kind of CPU: the bytes depend on it and do not say what it was.

    So the layout is that which ATen's own kernel reads here. That it is the one which we take it for is checked by a
    few columns; that it was packed for another CPU, of which ATen would compute nonsense, the library of formats
    notices.
    """
    if getattr(weight, "act_mapping_type", None) is not None:
        raise Unsupported(f"activations are quantized too ({weight.act_mapping_type})")
    names = ("qdata", "scale_and_zero", "act_pre_scale", "qzeros", "compensation")
    qdata, scale_and_zero, group = weight.qdata, weight.scale_and_zero, weight.block_size[-1]

    def check(packed: Weight) -> None:
        columns = sorted({0, 1, packed.k // 2, packed.k - 1})
        x = torch.zeros((len(columns), packed.k), dtype=scale_and_zero.dtype)
        x[torch.arange(len(columns)), columns] = 1
        expected = torch.ops.aten._weight_int4pack_mm_for_cpu(x, qdata, group, scale_and_zero).float()
        scale, zero = (scale_and_zero[torch.tensor(columns) // group, :, i].float() for i in (0, 1))
        precision = torch.finfo(scale_and_zero.dtype)
        rounding = precision.eps * (8 * scale.abs() + zero.abs()) + precision.smallest_normal * precision.eps
        overflown = ~expected.isfinite()  # which says nothing about the layout
        for begin in {0, max(0, packed.n - _CHECKED_ROWS)}:
            rows = slice(begin, min(packed.n, begin + _CHECKED_ROWS))
            values = torch.empty((rows.stop - begin, packed.k), dtype=torch.float32)
            packed.dequantize(begin, rows.stop, out=values)
            near = (values[:, columns].t() - expected[:, rows]).abs() <= rounding[:, rows]
            if not bool((overflown[:, rows] | near).all()):
                raise ValueError(
                    f"qdata of {packed.n} x {packed.k} is in no layout that is known of ATen with "
                    f"{torch.backends.cpu.get_cpu_capability()}"
                )

    return Given(
        {f"{_PART}{name}": getattr(weight, name, None) for name in names},
        avx2=torch.backends.cpu.get_cpu_capability() == "AVX2",
        check=check,
    )
