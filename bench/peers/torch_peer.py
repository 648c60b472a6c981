# SPDX-FileCopyrightText: 2026 The zenwoq authors
# SPDX-License-Identifier: Apache-2.0
#
# torch: dense bf16 weights as the line to compare with, and its own 4-bit weights.
import torch

from peers.peer import LoopPeer


def bf16_tensor(bits):
    """uint16 bits of bf16 (numpy, any shape) -> a bf16 tensor with memory of its own."""
    return torch.from_numpy(bits.copy()).view(torch.bfloat16)


class TorchPeer(LoopPeer):
    """Each call gives a new output, as torch's own layers do."""

    def __init__(self, threads, settings):
        super().__init__(threads, settings)
        torch.set_grad_enabled(False)
        torch.set_num_threads(threads)
        self._x = None
        self._count = 0

    def about(self):
        return {"version": torch.__version__, "capability": torch.backends.cpu.get_cpu_capability(),
                "threads": str(torch.get_num_threads())}

    def bind(self, problem):
        self._x = bf16_tensor(problem.x_bits)
        self._count = problem.copies

    def run(self):
        x, outputs, layer = self._x, self.outputs, self.layer
        for i in range(self._count):
            outputs[i] = layer(x, self.packed[i])

    def layer(self, x, packed):
        """x bf16 [M, K] -> y bf16 [M, N]."""
        raise NotImplementedError

    def output(self, index):
        return self.outputs[index].float().numpy()


class TorchDense(TorchPeer):
    """W rounded to bf16, packed for this M as torch.compile does: plain F.linear takes up to 1.6 times as long."""

    _linear = staticmethod(torch.ops.mkldnn._linear_pointwise.default)

    def prepare(self, problem):
        self.release()  # the layout depends on M
        self._m = problem.m
        super().prepare(problem)

    def pack(self, weight):
        return torch.ops.mkldnn._reorder_linear_weight(torch.from_numpy(weight.values()).bfloat16(), self._m)

    def layer(self, x, packed):
        return self._linear(x, packed, None, "none", [], "")


class TorchInt4Pack(TorchPeer):
    """What torchao's Int4OpaqueTensor runs."""

    _linear = staticmethod(torch.ops.aten._weight_int4pack_mm_for_cpu.default)

    def pack(self, weight):
        codes = torch.from_numpy(weight.nibbles()).int()
        scales = bf16_tensor(weight.scale_bits).t()
        # [K/group, N, 2]; W = scale * (code - 8) + zero
        scale_and_zero = torch.stack([scales, torch.zeros_like(scales)], 2).contiguous()
        return torch.ops.aten._convert_weight_to_int4pack_for_cpu(codes, 1), weight.group, scale_and_zero

    def layer(self, x, packed):
        return self._linear(x, *packed)
