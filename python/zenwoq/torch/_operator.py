# SPDX-FileCopyrightText: 2026 The zenwoq authors
# SPDX-License-Identifier: Apache-2.0
"""Loads the torch operators and says what they do to shapes.

zenwoq::linear(Tensor x, Tensor packed, Tensor? bias, int n) -> Tensor
zenwoq::linear_out(Tensor x, Tensor packed, Tensor? bias, int n, *, Tensor(a!) out) -> ()
"""

from __future__ import annotations

import torch

from zenwoq import _library

_FLOATS = (torch.float32, torch.float16, torch.bfloat16)


def _load() -> None:
    path = _library.folder() / "_torch_ops.so"
    if not path.exists():
        raise ImportError("this zenwoq was built without its torch operators (-Dtorch=disabled)")
    torch.ops.load_library(str(path))


def _check(x: torch.Tensor, packed: torch.Tensor, bias: torch.Tensor | None, n: int) -> None:
    """Refuses what the CPU kernel refuses, as far as fake tensors show it: everything but values."""
    torch._check(x.dim() >= 1, lambda: "zenwoq::linear: x must have at least one dimension")
    _check_float("x", x)
    _check_device("packed", packed, x)
    torch._check(
        packed.dtype == torch.uint8 and packed.dim() == 1 and packed.is_contiguous() and packed.numel() > 0,
        lambda: "zenwoq::linear: packed must be a contiguous 1-D uint8 tensor, a packed weight",
    )
    torch._check(n >= 1, lambda: f"zenwoq::linear: n is {n}, must be at least 1")
    torch._check(
        n <= packed.numel(),
        lambda: f"zenwoq::linear: n is {n}, packed has {packed.numel()} bytes, too few for it",
    )
    if bias is not None:
        _check_device("bias", bias, x)
        torch._check(
            bias.dim() == 1 and bias.shape[0] == n, lambda: f"zenwoq::linear: bias must have shape [n], n is {n}"
        )
        _check_float("bias", bias)


def _check_float(name: str, tensor: torch.Tensor) -> None:
    torch._check(tensor.dtype in _FLOATS, lambda: f"zenwoq::linear: {name} must be float32, float16 or bfloat16")


def _check_device(name: str, tensor: torch.Tensor, x: torch.Tensor) -> None:
    torch._check(
        tensor.device == x.device,
        lambda: f"zenwoq::linear: {name} is on {tensor.device}, x on {x.device}; they must be on one device",
    )


_load()


@torch.library.register_fake("zenwoq::linear")
def _linear_fake(x: torch.Tensor, packed: torch.Tensor, bias: torch.Tensor | None, n: int) -> torch.Tensor:
    _check(x, packed, bias, n)
    return x.new_empty((*x.shape[:-1], n))


@torch.library.register_fake("zenwoq::linear_out")
def _linear_out_fake(
    x: torch.Tensor, packed: torch.Tensor, bias: torch.Tensor | None, n: int, *, out: torch.Tensor
) -> None:
    _check(x, packed, bias, n)
    _check_device("out", out, x)
    _check_float("out", out)
    torch._check(
        out.shape == (*x.shape[:-1], n),
        lambda: f"zenwoq::linear_out: out must have x's shape with n = {n} as its last dimension",
    )


linear = torch.ops.zenwoq.linear.default
linear_out = torch.ops.zenwoq.linear_out.default
