# SPDX-FileCopyrightText: 2026 The zenwoq authors
# SPDX-License-Identifier: Apache-2.0
"""Layers that have a part of a weight, and compute with the other processes of their group."""

from __future__ import annotations

import torch

from zenwoq.torch._group import Group
from zenwoq.torch._module import Linear, operand_of
from zenwoq.torch._operator import linear


class GatheredLinear(Linear):
    """A :class:`Linear` with this process's rows of W, whose result is that of all."""

    _zenwoq_group: Group

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """As :meth:`Linear.forward`, ``[..., out_features of all]``."""
        return self._zenwoq_group.side_by_side(super().forward(x))


class SummedLinear(Linear):
    """A :class:`Linear` with this process's columns of W, whose sums are those of all."""

    _zenwoq_group: Group
    _begin: int | None  # of its columns, where x has all of them

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """As :meth:`Linear.forward`; the processes' sums are added in float32, and rounded once.

        Args:
            x: ``[..., in_features]``, of all processes where the plan says ``"rowwise_split_input"``.
        """
        x = operand_of(self, x)
        part = x if self._begin is None else x[..., self._begin : self._begin + self.in_features]
        sums = linear(part.float(), self._buffers["packed"], None, self.out_features)
        return _finished(self, sums, x.dtype)


class SummedDense(torch.nn.Linear):
    """The same of a dense linear, whose parts are rounded to x's dtype before they are added."""

    _zenwoq_group: Group
    _begin: int | None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """As ``torch.nn.Linear.forward``."""
        part = x if self._begin is None else x[..., self._begin : self._begin + self.in_features]
        sums = torch.nn.functional.linear(part, self.weight)
        return _finished(self, sums.float(), sums.dtype)


def _finished(module: SummedLinear | SummedDense, sums: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    sums = module._zenwoq_group.sum(sums)
    bias = module._parameters["bias"]
    return (sums if bias is None else sums + bias).to(dtype)
