# SPDX-FileCopyrightText: 2026 The zenwoq authors
# SPDX-License-Identifier: Apache-2.0
"""Loads the torch operators and says what they do to shapes.

zenwoq::linear(Tensor x, Tensor packed, Tensor? bias, int n) -> Tensor
zenwoq::linear_out(Tensor x, Tensor packed, Tensor? bias, int n, *, Tensor(a!) out) -> ()
zenwoq::linear_fused(Tensor x, Tensor packed, Tensor? bias, int n, int activation, Tensor? factor, Tensor[] residuals)
    -> Tensor
zenwoq::gated(Tensor x, Tensor gate, Tensor? up, Tensor? gate_bias, Tensor? up_bias, int n, int activation) -> Tensor
zenwoq::linears(Tensor x, Tensor[] packed, Tensor?[] bias, int[] n) -> Tensor[]
zenwoq::three_linears(Tensor x, Tensor a, Tensor? a_bias, int a_n, Tensor b, Tensor? b_bias, int b_n,
    Tensor c, Tensor? c_bias, int c_n) -> (Tensor, Tensor, Tensor)
zenwoq::experts(Tensor x, Tensor ids, Tensor router, Tensor gate, Tensor? up, Tensor down, Tensor? gate_bias,
    Tensor? up_bias, Tensor? down_bias, int intermediate, int activation) -> Tensor
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from zenwoq import _library
from zenwoq._structs import Activation

_FLOATS = (torch.float32, torch.float16, torch.bfloat16)
_MOST_RESIDUALS = 2


def _load() -> None:
    path = _library.folder() / "_torch_ops.so"
    if not path.exists():
        raise ImportError("this zenwoq was built without its torch operators (-Dtorch=disabled)")
    torch.ops.load_library(str(path))


class _Check:
    """Refuses what a CPU kernel refuses, as far as fake tensors show it: everything but values."""

    def __init__(self, operator: str, x: torch.Tensor):
        self._operator = operator
        self._x = x
        self.that(x.dim() >= 1, "x must have at least one dimension")
        self.is_float("x", x)

    def that(self, condition: bool, text: str) -> None:
        torch._check(condition, lambda: f"zenwoq::{self._operator}: {text}")

    def is_float(self, name: str, tensor: torch.Tensor) -> None:
        self.that(tensor.dtype in _FLOATS, f"{name} must be float32, float16 or bfloat16")

    def device(self, name: str, tensor: torch.Tensor) -> None:
        here, there = tensor.device, self._x.device
        self.that(here == there, f"{name} is on {here}, x on {there}; they must be on one device")

    def packed(self, name: str, packed: torch.Tensor, n: int) -> None:
        self.device(name, packed)
        self.that(
            packed.dtype == torch.uint8 and packed.dim() == 1 and packed.is_contiguous() and packed.numel() > 0,
            f"{name} must be a contiguous 1-D uint8 tensor, a packed weight",
        )
        self.that(n >= 1, f"n is {n}, must be at least 1")
        self.that(n <= packed.numel(), f"n is {n}, {name} has {packed.numel()} bytes, too few for it")

    def bias(self, name: str, bias: torch.Tensor | None, n: int) -> None:
        if bias is None:
            return
        self.device(name, bias)
        self.that(bias.dim() == 1 and bias.shape[0] == n, f"{name} must have shape [n], n is {n}")
        self.is_float(name, bias)

    def shape(self, name: str, tensor: torch.Tensor, n: int) -> None:
        expected = (*self._x.shape[:-1], n)
        self.that(tensor.shape == expected, f"{name} must have x's shape with n = {n} as its last dimension")

    def matrix(self, name: str, matrix: torch.Tensor, n: int) -> None:
        self.device(name, matrix)
        self.that(matrix.dtype == self._x.dtype, f"{name} must have x's dtype")
        self.shape(name, matrix, n)

    def stack(self, name: str, packed: torch.Tensor, experts: int) -> None:
        self.device(name, packed)
        self.that(
            packed.dtype == torch.uint8 and packed.dim() == 2 and packed.is_contiguous() and packed.numel() > 0,
            f"{name} must be a contiguous 2-D uint8 tensor, the packed weights of experts",
        )
        self.that(packed.shape[0] == experts, f"{name} is of {packed.shape[0]} experts, gate of {experts}")

    def slots(self, name: str, tensor: torch.Tensor, slots: int) -> None:
        self.device(name, tensor)
        self.that(
            tensor.shape == (*self._x.shape[:-1], slots),
            f"{name} must have x's shape with the number of slots as its last dimension, and ids and router the same "
            f"one",
        )

    def bias_of_experts(self, name: str, bias: torch.Tensor, experts: int, n: int) -> None:
        self.device(name, bias)
        self.that(bias.shape == (experts, n), f"{name} must have shape [{experts}, {n}]")
        self.is_float(name, bias)

    def activation(self, activation: int, last: Activation) -> None:
        known = ", ".join(f"{each.value} {each.name.lower()}" for each in Activation if each <= last)
        self.that(0 <= activation <= last, f"activation is {activation}, must be one of {known}")


_load()


@torch.library.register_fake("zenwoq::linear")
def _linear_fake(x: torch.Tensor, packed: torch.Tensor, bias: torch.Tensor | None, n: int) -> torch.Tensor:
    check = _Check("linear", x)
    check.packed("packed", packed, n)
    check.bias("bias", bias, n)
    return x.new_empty((*x.shape[:-1], n))


@torch.library.register_fake("zenwoq::linear_out")
def _linear_out_fake(
    x: torch.Tensor, packed: torch.Tensor, bias: torch.Tensor | None, n: int, *, out: torch.Tensor
) -> None:
    check = _Check("linear_out", x)
    check.packed("packed", packed, n)
    check.bias("bias", bias, n)
    check.device("out", out)
    check.is_float("out", out)
    check.shape("out", out, n)


@torch.library.register_fake("zenwoq::linear_fused")
def _linear_fused_fake(
    x: torch.Tensor,
    packed: torch.Tensor,
    bias: torch.Tensor | None,
    n: int,
    activation: int,
    factor: torch.Tensor | None,
    residuals: Sequence[torch.Tensor],
) -> torch.Tensor:
    check = _Check("linear_fused", x)
    check.packed("packed", packed, n)
    check.bias("bias", bias, n)
    check.activation(activation, Activation.GELU_TANH)
    if factor is not None:
        check.matrix("factor", factor, n)
    count = len(residuals)
    check.that(count <= _MOST_RESIDUALS, f"there are {count} residuals, at most {_MOST_RESIDUALS} can be added")
    for residual in residuals:
        check.matrix("a residual", residual, n)
    return x.new_empty((*x.shape[:-1], n))


@torch.library.register_fake("zenwoq::gated")
def _gated_fake(
    x: torch.Tensor,
    gate: torch.Tensor,
    up: torch.Tensor | None,
    gate_bias: torch.Tensor | None,
    up_bias: torch.Tensor | None,
    n: int,
    activation: int,
) -> torch.Tensor:
    check = _Check("gated", x)
    check.packed("gate", gate, n)
    if up is not None:
        check.packed("up", up, n)
    check.that(up is not None or up_bias is None, "up_bias without up: gate_bias is of both")
    check.that(activation != 0, "activation is 0, a gated product must have one")
    check.activation(activation, Activation.SWIGLU_OAI)
    check.bias("gate_bias", gate_bias, n if up is not None else 2 * n)
    check.bias("up_bias", up_bias, n)
    same = gate_bias is None or up_bias is None or gate_bias.dtype == up_bias.dtype
    check.that(same, "up_bias must have gate_bias's dtype")
    return x.new_empty((*x.shape[:-1], n))


@torch.library.register_fake("zenwoq::linears")
def _linears_fake(
    x: torch.Tensor, packed: Sequence[torch.Tensor], bias: Sequence[torch.Tensor | None], n: Sequence[int]
) -> list[torch.Tensor]:
    check = _Check("linears", x)
    check.that(
        len(packed) == len(bias) == len(n),
        f"there are {len(packed)} packed weights, {len(bias)} entries of bias and {len(n)} of n; must be as many",
    )
    for each, its_bias, its_n in zip(packed, bias, n, strict=True):
        check.packed("packed", each, its_n)
        check.bias("bias", its_bias, its_n)
    return [x.new_empty((*x.shape[:-1], each)) for each in n]


@torch.library.register_fake("zenwoq::three_linears")
def _three_linears_fake(
    x: torch.Tensor,
    a: torch.Tensor,
    a_bias: torch.Tensor | None,
    a_n: int,
    b: torch.Tensor,
    b_bias: torch.Tensor | None,
    b_n: int,
    c: torch.Tensor,
    c_bias: torch.Tensor | None,
    c_n: int,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    check = _Check("three_linears", x)
    for packed, bias, n in ((a, a_bias, a_n), (b, b_bias, b_n), (c, c_bias, c_n)):
        check.packed("packed", packed, n)
        check.bias("bias", bias, n)
    return tuple(x.new_empty((*x.shape[:-1], n)) for n in (a_n, b_n, c_n))  # type: ignore[return-value]


@torch.library.register_fake("zenwoq::experts")
def _experts_fake(
    x: torch.Tensor,
    ids: torch.Tensor,
    router: torch.Tensor,
    gate: torch.Tensor,
    up: torch.Tensor | None,
    down: torch.Tensor,
    gate_bias: torch.Tensor | None,
    up_bias: torch.Tensor | None,
    down_bias: torch.Tensor | None,
    intermediate: int,
    activation: int,
) -> torch.Tensor:
    check = _Check("experts", x)
    check.that(ids.dim() >= 1, "ids must have at least one dimension")
    check.slots("ids", ids, ids.shape[-1])
    check.that(ids.dtype in (torch.int64, torch.int32), "ids must be int64 or int32")
    check.slots("router", router, ids.shape[-1])
    check.is_float("router", router)
    check.that(gate.dim() == 2, "gate must be a contiguous 2-D uint8 tensor, the packed weights of experts")
    count = gate.shape[0]
    for name, packed in (("gate", gate), ("up", up), ("down", down)):
        if packed is not None:
            check.stack(name, packed, count)
    check.that(up is not None or up_bias is None, "up_bias without up: gate_bias is of both")
    check.that(intermediate >= 1, f"intermediate is {intermediate}, must be at least 1")
    check.that(
        intermediate <= gate.shape[1],
        f"intermediate is {intermediate}, gate has {gate.shape[1]} bytes for each expert, too few for it",
    )
    check.that(activation != 0, "activation is 0, experts must have one")
    check.activation(activation, Activation.SWIGLU_OAI)
    given = (
        ("gate_bias", gate_bias, intermediate if up is not None else 2 * intermediate),
        ("up_bias", up_bias, intermediate),
        ("down_bias", down_bias, x.shape[-1]),
    )
    first: torch.Tensor | None = None
    for name, bias, n in given:
        if bias is None:
            continue
        check.bias_of_experts(name, bias, count, n)
        check.that(first is None or first.dtype == bias.dtype, f"{name} must have the other biases' dtype")
        first = bias
    return torch.empty_like(x, memory_format=torch.contiguous_format)


linear = torch.ops.zenwoq.linear.default
linear_out = torch.ops.zenwoq.linear_out.default
linear_fused = torch.ops.zenwoq.linear_fused.default
gated = torch.ops.zenwoq.gated.default
linears = torch.ops.zenwoq.linears.default
three_linears = torch.ops.zenwoq.three_linears.default
experts = torch.ops.zenwoq.experts.default
