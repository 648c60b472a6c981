# SPDX-FileCopyrightText: 2026 The zenwoq authors
# SPDX-License-Identifier: Apache-2.0
"""Parts of a Llama's block in one call, against the same modules apart, on weights that come from memory."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import torch
import zenwoq.torch
from zenwoq.torch._memory import WeightMemory

from bench.llm.report import Row
from bench.llm.sizes import Sizes
from bench.llm.timing import seconds

TOKENS = (1, 4, 16, 128)
GROUP = 128
Block = Callable[[torch.Tensor], Any]
AnyBlock = TypeVar("AnyBlock", bound=torch.nn.Module)


class Mlp(torch.nn.Module):
    """Gate, up and their product; what follows is not measured."""

    def __init__(self, hidden: int):
        super().__init__()
        self.gate, self.up = (linear(hidden * 11 // 4, hidden) for _ in range(2))
        self.down = torch.nn.Identity()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """``silu(gate(x)) * up(x)``."""
        y: torch.Tensor = self.down(torch.nn.functional.silu(self.gate(x)) * self.up(x))
        return y


class Attention(torch.nn.Module):
    """Query, key and value projections, eight query heads for one of the others."""

    def __init__(self, hidden: int):
        super().__init__()
        self.layers = torch.nn.ModuleList([linear(n, hidden) for n in (hidden, hidden // 8, hidden // 8)])
        operands = [(layer.packed, None, layer.out_features) for layer in self.layers]
        self.operands = [each for of_layer in operands for each in of_layer]

    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        """The three products."""
        return [layer(x) for layer in self.layers]

    def in_one_call(self, x: torch.Tensor) -> list[torch.Tensor]:
        """The same as a model computes them on four threads or more, without what its modules cost besides."""
        y: list[torch.Tensor] = torch.ops.zenwoq.three_linears(x, *self.operands)
        return y


def linear(n: int, k: int) -> zenwoq.torch.Linear:
    """A layer of random codes, ``[n, k]``."""
    codes = torch.randint(0, 256, (n, k // 2), dtype=torch.uint8)
    weight = zenwoq.Weight(codes, torch.rand((n, k // GROUP)).bfloat16())
    return zenwoq.torch.Linear(WeightMemory().copy(torch.frombuffer(bytearray(weight.packed), dtype=torch.uint8)))


def rows(sizes: Sizes) -> list[Row]:
    """A row for each block and number of tokens: the time in one call, and apart."""
    made = []
    apart, fused = (torch.nn.ModuleList(_blocks(Mlp, sizes)) for _ in range(2))
    if len(zenwoq.torch.optimize(fused, progress=False).fused) != len(fused):
        raise RuntimeError("the MLPs are not fused")
    attentions, others = _blocks(Attention, sizes), _blocks(Attention, sizes)
    with torch.no_grad():
        for tokens in TOKENS:
            x = torch.randn((tokens, sizes.hidden)).bfloat16()
            made.append(_compared(f"silu(gate) * up, {tokens} tokens", [*fused], [*apart], x, sizes.rounds))
            in_one_call = [each.in_one_call for each in others]
            made.append(_compared(f"q, k, v, {tokens} tokens", in_one_call, attentions, x, sizes.rounds))
    return made


def _blocks(block: type[AnyBlock], sizes: Sizes) -> list[AnyBlock]:
    """As many as fill the bandwidth's buffer, so that no cache holds them."""
    weight_bytes = sum(each.nbytes for each in block(sizes.hidden).buffers())
    return [block(sizes.hidden) for _ in range(-(-sizes.bandwidth_mib * 2**20 // weight_bytes))]


def _compared(name: str, fused: Sequence[Block], apart: Sequence[Block], x: torch.Tensor, rounds: int) -> Row:
    """Both forms, all blocks of one and then all of the other."""
    times: dict[str, list[float]] = {"fused": [], "apart": []}
    ratios = []
    for _ in range(rounds):
        for form, blocks in (("fused", fused), ("apart", apart)):
            # A copy for each, as a model has another x for each block.
            times[form].append(statistics.median(seconds(lambda: block(x.clone())) for block in blocks))  # noqa: B023
        ratios.append(times["fused"][-1] / times["apart"][-1])
    us = {form: 1e6 * statistics.median(each) for form, each in times.items()}
    ratio = statistics.median(ratios)
    note = f"{ratio:.3f} of the time apart ({min(ratios):.3f}-{max(ratios):.3f}), {us['apart']:.1f} us"
    return Row("blocks", name, f"{us['fused']:.1f} us", "", note, {**us, "ratio": ratio, "all_ratios": ratios})
