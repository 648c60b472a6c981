# SPDX-FileCopyrightText: 2026 The zenwoq authors
# SPDX-License-Identifier: Apache-2.0
"""The kernel in vLLM's registry for linears with weights of few bits and activations of 16.

It serves quantizations that zenwoq has no class for and that choose a kernel there, as Quark does. vLLM has cut and
joined their weights; scales have the model's type.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from contextvars import ContextVar
from typing import Any

import torch
from vllm.model_executor.kernels.linear import MPLinearKernel
from vllm.platforms import current_platform
from vllm.scalar_type import scalar_types

import zenwoq.torch  # noqa: F401 - the operators
from zenwoq._weight import WeightParts
from zenwoq.vllm._tensors import packed, stored
from zenwoq.vllm._warm import warm_linear

INT8 = "VLLM_CPU_INT4_W4A8=1 asks for activations of 8 bits, which zenwoq does not have"
_left_for: ContextVar[str] = ContextVar("left_for", default="")  # why the layer that is made now is not taken
_WORD = 8  # codes in an int32, the first in its lowest bits


def asks_for_int8() -> bool:
    """Whether the user asks for what :data:`INT8` says."""
    return os.environ.get("VLLM_CPU_INT4_W4A8") == "1"


@contextlib.contextmanager
def left_for(reason: str) -> Iterator[None]:
    """While it is active, linears are left to vLLM's own kernels, for something that a kernel is not told."""
    token = _left_for.set(reason)
    try:
        yield
    finally:
        _left_for.reset(token)


class ZenwoqLinearKernel(MPLinearKernel):  # type: ignore[misc]
    """``x W^T`` with codes of 4 bits: ``W = scale (code - 8)``, or ``scale (code - zero)``."""

    @classmethod
    def get_min_capability(cls) -> int:
        """Of GPUs."""
        return -1

    @classmethod
    def can_implement(cls, c: Any) -> tuple[bool, str | None]:
        """Whether it computes a linear; else why not."""
        if not current_platform.is_cpu():
            return False, "zenwoq runs on CPUs"
        if _left_for.get():
            return False, _left_for.get()
        if asks_for_int8():
            return False, INT8
        if c.weight_type not in (scalar_types.uint4, scalar_types.uint4b8):
            return False, f"weights are {c.weight_type}, zenwoq's uint4 or uint4b8"
        if c.zero_points != (c.weight_type == scalar_types.uint4):
            return False, f"weights are {c.weight_type} {'with' if c.zero_points else 'without'} zero points"
        k, n = c.partition_weight_shape
        if k % _WORD != 0 or (c.zero_points and n % _WORD != 0):
            return False, f"{n} x {k} is not in whole words of {_WORD} codes"
        if c.group_size > 0 and (k % c.group_size != 0 or c.group_size % _WORD != 0):
            return False, f"groups of {c.group_size} of K = {k}: must divide it and be multiples of {_WORD}"
        return True, None

    def process_weights_after_loading(self, layer: Any) -> None:
        """Packs the weight, and lets go of vLLM's."""
        codes, scales, zeros = self._get_weight_params(layer)
        parts = WeightParts(
            _rows_first(codes).view(torch.uint8),
            _rows_first(scales),
            _zeros(_rows_first(zeros)) if self.config.zero_points else None,
        )
        weight = packed(parts)
        self.n = weight.n
        names = {self.w_q_name, self.w_s_name, self.w_zp_name or "", "weight_zero_point"}  # the last of Quark's, unused
        for name in names:
            if getattr(layer, name, None) is not None:
                delattr(layer, name)
        bias = getattr(layer, "bias", None)
        warm_linear(weight, self.config.act_type, None if bias is None else bias.dtype)
        layer.register_parameter(self.w_q_name, torch.nn.Parameter(stored(weight), requires_grad=False))

    def apply_weights(self, layer: Any, x: torch.Tensor, bias: torch.Tensor | None = None) -> torch.Tensor:
        """``[..., n]`` in x's dtype."""
        return torch.ops.zenwoq.linear(x, getattr(layer, self.w_q_name), bias, self.n)  # type: ignore[no-any-return]


def _rows_first(part: Any) -> torch.Tensor:
    """A parameter of vLLM's with output features along its first dimension."""
    values: torch.Tensor = part.data
    return (values if part.output_dim == 0 else values.t()).contiguous()


def _zeros(words: torch.Tensor) -> torch.Tensor:
    """Zero points ``[n, groups]`` of words ``[n / 8, groups]``."""
    shifts = torch.arange(0, 32, 4, dtype=torch.int32)[None, :, None]
    return ((words[:, None, :] >> shifts) & 15).reshape(-1, words.shape[1]).to(torch.int8).contiguous()
