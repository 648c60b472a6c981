# SPDX-FileCopyrightText: 2026 The zenwoq authors
# SPDX-License-Identifier: Apache-2.0
"""The layer that replaces a quantized linear."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from zenwoq import Weight
from zenwoq._library import PACKED_ALIGNMENT
from zenwoq.torch._operator import linear


class WeightWithoutValues(torch.Tensor):
    """What :attr:`Linear.weight` is: shape, dtype and device for code that asks a linear for them.

    Code that computes with it gets an error instead of a wrong result. torch's transformer layers, which would hand the
    weights of their linears to their own kernels, find that it is no plain tensor and call the linears.

    Attributes:
        on: the device of the packed weight.
    """

    on: torch.device

    @classmethod
    def __torch_function__(
        cls, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Answers what needs no values."""
        if func in _ANSWERS:
            return _ANSWERS[func](args[0].on)
        if func not in _NEED_NO_VALUES:
            raise TypeError(
                f"{getattr(func, '__qualname__', func)}: the weight of a zenwoq.torch.Linear is packed, it has no "
                f"values here; the layer's dequantize() makes a dense one"
            )
        with torch._C.DisableTorchFunctionSubclass():
            return func(*args, **(kwargs or {}))

    def __repr__(self) -> str:  # type: ignore[override]
        return f"{type(self).__name__}(shape={list(self.shape)}, dtype={self.dtype})"


def _getter(name: str) -> Any:
    return getattr(torch.Tensor, name).__get__


_ANSWERS: dict[Any, Callable[[torch.device], object]] = {
    _getter("device"): lambda on: on,
    _getter("is_cpu"): lambda on: on.type == "cpu",
    _getter("is_meta"): lambda on: on.type == "meta",
}
_NEED_NO_VALUES = {
    *map(_getter, ("dtype", "shape", "ndim", "layout", "requires_grad", "is_cuda", "is_sparse", "is_quantized")),
    *(torch.Tensor.size, torch.Tensor.dim, torch.Tensor.numel, torch.Tensor.nelement),
    *(torch.Tensor.element_size, torch.Tensor.is_floating_point),
}


class Linear(torch.nn.Module):
    """A linear layer with a packed 4-bit weight, for inference.

    Args:
        packed: ``[bytes]`` uint8 on the CPU: a packed weight, borrowed.
        bias: ``[out_features]`` float32, float16 or bfloat16, or None. Gets no gradients from here on.
        in_features, out_features: the weight's, for a layer whose `packed` is still to be loaded (on the meta device);
            None takes them from `packed`.
        dtype: the type of the dense weight that this represents, which :attr:`weight` shows; ``.to(dtype)`` changes it.

    Raises:
        zenwoq.Error: `packed` is no packed weight.
        ValueError: the shape of `packed` is not that of the features.

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
        dtype: torch.dtype = torch.bfloat16,
    ):
        super().__init__()
        self._weight_dtype = dtype
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
            ``[..., out_features]`` in x's dtype, or in autocast's under autocast.

        Raises:
            RuntimeError: x asks for gradients, its shape, dtype or device is wrong, or `packed` is damaged.
        """
        if x.requires_grad and torch.is_grad_enabled():
            raise RuntimeError(
                "zenwoq.torch.Linear computes no gradients: call the model under torch.no_grad() or "
                "torch.inference_mode(), or zenwoq.torch.restore(model) to train it"
            )
        if torch.is_autocast_enabled("cpu"):
            x = x.to(torch.get_autocast_dtype("cpu"))
        # Not self.packed and self.bias, which a module takes half a microsecond each to find.
        y: torch.Tensor = linear(x, self._buffers["packed"], self._parameters["bias"], self.out_features)
        return y

    @property
    def weight(self) -> torch.Tensor:
        """A tensor ``[out_features, in_features]`` without values, for code that asks for shape, dtype or device.

        Raises:
            TypeError: something computes with it.
        """
        shape = (self.out_features, self.in_features)
        weight = torch.empty(shape, dtype=self._weight_dtype, device="meta").as_subclass(WeightWithoutValues)
        weight.on = self._buffers["packed"].device  # type: ignore[union-attr]
        return weight

    def register_parameter(self, name: str, param: torch.nn.Parameter | None) -> None:
        """Does what every module does, except for a dense weight, which a model that ties its weights would put here.

        Raises:
            TypeError: name is ``"weight"``.
        """
        if name == "weight":
            raise TypeError("the weight of a zenwoq.torch.Linear is packed and cannot be set or tied to another one")
        super().register_parameter(name, param)

    def _apply(self, fn: Callable[[torch.Tensor], torch.Tensor], recurse: bool = True) -> Linear:
        """Does what every module does; whatever casts parameters changes the dtype of `weight` too."""
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        self._weight_dtype = fn(torch.empty(0, dtype=self._weight_dtype)).dtype
        return self

    def weight_view(self) -> Weight:
        """The weight (its text, scales, codes) in the memory of `packed`, which must live while it is used."""
        return Weight.from_packed(self.packed)

    def dequantize(self, dtype: torch.dtype = torch.bfloat16) -> torch.Tensor:
        """The dense weight ``[out_features, in_features]``, computed in float32, then rounded to dtype."""
        result = torch.empty((self.out_features, self.in_features), dtype=dtype)
        weight = self.weight_view()
        step = max(64, (1 << 22) // self.in_features // 64 * 64)  # 16 MiB of float32 at a time
        for begin in range(0, self.out_features, step):
            end = min(begin + step, self.out_features)
            values = torch.empty((end - begin, self.in_features), dtype=torch.float32)
            result[begin:end] = weight.dequantize(begin, end, out=values)
        return result

    def extra_repr(self) -> str:
        """Shows features, bias and quantization."""
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
        """Takes a packed weight of any quantization, whose size may differ from the present one's."""
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
    if packed.is_meta or packed.data_ptr() % PACKED_ALIGNMENT == 0:
        return packed
    return packed.clone()
