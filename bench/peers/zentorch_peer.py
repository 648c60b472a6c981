# SPDX-FileCopyrightText: 2026 The zenwoq authors
# SPDX-License-Identifier: Apache-2.0
"""AMD's zentorch: the operator with which it replaces 4-bit linear layers, which packs anew at the first call."""

from __future__ import annotations

import importlib.metadata
from typing import Any

import torch
import zentorch  # noqa: F401 - registers the operators

from bench.peers.operands import Weight
from bench.peers.torch_peer import TorchPeer, bf16_tensor


class Zentorch(TorchPeer):
    """Runs zentorch_woq_linear."""

    _linear = staticmethod(torch.ops.zentorch.zentorch_woq_linear.default)

    def about(self) -> dict[str, Any]:
        """The versions of zentorch and torch."""
        return {**super().about(), "version": importlib.metadata.version("zentorch"), "torch": torch.__version__}

    def pack(self, weight: Weight) -> tuple[torch.Tensor, torch.Tensor]:
        """Codes ``[K/8, N]`` and scales ``[K/group, N]``."""
        codes = torch.from_numpy(weight.nibbles()).char() - 8  # int8 [N, K]
        packed = torch.ops.zentorch.zentorch_woq_repack_weight(codes).t()
        return packed, bf16_tensor(weight.scale_bits).t().contiguous()

    def layer(self, x: torch.Tensor, packed: Any) -> torch.Tensor:
        """Calls the operator without a bias."""
        y: torch.Tensor = self._linear(x, packed[0], packed[1], None)
        return y

    def release(self) -> None:
        """Forgets the weights: zentorch knows them by their addresses, which the next ones may get."""
        super().release()
        torch.ops.zentorch.zentorch_clear_weight_cache()
