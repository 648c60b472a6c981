# SPDX-FileCopyrightText: 2026 The zenwoq authors
# SPDX-License-Identifier: Apache-2.0
"""torch: dense bf16 weights as a baseline, and its own 4-bit weights."""

from __future__ import annotations

from typing import Any

import torch

from bench.peers.operands import Array, Problem, Weight
from bench.peers.peer import LoopPeer


def bf16_tensor(bits: Array) -> torch.Tensor:
    """Copies the uint16 bits of bf16 (any shape) to a tensor."""
    return torch.from_numpy(bits.copy()).view(torch.bfloat16)


def set_up(threads: int) -> None:
    """Torch as all its peers run it."""
    torch.set_grad_enabled(False)
    torch.set_num_threads(threads)


def about_torch() -> dict[str, Any]:
    """The version, and what torch found."""
    capability = torch.backends.cpu.get_cpu_capability()
    return {"version": torch.__version__, "capability": capability, "threads": str(torch.get_num_threads())}


class TorchPeer(LoopPeer):
    """A peer that makes a new output in each call, as torch's own layers do."""

    def __init__(self, threads: int, settings: dict[str, Any]):
        super().__init__(threads, settings)
        set_up(threads)
        self._x = torch.empty(0)
        self._count = 0

    def about(self) -> dict[str, Any]:
        """The version, and what torch found."""
        return about_torch()

    def bind(self, problem: Problem) -> None:
        """Takes the activations."""
        self._x = bf16_tensor(problem.x_bits)
        self._count = problem.copies

    def run(self) -> None:
        """Runs all copies."""
        x, outputs, layer = self._x, self.outputs, self.layer
        for i in range(self._count):
            outputs[i] = layer(x, self.packed[i])

    def layer(self, x: torch.Tensor, packed: Any) -> torch.Tensor:
        """Computes y bf16 [M, N] from x bf16 [M, K]."""
        raise NotImplementedError

    def output(self, index: int) -> Array:
        """The output of a copy."""
        output: Array = self.outputs[index].float().numpy()
        return output


class TorchDense(TorchPeer):
    """W rounded to bf16 and packed for this M as by torch.compile: plain F.linear takes up to 1.6 times as long."""

    _linear = staticmethod(torch.ops.mkldnn._linear_pointwise.default)

    def prepare(self, problem: Problem) -> None:
        """Packs again: the layout depends on M."""
        self.release()
        self._m = problem.m
        super().prepare(problem)

    def pack(self, weight: Weight) -> torch.Tensor:
        """Packs into oneDNN's layout."""
        dense = torch.from_numpy(weight.values()).bfloat16()
        packed: torch.Tensor = torch.ops.mkldnn._reorder_linear_weight(dense, self._m)
        return packed

    def layer(self, x: torch.Tensor, packed: Any) -> torch.Tensor:
        """oneDNN's product."""
        y: torch.Tensor = self._linear(x, packed, None, "none", [], "")
        return y


class TorchInt4Pack(TorchPeer):
    """What torchao's Int4OpaqueTensor runs."""

    _linear = staticmethod(torch.ops.aten._weight_int4pack_mm_for_cpu.default)

    def pack(self, weight: Weight) -> tuple[torch.Tensor, int, torch.Tensor]:
        """Codes, group size, and [K/group, N, 2]: W = scale * (code - 8) + zero."""
        codes = torch.from_numpy(weight.nibbles()).int()
        scales = bf16_tensor(weight.scale_bits).t()
        scale_and_zero = torch.stack([scales, torch.zeros_like(scales)], 2).contiguous()
        return torch.ops.aten._convert_weight_to_int4pack_for_cpu(codes, 1), weight.group, scale_and_zero

    def layer(self, x: torch.Tensor, packed: Any) -> torch.Tensor:
        """ATen's product."""
        y: torch.Tensor = self._linear(x, *packed)
        return y
