# SPDX-FileCopyrightText: 2026 The zenwoq authors
# SPDX-License-Identifier: Apache-2.0
"""How much is measured."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Sizes:
    """How large everything is. The defaults are for real measurements; TINY only shows that the program works."""

    layers: int = 8
    hidden: int = 2048
    llama_prompt: int = 128
    llama_steps: int = 4
    smol_prompt: int = 256
    smol_steps: int = 16
    rounds: int = 8
    bandwidth_mib: int = 512
    call_repeats: int = 2000
    # The libraries whose model is compiled by inductor, too.
    compiled: tuple[str, ...] = ("torch", "TorchAO", "zenwoq", "zenwoq apart")
    smol_compiled: tuple[str, ...] = ("TorchAO", "zenwoq", "zenwoq apart")
    zentorch: bool = True
    smol: bool = True


TINY = Sizes(1, 512, 8, 2, 8, 2, 1, 16, 20, ("zenwoq",), zentorch=False, smol=False)
