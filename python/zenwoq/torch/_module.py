# SPDX-FileCopyrightText: 2026 The zenwoq authors
# SPDX-License-Identifier: Apache-2.0
"""The layer that stands in the place of a quantized linear."""

from __future__ import annotations

from typing import Any

import torch

from zenwoq import Weight
from zenwoq.torch._operator import linear

_ALIGNMENT = 64


class Linear(torch.nn.Module):
    """A linear layer with a packed 4-bit weight, for inference.

    Args:
        packed: ``[bytes]`` uint8 on the CPU: a packed weight, borrowed.
        bias: ``[out_features]`` float32, float16 or bfloat16, or None. Gets no gradients from here on.
        in_features, out_features: as the weight has them, for a layer whose `packed` is still to be loaded (on the meta
            device); None takes them from `packed`.

    Raises:
        zenwoq.Error: `packed` is no packed weight.
        ValueError: `packed` has another shape than the features say.

    Attributes:
        packed: the packed weight, a buffer: in ``state_dict``, moved and shared like any other.
        bias: the bias, a parameter without gradients, or None.
    """

    _version = 1
    packed: torch.Tensor
    bias: torch.nn.Parameter | None

    def __init__(
        self,
        packed: torch.Tensor,
        bias: torch.Tensor | None = None,
        *,
        in_features: int | None = None,
        out_features: int | None = None,
    ):
        super().__init__()
        if packed.is_meta:
            if in_features is None or out_features is None:
                raise ValueError("a packed weight on the meta device needs in_features and out_features")
            self.in_features, self.out_features = in_features, out_features
        else:
            weight = Weight.from_packed(packed)
            self.in_features, self.out_features = weight.k, weight.n
            if (in_features or weight.k, out_features or weight.n) != (weight.k, weight.n):
                raise ValueError(
                    f"packed has {weight.k} in and {weight.n} out features, not {in_features} and {out_features}"
                )
        self.register_buffer("packed", packed)
        parameter = bias if bias is None or isinstance(bias, torch.nn.Parameter) else torch.nn.Parameter(bias)
        self.register_parameter("bias", parameter)
        if parameter is not None:
            parameter.requires_grad_(False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """``x @ W.T + bias``.

        Args:
            x: ``[..., in_features]`` float32, float16 or bfloat16 on the CPU.

        Returns:
            ``[..., out_features]`` in x's dtype.

        Raises:
            RuntimeError: x asks for gradients, has another shape, dtype or device; `packed` is damaged.
        """
        if x.requires_grad and torch.is_grad_enabled():
            raise RuntimeError(
                "zenwoq.torch.Linear computes no gradients: call the model under torch.no_grad() or "
                "torch.inference_mode(), or zenwoq.torch.restore(model) to train it"
            )
        y: torch.Tensor = linear(x, self.packed, self.bias, self.out_features)
        return y

    def weight_view(self) -> Weight:
        """The weight on `packed` itself: its text, scales, codes. `packed` must stay while it is used."""
        return Weight.from_packed(self.packed)

    def dequantize(self, dtype: torch.dtype = torch.bfloat16) -> torch.Tensor:
        """The dense weight, ``[out_features, in_features]``: computed in float32, then rounded to dtype."""
        result = torch.empty((self.out_features, self.in_features), dtype=dtype)
        weight = self.weight_view()
        step = max(64, (1 << 22) // self.in_features // 64 * 64)  # 16 MiB of float32 at a time
        for begin in range(0, self.out_features, step):
            end = min(begin + step, self.out_features)
            values = torch.empty((end - begin, self.in_features), dtype=torch.float32)
            result[begin:end] = weight.dequantize(begin, end, out=values)
        return result

    def extra_repr(self) -> str:
        """Features, bias, quantization."""
        text = "not loaded" if self.packed.is_meta else self.weight_view().text
        return f"in_features={self.in_features}, out_features={self.out_features}, bias={self.bias is not None}, {text}"

    def _load_from_state_dict(
        self,
        state_dict: dict[str, Any],
        prefix: str,
        local_metadata: dict[str, Any],
        strict: bool,
        missing_keys: list[str],
        unexpected_keys: list[str],
        error_msgs: list[str],
    ) -> None:
        """Takes a packed weight of any quantization: its size may differ from the present one's."""
        key = f"{prefix}packed"
        packed = state_dict.get(key)
        if packed is not None:
            problem = self._problem_of(packed)
            if problem:
                error_msgs.append(f"{key}: {problem}")
                return
            if packed.shape != self.packed.shape:
                device = "meta" if local_metadata.get("assign_to_params_buffers") else self.packed.device
                self.packed = torch.empty(packed.shape, dtype=torch.uint8, device=device)
        super()._load_from_state_dict(
            state_dict, prefix, local_metadata, strict, missing_keys, unexpected_keys, error_msgs
        )
        self.packed = aligned(self.packed)

    def _problem_of(self, packed: torch.Tensor) -> str:
        if packed.is_meta:
            return ""
        try:
            weight = Weight.from_packed(packed)
        except (RuntimeError, TypeError, ValueError) as error:
            return str(error)
        if (weight.k, weight.n) != (self.in_features, self.out_features):
            return (
                f"{weight.k} in and {weight.n} out features, the layer has {self.in_features} and {self.out_features}"
            )
        return ""


def aligned(packed: torch.Tensor) -> torch.Tensor:
    """The tensor, or a copy of it at an address where kernels read it fastest."""
    if packed.is_meta or packed.data_ptr() % _ALIGNMENT == 0:
        return packed
    return packed.clone()
