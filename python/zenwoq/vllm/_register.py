# SPDX-FileCopyrightText: 2026 The zenwoq authors
# SPDX-License-Identifier: Apache-2.0
"""Makes vLLM know zenwoq: its quantizations, and the kernel for linears of the others."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from vllm.model_executor.kernels import linear as kernels
from vllm.model_executor.layers.fused_moe import FusedMoEMethodBase, RoutedExperts
from vllm.model_executor.layers.linear import LinearMethodBase
from vllm.model_executor.layers.quantization import register_quantization_config
from vllm.model_executor.layers.quantization.base_config import QuantizationConfig
from vllm.platforms import PlatformEnum, current_platform

from zenwoq.vllm._configs import CONFIGS
from zenwoq.vllm._kernel import ZenwoqLinearKernel

_registered = False

# Functions of vLLM that are overridden or called, and what they must take.
_INTERFACES: tuple[tuple[Callable[..., Any], str], ...] = (
    (
        LinearMethodBase.create_weights,
        "layer input_size_per_partition output_partition_sizes input_size output_size params_dtype",
    ),
    (LinearMethodBase.apply, "layer x bias"),
    (
        FusedMoEMethodBase.create_weights,
        "layer num_experts hidden_size intermediate_size_per_partition params_dtype",
    ),
    (FusedMoEMethodBase.apply, "layer x topk_weights topk_ids shared_experts shared_experts_input"),
    (RoutedExperts.weight_loader, "param loaded_weight weight_name shard_id expert_id return_success"),
    (QuantizationConfig.get_quant_method, "layer prefix"),
    (QuantizationConfig.maybe_update_config, "model_name hf_config revision"),
)


def register() -> str:
    """Registers all or nothing, once a process. Returns why it did not; empty also where it runs on no CPU."""
    global _registered  # noqa: PLW0603 - once a process
    if _registered or not current_platform.is_cpu():
        return ""
    for function, names in _INTERFACES:
        taken = [name for name in inspect.signature(function).parameters if name not in ("self", "kwargs")]
        if missing := [name for name in names.split() if name not in taken]:
            return f"{function.__qualname__} does not take {missing[0]}, but {', '.join(taken)}"
    possible = kernels._POSSIBLE_KERNELS[PlatformEnum.CPU]  # register_linear_kernel adds to its end: the last choice
    if not any(kernel.__name__ == ZenwoqLinearKernel.__name__ for kernel in possible):
        possible.insert(0, ZenwoqLinearKernel)
    for name, config in CONFIGS.items():
        register_quantization_config(name)(config)
    _registered = True
    return ""
