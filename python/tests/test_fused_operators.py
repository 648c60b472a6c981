# SPDX-FileCopyrightText: 2026 The zenwoq authors
# SPDX-License-Identifier: Apache-2.0
"""The operators of fused blocks: epilogues, gated products, several products in one call."""

from __future__ import annotations

import pytest
import torch
import zenwoq.torch
from conftest import random_packed
from fused_models import equal, zenwoq_weight

pytestmark = pytest.mark.usefixtures("some_threads")


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_a_gated_product_is_of_sums_in_float32(dtype):
    """The sums and the activation in float32 by other operators, their product by torch: rounded once."""
    n, k = 192, 96
    gate, up = random_packed(n, k), zenwoq_weight(n, k, 5)
    biases = torch.randn(2, n, generator=torch.Generator().manual_seed(4))
    x = torch.randn(9, k, generator=torch.Generator().manual_seed(5)).bfloat16()
    for activation in (2, 3, 4):
        g = torch.ops.zenwoq.linear_fused(x.float(), gate, biases[0], n, activation, None, [])
        u = torch.ops.zenwoq.linear(x.float(), up, biases[1], n)
        y = torch.ops.zenwoq.gated(x.to(dtype), gate, up, biases[0], biases[1], n, activation)
        assert y.dtype == dtype and torch.equal(y, (g * u).to(dtype))


def test_halves_of_one_weight():
    n, k = 128, 96
    generator = torch.Generator().manual_seed(6)
    codes = torch.randint(-8, 8, (2 * n, k), dtype=torch.int8, generator=generator)
    scales = torch.rand((2 * n, 3), generator=generator).bfloat16()

    def packed(rows: slice) -> torch.Tensor:
        weight = zenwoq.Weight(codes[rows], scales[rows], layout="s8", table="twos_complement")
        return torch.frombuffer(bytearray(weight.packed), dtype=torch.uint8).clone()

    bias = torch.randn(2 * n)
    x = torch.randn(3, k, dtype=torch.bfloat16)
    both = torch.ops.zenwoq.gated(x, packed(slice(None)), None, bias, None, n, 2)
    gate, up = packed(slice(n)), packed(slice(n, 2 * n))
    assert torch.equal(both, torch.ops.zenwoq.gated(x, gate, up, bias[:n], bias[n:], n, 2))


@pytest.mark.parametrize("activation", [1, 2, 3, 4])
def test_activations_are_those_of_torch(activation):
    """Within 2 ulp of float64, or 2^-33 |v| where they are small."""
    n, k = 256, 32
    packed = zenwoq_weight(n, k, 7)
    x = torch.randn(64, k, generator=torch.Generator().manual_seed(8)).bfloat16()
    v = torch.ops.zenwoq.linear(x.float(), packed, None, n).double()
    exact = {
        1: torch.nn.functional.relu,
        2: torch.nn.functional.silu,
        3: torch.nn.functional.gelu,
        4: lambda t: torch.nn.functional.gelu(t, approximate="tanh"),
    }[activation](v)
    got = torch.ops.zenwoq.linear_fused(x.float(), packed, None, n, activation, None, []).double()
    assert ((got - exact).abs() <= torch.maximum(2**-22 * exact.abs(), 2**-33 * v.abs())).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_epilogues(dtype):
    n, k = 200, 96
    packed = zenwoq_weight(n, k, 9)
    x = torch.randn(2, 5, k).bfloat16()
    factor, *residuals = (torch.randn(2, 5, n).to(dtype) for _ in range(3))
    bias = torch.randn(n)
    y = torch.ops.zenwoq.linear(x.float(), packed, bias, n)
    y = (y * factor.float() + residuals[0].float()) + residuals[1].float()
    got = torch.ops.zenwoq.linear_fused(x.to(dtype), packed, bias, n, 0, factor, residuals)
    assert torch.equal(got, y.to(dtype))
    turned = [each.transpose(1, 2).contiguous().transpose(1, 2) for each in residuals]
    assert torch.equal(torch.ops.zenwoq.linear_fused(x.to(dtype), packed, bias, n, 0, factor, turned), got)
    flat = torch.ops.zenwoq.linear_fused(
        x.to(dtype).view(10, k), packed, bias, n, 0, factor.view(10, n),
        [torch.cat((each.view(10, n), each.view(10, n)), 1)[:, :n] for each in residuals],
    )  # fmt: skip
    assert torch.equal(flat, got.view(10, n))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_several_products_are_each_as_if_alone(dtype):
    k = 96
    shapes = (200, 64, 7)
    packed = [zenwoq_weight(n, k, n) for n in shapes]
    bias = [torch.randn(200), None, torch.randn(7, dtype=torch.bfloat16)]
    for rows in ((1,), (3, 5), (0,), ()):
        x = torch.randn(*rows, k).to(dtype)
        products = torch.ops.zenwoq.linears(x, packed, bias, shapes)
        for y, each, its_bias, n in zip(products, packed, bias, shapes, strict=True):
            assert torch.equal(y, torch.ops.zenwoq.linear(x, each, its_bias, n))
        of_three = [argument for each in zip(packed, bias, shapes, strict=True) for argument in each]
        assert equal(torch.ops.zenwoq.three_linears(x, *of_three), products)
    assert torch.ops.zenwoq.linears(x, [], [], []) == []


