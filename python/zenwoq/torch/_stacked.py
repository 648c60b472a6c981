# SPDX-FileCopyrightText: 2026 The zenwoq authors
# SPDX-License-Identifier: Apache-2.0
"""The weights of experts, stacked, as what they are packed from: floats, TorchAO's 4-bit tensors, blocks of GGUF."""

from __future__ import annotations

from typing import Any

import torch

from zenwoq import Weight
from zenwoq._formats import Layer
from zenwoq.torch import _gguf, _torchao
from zenwoq.torch._given import NAME, Given, Unsupported


class StackedWeight:
    """A weight ``[experts, n, k]`` that can pack some rows of an expert.

    Attributes:
        text: what it is, in a few words.
    """

    text = ""

    def check(self) -> None:
        """Raises ValueError for a value that cannot be, before anything is changed."""

    def packed(self, expert: int, rows: slice) -> torch.Tensor:
        """The packed weight of these rows, as uint8."""
        raise NotImplementedError


class DenseWeight(StackedWeight):
    """A weight of floats, to be rounded."""

    def __init__(self, weight: torch.Tensor, is_transposed: bool, group_size: int, symmetric: bool):
        self._weight = weight.detach()
        self._weight = self._weight.transpose(1, 2) if is_transposed else self._weight
        self._group_size, self._symmetric = group_size, symmetric
        self.text = str(weight.dtype).removeprefix("torch.")

    def check(self) -> None:
        for expert, weight in enumerate(self._weight):
            if not bool(weight.isfinite().all()):
                raise ValueError(f"expert {expert} has a weight that is not finite")

    def packed(self, expert: int, rows: slice) -> torch.Tensor:
        values = self._weight[expert][rows].to(torch.float32)
        codes, scales, zeros = rounded(values, self._group_size, self._symmetric)
        weight = Weight(
            codes, scales, zeros, layout="s8", table="twos_complement", group_size=min(self._group_size, codes.shape[1])
        )
        return torch.frombuffer(bytearray(weight.packed), dtype=torch.uint8)


def rounded(
    weight: torch.Tensor, group_size: int, symmetric: bool
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]:
    """Codes -8..7 ``[n, k]``, scales ``[n, groups]`` in bfloat16 and zeros 0..16 of a weight ``[n, k]`` in float32.

    The formula is that of :func:`zenwoq.torch.quantize_experts`. Zeros are those of :class:`zenwoq.Weight`, its own
    plus 8.
    """
    n, k = weight.shape
    groups = torch.nn.functional.pad(weight, (0, -k % group_size)).view(n, -1, group_size)
    low, high = groups.amin(-1).clamp(max=0), groups.amax(-1).clamp(min=0)
    span = torch.maximum(high, -low) / 7.5 if symmetric else (high - low) / 15
    scales = span.clamp(min=2.0**-100).to(torch.bfloat16)
    steps = scales.float()
    zeros = torch.zeros_like(steps) if symmetric else (-8 - low / steps).round().clamp(-8, 7)
    codes = ((groups / steps[..., None]).round() + zeros[..., None]).clamp(-8, 7).to(torch.int8)
    codes = codes.view(n, -1)[:, :k].contiguous()
    return codes, scales, None if symmetric else (zeros + 8).to(torch.int8)


class _GivenWeight(StackedWeight):
    """A weight that is 4-bit already."""

    def given(self, expert: int, rows: slice) -> Given:
        """These rows of an expert. Raises Unsupported with the reason if they are not read."""
        raise NotImplementedError

    def open(self, expert: int, rows: slice) -> Layer:
        """The same, understood."""
        checkpoint = self.given(expert, rows).open()
        layer = checkpoint.get(NAME)
        if layer is None:
            raise Unsupported(checkpoint.left_alone[0].reason)
        return layer

    def packed(self, expert: int, rows: slice) -> torch.Tensor:
        """See StackedWeight."""
        return torch.frombuffer(self.open(expert, rows).packed(threads=torch.get_num_threads()), dtype=torch.uint8)


class Int4Weight(_GivenWeight):
    """TorchAO's Int4Tensor of three dimensions."""

    def __init__(self, weight: Any):
        self._weight = weight
        self.text = self.open(0, slice(None)).format

    def given(self, expert: int, rows: slice) -> Given:
        """See _GivenWeight."""
        return _torchao.given_of_expert(self._weight, expert, rows)


class BlocksWeight(_GivenWeight):
    """Blocks of a GGUF file ``[experts, n, bytes]``.

    Args:
        blocks: on the CPU.
        kind: their type, as GGUF counts them.
        in_features: k.
    """

    def __init__(self, blocks: torch.Tensor, kind: Any, in_features: int):
        self._blocks, self._kind, self._in_features = blocks, kind, in_features
        self.text = self.open(0, slice(None)).format

    def given(self, expert: int, rows: slice) -> Given:
        """See _GivenWeight."""
        return _gguf.given_of_rows(self._blocks[expert, rows], self._kind, self._in_features)
