#!/usr/bin/env python3
# SPDX-FileCopyrightText: 2026 The zenwoq authors
# SPDX-License-Identifier: Apache-2.0
"""Quantizes a Llama with each of the three TorchAO configurations of AMD's ZenDNN guide and runs it on zenwoq.

    pip install . "transformers>=5.24" accelerate torchao==0.17.0
    python examples/quantize_and_run.py

The model has random weights: 8 layers, hidden size 2048, intermediate size 5632, 32 heads, 4 KV heads, vocabulary 8192.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from typing import Any

import torch
import zenwoq.torch
from torchao.quantization import IntxWeightOnlyConfig, MappingType, PerAxis, PerGroup
from transformers import AutoModelForCausalLM, LlamaConfig, TorchAoConfig

try:
    from torchao.prototype.quantization.int4 import Int4WeightOnlyOpaqueTensorConfig
except ImportError:  # its name since torchao 0.18
    from torchao.prototype.quantization.int4 import PrototypeInt4WeightOnlyConfig as Int4WeightOnlyOpaqueTensorConfig


def configs(group_size: int = 128) -> dict[str, Any]:
    """The guide's configurations. What it calls PerChannel() is PerAxis(0) in TorchAO."""
    int4 = torch.int4  # type: ignore[attr-defined]
    intx = {"weight_dtype": int4, "mapping_type": MappingType.SYMMETRIC, "scale_dtype": torch.bfloat16}
    return {
        "intx-group": IntxWeightOnlyConfig(**intx, granularity=PerGroup(group_size)),
        "intx-channel": IntxWeightOnlyConfig(**intx, granularity=PerAxis(0)),
        "opaque": Int4WeightOnlyOpaqueTensorConfig(group_size=group_size),
    }


def llama(layers: int, hidden: int) -> Any:
    """A bf16 Llama with random weights and heads of 64, of which 8 share a KV head, as in the sizes above."""
    heads = hidden // 64
    config = LlamaConfig(
        num_hidden_layers=layers,
        hidden_size=hidden,
        intermediate_size=hidden * 11 // 4,
        num_attention_heads=heads,
        num_key_value_heads=max(1, heads // 8),
        vocab_size=8192,
    )
    torch.manual_seed(0)
    return AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16).eval()


def quantized(name: str, config: Any) -> Any:
    """AMD's steps: load a model from a folder or the Hub, quantized on the way."""
    return AutoModelForCausalLM.from_pretrained(
        name,
        dtype=torch.bfloat16,
        device_map="cpu",
        quantization_config=TorchAoConfig(config),
    )


@torch.inference_mode()
def token_ms(model: Any) -> float:
    """Milliseconds of a forward pass of one token: the best of 5."""
    times = []
    for _ in range(5):
        began = time.perf_counter()
        model(torch.tensor([[1]]))
        times.append(time.perf_counter() - began)
    return min(times) * 1e3


def main() -> None:
    """Prints, for each configuration, what became of the layers and the time before and after."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--layers", type=int, default=8)
    parser.add_argument("--hidden", type=int, default=2048, help="hidden size, a multiple of 512")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        model = llama(args.layers, args.hidden)
        model.save_pretrained(folder)
        print(f"bf16: {token_ms(model):.1f} ms a token")
        del model
        for name, config in configs().items():
            model = quantized(folder, config)
            before = token_ms(model)
            report = zenwoq.torch.optimize(model)
            print(f"\n{name}: {before:.1f} ms a token with TorchAO, {token_ms(model):.1f} ms with zenwoq\n{report}")


if __name__ == "__main__":
    main()