def operator_arguments(dtype: torch.dtype) -> dict[str, tuple]:
    n, k = 64, 64
    packed, x = zenwoq_weight(n, k, 10), torch.randn(3, k).to(dtype)
    bias, matrix = torch.randn(n), torch.randn(3, n).to(dtype)
    return {
        "linear_fused": (x, packed, bias, n, 3, matrix, [matrix, matrix]),
        "gated": (x, packed, packed, bias, None, n, 2),
        "linears": (x, [packed, packed], [None, bias], [n, n]),
        "three_linears": (x, packed, None, n, packed, bias, n, packed, None, n),
    }


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("name", ["linear_fused", "gated", "linears", "three_linears"])
def test_opcheck(name, dtype):
    torch.library.opcheck(getattr(torch.ops.zenwoq, name).default, operator_arguments(dtype)[name])


REFUSALS = [
    ("linear_fused", 4, 5, "activation"),
    ("linear_fused", 4, -1, "activation"),
    ("linear_fused", 5, torch.zeros(3, 65), "factor must have x's shape with n = 64"),
    ("linear_fused", 5, torch.zeros(3, 64).double(), "factor must have x's dtype"),
    ("linear_fused", 6, [torch.zeros(2, 64)], "a residual must have x's shape"),
    ("linear_fused", 6, [torch.zeros(3, 64)] * 3, "there are 3 residuals, at most 2"),
    ("linear_fused", 2, torch.zeros(63), "bias must have shape"),
    ("gated", 1, torch.zeros(7), "gate must be a contiguous 1-D uint8"),
    ("gated", 2, torch.zeros(7), "up must be a contiguous 1-D uint8"),
    ("gated", 6, 0, "activation is 0"),
    ("gated", 6, 6, "activation"),
    ("gated", 6, 2**32 + 2, "activation is 4294967298"),
    ("gated", 4, torch.zeros(64).half(), "up_bias must have gate_bias's dtype"),
    ("gated", 4, torch.zeros(65), "up_bias must have shape"),
    ("gated", 5, 0, "n is 0, must be at least 1"),
    ("linears", 1, [], "there are 0 packed weights, 2 entries of bias and 2 of n"),
    ("linears", 3, [64], "2 packed weights, 2 entries of bias and 1 of n"),
    ("linears", 3, [64, 0], "n is 0, must be at least 1"),
    ("linears", 2, [None, torch.zeros(65)], "bias must have shape"),
    ("three_linears", 7, torch.zeros(7), "packed must be a contiguous 1-D uint8"),
    ("three_linears", 5, torch.zeros(65), "bias must have shape"),
    ("three_linears", 9, 0, "n is 0, must be at least 1"),
]


@pytest.mark.parametrize("fake", [False, True])
@pytest.mark.parametrize(("name", "place", "value", "text"), REFUSALS)
def test_refusals(name, place, value, text, fake):
    given = list(operator_arguments(torch.float32)[name])
    given[place] = value
    if fake:
        given = torch.utils._pytree.tree_map_only(torch.Tensor, lambda tensor: tensor.to("meta"), given)
    with pytest.raises(RuntimeError, match=f"zenwoq::{name}: .*{text}|zenwoq::{name}: {text}"):
        getattr(torch.ops.zenwoq, name)(*given)


def test_a_pair_of_other_quantizations_is_refused():
    x = torch.randn(3, 64)
    gate, up = zenwoq_weight(64, 64, 1), zenwoq_weight(64, 64, 1, group=64)
    with pytest.raises(RuntimeError, match=r"zenwoq::gated: gate is .* up .* x has 3 rows of k = 64"):
        torch.ops.zenwoq.gated(x, gate, up, None, None, 64, 2)
