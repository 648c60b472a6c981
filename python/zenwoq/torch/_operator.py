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
    _library.version()  # the C library first, so that its own libcpuinfo is bound to it
    torch.ops.load_library(str(path))


def _check(x: torch.Tensor, packed: torch.Tensor, bias: torch.Tensor | None, n: int) -> None:
    torch._check(x.dim() >= 1, lambda: "zenwoq::linear: x must have at least one dimension")
    torch._check(x.dtype in _FLOATS, lambda: "zenwoq::linear: x must be float32, float16 or bfloat16")
    torch._check(
        packed.dtype == torch.uint8 and packed.dim() == 1,
        lambda: "zenwoq::linear: packed must be a contiguous 1-D uint8 tensor, a packed weight",
    )
    torch._check(n >= 1, lambda: f"zenwoq::linear: n is {n}, must be at least 1")
    if bias is not None:
        torch._check(
            bias.dim() == 1 and bias.shape[0] == n, lambda: f"zenwoq::linear: bias must have shape [n], n is {n}"
        )
        torch._check(bias.dtype in _FLOATS, lambda: "zenwoq::linear: bias must be float32, float16 or bfloat16")


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
    torch._check(
        out.shape == (*x.shape[:-1], n),
        lambda: f"zenwoq::linear_out: out must have x's shape with n = {n} as its last dimension",
    )


linear = torch.ops.zenwoq.linear.default
linear_out = torch.ops.zenwoq.linear_out.default
