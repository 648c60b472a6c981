# SPDX-FileCopyrightText: 2026 The zenwoq authors
# SPDX-License-Identifier: Apache-2.0
#
# AMD's zentorch: the operator that it puts in the place of 4-bit linear layers, which it packs again at the first call.
import importlib.metadata

import torch
import zentorch  # noqa: F401  registers the operators

from peers.torch_peer import TorchPeer, bf16_tensor


class Zentorch(TorchPeer):
    _linear = staticmethod(torch.ops.zentorch.zentorch_woq_linear.default)

    def about(self):
        return {**super().about(), "version": importlib.metadata.version("zentorch"), "torch": torch.__version__}

    def pack(self, weight):
        codes = torch.from_numpy(weight.nibbles()).char() - 8  # int8 [N, K]
        packed = torch.ops.zentorch.zentorch_woq_repack_weight(codes).t()  # [K/8, N]
        return packed, bf16_tensor(weight.scale_bits).t().contiguous()

    def layer(self, x, packed):
        return self._linear(x, packed[0], packed[1], None)

    def release(self):
        super().release()
        # Known by their addresses, which the next weights may get.
        torch.ops.zentorch.zentorch_clear_weight_cache()
