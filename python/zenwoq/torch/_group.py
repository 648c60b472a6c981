# SPDX-FileCopyrightText: 2026 The zenwoq authors
# SPDX-License-Identifier: Apache-2.0
"""Processes that share layers: what a layer does with them, and what a model of parts cannot do."""

from __future__ import annotations

from typing import Any

import torch

_PART = "_zenwoq_group"


class Group:
    """The processes of a mesh, in the mesh's order.

    Args:
        mesh: of one dimension.

    Attributes:
        size: their number.
        rank: this one's place.
    """

    def __init__(self, mesh: Any):
        self.size: int = mesh.size()
        self.rank: int = mesh.get_local_rank()
        self._group = mesh.get_group()

    def sum(self, tensor: torch.Tensor) -> torch.Tensor:
        """Adds up a tensor of all processes, in its place; all get the same bits."""
        torch.distributed.all_reduce(tensor, group=self._group)
        return tensor

    def side_by_side(self, tensor: torch.Tensor) -> torch.Tensor:
        """The tensors of all processes, joined along the last dimension."""
        tensors = [torch.empty_like(tensor) for _ in range(self.size)]
        torch.distributed.all_gather(tensors, tensor, group=self._group)
        return torch.cat(tensors, dim=-1)

    def of_all(self, value: Any) -> list[Any]:
        """The values of all processes, which can be pickled."""
        values: list[Any] = [None] * self.size
        torch.distributed.all_gather_object(values, value, group=self._group)
        return values

    def __deepcopy__(self, memo: dict[int, Any]) -> Group:
        return self

    def __reduce__(self) -> Any:
        raise TypeError("a model that zenwoq.torch.parallelize split belongs to its processes and cannot be pickled")


def make_part(module: torch.nn.Module, group: Group) -> None:
    """Notes that a module has a part of what it had."""
    setattr(module, _PART, group)


def group_of(module: torch.nn.Module) -> Group | None:
    """The processes that share a module; None if it is whole."""
    return vars(module).get(_PART)


def refuse_parts(model: torch.nn.Module, what: str) -> None:
    """Raises ValueError if a module of the model has a part of its weight.

    Args:
        model: any.
        what: cannot be done: ``"be saved"``.
    """
    for name, module in model.named_modules():
        if group := group_of(module):
            raise ValueError(
                f"{name} is part {group.rank} of {group.size} of a layer (zenwoq.torch.parallelize): it cannot {what}"
            )
