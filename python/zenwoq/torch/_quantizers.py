# SPDX-FileCopyrightText: 2026 The zenwoq authors
# SPDX-License-Identifier: Apache-2.0
"""Linears of the libraries by which transformers loads GPTQ, AWQ, compressed-tensors and bitsandbytes models.

    gptqmodel            modules with buffers qweight, qzeros, scales, g_idx; GPTQ's zero points as format 2 has them
    compressed-tensors   torch.nn.Linear with parameters weight_packed, weight_scale, ...; no weight
    bitsandbytes         Linear4bit with a weight that has a quant_state

All three rewrite a linear at its first forward, so that what was in the file is gone.
"""

from __future__ import annotations

from typing import Any

import torch

from zenwoq.torch._given import Given, Unsupported, is_a

_REWRITTEN = "its first forward has rewritten it: optimize the model before it runs"


def is_gptqmodel_linear(module: torch.nn.Module) -> bool:
    """Whether it is a linear of GPTQ's or AWQ's."""
    return is_a(module, "BaseQuantLinear") and hasattr(module, "qweight")


def is_compressed_linear(module: torch.nn.Module) -> bool:
    """Whether it is a linear in the form of compressed-tensors' files."""
    return isinstance(module, torch.nn.Linear) and getattr(module, "weight_packed", None) is not None


def is_bitsandbytes_linear(module: torch.nn.Module) -> bool:
    """Whether it is bitsandbytes' 4-bit linear."""
    return is_a(module, "Linear4bit")


def is_of_quantizer(module: torch.nn.Module) -> bool:
    """Whether it is any of these."""
    return is_gptqmodel_linear(module) or is_compressed_linear(module) or is_bitsandbytes_linear(module)


def weight_of(module: Any) -> torch.Tensor | None:
    """The tensor of a linear's codes; None of a linear of another kind."""
    if is_gptqmodel_linear(module):
        return module.qweight  # type: ignore[no-any-return]
    return module.weight_packed if is_compressed_linear(module) else None


def has_forward_of_library(module: torch.nn.Module) -> bool:
    """Whether the module's forward is its library's way to compute the same product."""
    of_class = type(module).forward
    if is_gptqmodel_linear(module) or is_bitsandbytes_linear(module):
        return "forward" not in vars(module) and of_class.__module__.startswith(("gptqmodel.", "bitsandbytes."))
    if not is_compressed_linear(module) or of_class is not torch.nn.Linear.forward:
        return False
    # A wrapper that calls itself by the name and module of what it wraps.
    forward = getattr(vars(module).get("forward"), "__func__", None)
    return forward is not None and str(forward.__globals__.get("__name__")).startswith("compressed_tensors.")


def given(module: Any) -> Given:
    """The parts of a linear's weight. Raises Unsupported with the reason if they are not read."""
    if is_gptqmodel_linear(module):
        return _gptqmodel(module)
    return _compressed(module) if is_compressed_linear(module) else _bitsandbytes(module)


def _gptqmodel(module: Any) -> Given:
    if getattr(module, "_cpu_transformed", False):
        raise Unsupported(_REWRITTEN)
    if getattr(module, "adapter", None) is not None:
        raise Unsupported("it has an adapter")
    parts = {name: getattr(module, name, None) for name in ("qweight", "qzeros", "scales", "g_idx")}
    config: dict[str, object] = {"bits": module.bits, "group_size": module.group_size}
    if is_a(module, "AWQuantLinear"):  # those for CPUs have gemm's order
        return Given(parts, config={**config, "quant_method": "awq", "version": "gemm", "zero_point": True})
    form = "gptq_v2" if module.qzero_format() == 2 else "gptq"
    return Given(parts, config={**config, "quant_method": "gptq", "checkpoint_format": form})


def _compressed(module: Any) -> Given:
    scheme = module.quantization_scheme
    for part in ("input_activations", "output_activations"):
        if getattr(scheme, part, None) is not None:
            raise Unsupported(f"activations are quantized too ({part})")
    names = ("packed", "scale", "shape", "zero_point", "g_idx", "global_scale")
    weights = scheme.weights.model_dump(mode="json")
    form = getattr(scheme, "format", None)
    return Given(
        {f"weight_{name}": getattr(module, f"weight_{name}", None) for name in names},
        config={
            "quant_method": "compressed-tensors",
            "format": str(getattr(form, "value", form) or "pack-quantized"),
            "config_groups": {"group_0": {"targets": ["Linear"], "weights": weights}},
        },
    )


def _bitsandbytes(module: Any) -> Given:
    state = getattr(module.weight, "quant_state", None)
    if state is None:
        raise Unsupported("it is not quantized yet")
    if getattr(state, "packing_format_for_cpu", False):
        raise Unsupported(_REWRITTEN)
    parts = {f"weight.{name}": tensor for name, tensor in state.as_dict(packed=True).items()}
    return Given({"weight": module.weight.data, **parts})
