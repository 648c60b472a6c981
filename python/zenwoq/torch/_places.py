# SPDX-FileCopyrightText: 2026 The zenwoq authors
# SPDX-License-Identifier: Apache-2.0
"""Puts modules into the places of others."""

from __future__ import annotations

from typing import Any

import torch


def put(parent: torch.nn.Module, own: str, made: torch.nn.Module) -> None:
    """Puts a module into its place. A wrapper of torch.compile holds the old one's calls, and is made anew."""
    setattr(parent, own, made)
    if own == "_orig_mod" and isinstance(parent, torch._dynamo.OptimizedModule):
        parent._torchdynamo_orig_callable = made.forward
        parent._initialize()


def take_over(made: torch.nn.Module, module: torch.nn.Module) -> None:
    """Gives a new module the mode and hooks of the one that it replaces, and compiles it if that was compiled."""
    made.train(module.training)
    if module._compiled_call_impl is not None:
        made._compiled_call_impl = _recompiled(module._compiled_call_impl, made)
    for hooks in (
        "_forward_hooks",
        "_forward_pre_hooks",
        "_forward_hooks_with_kwargs",
        "_forward_pre_hooks_with_kwargs",
        "_forward_hooks_always_called",
    ):
        if getattr(module, hooks, None):
            setattr(made, hooks, getattr(module, hooks))


def _recompiled(compiled: Any, made: torch.nn.Module) -> Any:
    """What Module.compile() made of a module, with the same backend and options for another one."""
    for cell in getattr(compiled, "__closure__", None) or ():
        if isinstance(cell.cell_contents, torch._dynamo.eval_frame._TorchDynamoContext):
            return cell.cell_contents(made._call_impl)
    return torch.compile(made._call_impl)
