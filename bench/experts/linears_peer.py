# SPDX-FileCopyrightText: 2026 The zenwoq authors
# SPDX-License-Identifier: Apache-2.0
"""zenwoq's linear layers in transformers' eager loop over experts: what there was before zenwoq had experts."""

from __future__ import annotations

from ctypes import byref, c_void_p
from typing import Any

import torch
from zenwoq import _library
from zenwoq._library import call
from zenwoq._structs import Dtype, LinearDesc, RunArgs

from bench.experts.operands import DOWN, GATE, UP, Problem
from bench.experts.torch_peer import TorchPeer
from bench.experts.zenwoq_peer import make_context, make_weight


class Linears(TorchPeer):
    """Three linears with bf16 outputs for each expert; silu, product and sum by torch."""

    def __init__(self, threads: int, settings: dict[str, Any]):
        super().__init__(threads, settings)
        self._run = _library._library().zenwoq_linear_run
        self._context = make_context(threads)
        self._linears: list[list[c_void_p]] = []  # [expert][part]

    def about(self) -> dict[str, Any]:
        """The versions of zenwoq and torch."""
        return {**super().about(), "version": _library.version(), "torch": torch.__version__}

    def pack(self, problem: Problem) -> None:
        """Makes all linears."""
        self._sizes = problem.block.intermediate, problem.block.intermediate, problem.block.hidden
        for expert in range(problem.block.experts):
            self._linears.append([self._linear(problem, expert, part) for part in (GATE, UP, DOWN)])

    def forward(self, x: torch.Tensor, ids: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
        """The loop over the experts that a token chose."""
        y = torch.zeros_like(x)
        mask = torch.nn.functional.one_hot(ids, num_classes=len(self._linears)).permute(2, 1, 0)
        for expert in torch.greater(mask.sum(dim=(-1, -2)), 0).nonzero():
            slot, token = torch.where(mask[expert[0]])
            linears = self._linears[int(expert[0])]
            rows = x[token]
            h = torch.nn.functional.silu(self._product(linears, GATE, rows)) * self._product(linears, UP, rows)
            weighted = self._product(linears, DOWN, h) * weights[token, slot, None]
            y.index_add_(0, token, weighted)
        return y

    def release(self) -> None:
        """Destroys the linears."""
        for linears in self._linears:
            for linear in linears:
                _library._library().zenwoq_linear_destroy(linear)
        self._linears = []

    def _linear(self, problem: Problem, expert: int, part: int) -> c_void_p:
        linear = c_void_p()
        weight = make_weight(self._context, problem.weight(expert, part))
        desc = LinearDesc(output_type=Dtype.BFLOAT16, bias_type=Dtype.FLOAT32)
        try:
            call("zenwoq_linear_create", self._context, weight, byref(desc), byref(linear))
        finally:
            _library._library().zenwoq_weight_destroy(weight)
        return linear

    def _product(self, linears: list[c_void_p], part: int, x: torch.Tensor) -> torch.Tensor:
        y = torch.empty(x.shape[0], self._sizes[part], dtype=torch.bfloat16)
        arguments = RunArgs(
            m=x.shape[0],
            x_type=Dtype.BFLOAT16,
            x=x.data_ptr(),
            x_bytes=x.nbytes,
            y=y.data_ptr(),
            y_bytes=y.nbytes,
        )
        if self._run(linears[part], byref(arguments)):
            raise RuntimeError(_library._library().zenwoq_last_error().decode())
        return y
