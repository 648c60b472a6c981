# SPDX-FileCopyrightText: 2026 The zenwoq authors
# SPDX-License-Identifier: Apache-2.0
"""4-bit layers of torch models on zenwoq.

    import zenwoq.torch
    print(zenwoq.torch.optimize(model))        # in place; quantized by TorchAO, GPTQ, ..., or in GGUF blocks
    model = zenwoq.torch.from_checkpoint(folder)   # straight from the files of a 4-bit checkpoint
    zenwoq.torch.quantize_experts(model)       # rounds the experts of a mixture of experts to 4 bits
    zenwoq.torch.parallelize(model, mesh)      # leaves each process of torch.distributed its part of the layers

A model of transformers (5.24) that was optimized is kept with ``model.save_pretrained(folder)`` and comes back, in a
program that has imported this module, with ``from_pretrained(folder)``: packed weights are mapped from the files, as
they are. :func:`save` and :func:`load` do the same with any model, in one file.

Importing it registers the operators ``torch.ops.zenwoq.linear``, ``linear_out``, ``linear_fused`` (an activation, a
product and sums after it), ``gated`` (``act(gate) * up``), ``linears`` (several weights, one x) and ``experts`` (a
mixture of experts), which work under ``torch.compile`` and ``torch.export``. They compute on torch's intra-op threads;
results have the same bits for any number of them.
"""

from zenwoq.torch import _operator as _operator
from zenwoq.torch import _pretrained
from zenwoq.torch._blocks import ActivatedMLP, GatedMLP
from zenwoq.torch._from_checkpoint import from_checkpoint
from zenwoq.torch._gguf_loading import keep_gguf_packed
from zenwoq.torch._load import load
from zenwoq.torch._module import Linear
from zenwoq.torch._optimize import optimize, restore
from zenwoq.torch._parallelize import parallelize
from zenwoq.torch._quantize_experts import quantize_experts
from zenwoq.torch._report import BlockReport, LayerReport, Report
from zenwoq.torch._save import save

_pretrained.announce()

__all__ = [
    "ActivatedMLP",
    "BlockReport",
    "GatedMLP",
    "LayerReport",
    "Linear",
    "Report",
    "from_checkpoint",
    "keep_gguf_packed",
    "load",
    "optimize",
    "parallelize",
    "quantize_experts",
    "restore",
    "save",
]
