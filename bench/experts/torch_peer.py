# SPDX-FileCopyrightText: 2026 The zenwoq authors
# SPDX-License-Identifier: Apache-2.0
"""torch: dense bf16 experts by ``grouped_mm``, in the steps of transformers' "grouped_mm" implementation of experts."""

from __future__ import annotations

from typing import Any

import torch

from bench.experts.operands import DOWN, GATE, UP, Problem
from bench.experts.peer import Peer
from bench.peers.operands import Array
from bench.peers.torch_peer import about_torch, bf16_tensor, set_up


class TorchPeer(Peer):
    """A peer whose activations and routings are tensors, and which makes a new output in each run."""

    def __init__(self, threads: int, settings: dict[str, Any]):
        super().__init__(threads, settings)
        set_up(threads)
        self._y = torch.empty(0)

    def about(self) -> dict[str, Any]:
        """The version, and what torch found."""
        return about_torch()

    def bind(self, problem: Problem) -> None:
        """Takes activations and routings."""
        self._x = bf16_tensor(problem.x_bits)
        self._routings = [
            (torch.from_numpy(routing.ids).long(), torch.from_numpy(routing.weights).bfloat16())
            for routing in problem.routings
        ]

    def run(self, index: int) -> None:
        """One forward."""
        self._y = self.forward(self._x, *self._routings[index])

    def forward(self, x: torch.Tensor, ids: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
        """Computes y bf16 [T,H] from x bf16 [T,H], ids int64 [T,S] and router weights bf16 [T,S]."""
        raise NotImplementedError

    def output(self, index: int) -> Array:
        """The output."""
        output: Array = self._y.float().numpy()
        return output


class GroupedMm(TorchPeer):
    """W rounded to bf16, gate and up in one tensor."""

    def pack(self, problem: Problem) -> None:
        """Fills the tensors expert by expert."""
        block = problem.block
        self._gate_up = torch.empty(block.experts, 2 * block.intermediate, block.hidden, dtype=torch.bfloat16)
        self._down = torch.empty(block.experts, block.hidden, block.intermediate, dtype=torch.bfloat16)
        for expert in range(block.experts):
            gate, up = self._gate_up[expert].chunk(2)
            for part, place in ((GATE, gate), (UP, up), (DOWN, self._down[expert])):
                place.copy_(torch.from_numpy(problem.weight(expert, part).values()))

    def forward(self, x: torch.Tensor, ids: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
        """Sorts by expert, two grouped products, and back."""
        tokens, slots = ids.shape
        experts = self._down.shape[0]
        sorted_ids, order = torch.sort(ids.reshape(-1))
        rows = torch.histc(sorted_ids.float(), bins=experts, min=0, max=experts - 1)
        ends = torch.cumsum(rows, dim=0, dtype=torch.int32)
        grouped_mm = torch.nn.functional.grouped_mm
        gate, up = grouped_mm(x[order // slots], self._gate_up.transpose(-2, -1), offs=ends).chunk(2, dim=-1)
        h = torch.nn.functional.silu(gate) * up
        weighted = grouped_mm(h, self._down.transpose(-2, -1), offs=ends) * weights.reshape(-1)[order].unsqueeze(-1)
        inverse = torch.empty_like(order)
        inverse[order] = torch.arange(order.shape[0])
        return weighted[inverse].view(tokens, slots, -1).sum(dim=1)

    def release(self) -> None:
        """Drops the tensors."""
        self._gate_up = self._down = torch.empty(0)
