# SPDX-FileCopyrightText: 2026 The zenwoq authors
# SPDX-License-Identifier: Apache-2.0
"""Lets kernels be generated while a model loads, so that no request waits for it.

vLLM batches any number of tokens. The library cuts them into blocks of few rows, and has a kernel for each height of a
block: all heights occur in products of some tens of rows. A kernel does not depend on the number of columns, so that
some panels of a weight call for all that a layer needs.
"""

from __future__ import annotations

from typing import Any

import torch

import zenwoq.torch  # noqa: F401 - the operators
from zenwoq import Weight
from zenwoq.vllm._tensors import viewed

_COLUMNS = 192  # three panels: a tile of two, and one
_ROWS = range(1, 65)  # of a linear
_ROWS_OF_EXPERT = range(1, 25)  # of which no part will do
_seen: set[tuple[Any, ...]] = set()


def warm_linear(weight: Weight, x_type: torch.dtype, bias_type: torch.dtype | None) -> None:
    """Runs some columns of a linear with each number of rows, with a bias and without, unless one like it was.

    Args:
        weight: the layer's.
        x_type: of activations.
        bias_type: of the layer's bias, None if it has none.
    """
    key = ("linear", weight.text, weight.table, weight.k, weight.n >= _COLUMNS, x_type, bias_type)
    if key in _seen:
        return
    _seen.add(key)
    part = weight if weight.n <= _COLUMNS else weight.slice(0, _COLUMNS)
    packed = viewed(part)
    x = torch.zeros((_ROWS[-1], part.k), dtype=x_type)
    biases = [None] if bias_type is None else [None, torch.zeros(part.n, dtype=bias_type)]
    for bias in biases:
        for rows in _ROWS:
            torch.ops.zenwoq.linear(x[:rows], packed, bias, part.n)


def warm_experts(x_type: torch.dtype, hidden: int, key: tuple[Any, ...], *weights: Any) -> None:
    """Runs the first expert of a layer with each number of rows, unless one like it was.

    Args:
        x_type: of activations.
        hidden: their number of columns.
        key: what the kernels depend on.
        weights: what ``zenwoq::experts`` takes behind x, ids and router.
    """
    if ("experts", x_type, *key) in _seen:
        return
    _seen.add(("experts", x_type, *key))
    x = torch.zeros((_ROWS_OF_EXPERT[-1], hidden), dtype=x_type)
    ids, router = torch.zeros((len(x), 1), dtype=torch.int32), torch.ones((len(x), 1))
    for rows in _ROWS_OF_EXPERT:
        torch.ops.zenwoq.experts(x[:rows], ids[:rows], router[:rows], *weights)
