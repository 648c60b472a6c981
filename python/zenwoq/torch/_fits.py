# SPDX-FileCopyrightText: 2026 The zenwoq authors
# SPDX-License-Identifier: Apache-2.0
"""Which linears can be computed in one call."""

from __future__ import annotations

from typing import Any

import torch

from zenwoq import Weight
from zenwoq.torch._module import Linear, has_hooks

_HALVES = 128  # rows of a linear with gate and up: a multiple of two panels


class Apart(Exception):  # noqa: N818 - a verdict, not an error
    """Why a block stays as it is."""


def linear_of(module: torch.nn.Module, name: str) -> Linear:
    """The linear that a block has under this name; refuses what is none of zenwoq's, or is seen by hooks."""
    child: Any = getattr(module, name, None)
    if type(child) is not Linear:
        raise Apart(f"{name} is a {type(child).__name__}, no zenwoq.torch.Linear")
    if has_hooks(child):
        raise Apart(f"{name} has hooks")
    if child.packed.is_meta:
        raise Apart(f"{name} has no values")
    return child


def check_pair(names: tuple[str, ...], gated: bool, first: list[Linear]) -> None:
    """Refuses linears that do not fit each other as gate and up."""
    if not gated:
        return
    if len(first) == 1:
        n = first[0].out_features
        if n % _HALVES:
            raise Apart(f"{names[0]} has {n} rows, not a multiple of {_HALVES}")
        return
    check_alike(names, first)
    gate, up = first
    if gate.out_features != up.out_features:
        raise Apart(f"{names[0]} has {gate.out_features} rows, {names[1]} {up.out_features}")
    if gate.bias is not None and up.bias is not None and gate.bias.dtype != up.bias.dtype:
        raise Apart(f"the bias of {names[0]} is {gate.bias.dtype}, that of {names[1]} {up.bias.dtype}")


def check_alike(names: tuple[str, ...], layers: list[Linear]) -> None:
    """Refuses linears that differ in what their products do with x."""
    weights = [layer.weight_view() for layer in layers]
    for name, weight in zip(names[1:], weights[1:], strict=True):
        if difference := _difference(names[0], weights[0], name, weight):
            raise Apart(difference)


def _difference(name: str, weight: Weight, other_name: str, other: Weight) -> str:
    if weight.k != other.k:
        return f"{name} has {weight.k} columns, {other_name} {other.k}"
    if weight.text != other.text:
        return f"{name} is {weight.text}, {other_name} {other.text}"
    if weight.table != other.table:
        return f"{name} and {other_name} have other tables"
    for what, values, others in (
        ("columns in another order", weight.permutation, other.permutation),
        ("other factors of x", weight.x_scale, other.x_scale),
    ):
        if (values is None) != (others is None) or (values is not None and values.tobytes() != others.tobytes()):
            return f"{name} and {other_name} have {what}"
    return ""
