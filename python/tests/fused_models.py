# SPDX-FileCopyrightText: 2026 The zenwoq authors
# SPDX-License-Identifier: Apache-2.0
"""Models whose blocks are fused, and the same apart."""

from __future__ import annotations

import torch
import transformers
import zenwoq.torch
from conftest import configs
from torchao.quantization import quantize_
from zenwoq.torch import Linear

SIZES = {
    "hidden_size": 128,
    "intermediate_size": 256,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 256,
    "max_position_embeddings": 64,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "attn_implementation": "sdpa",
}
QKV = "q_proj, k_proj, v_proj in one call on 4 threads or more"
# By family: the class, what its config has of its own, and what is fused in each layer.
FAMILIES = {
    "llama": ("Llama", {}, {"attention": QKV, "gated MLP": "silu(gate_proj) * up_proj in one call"}),
    "llama-gelu": ("Llama", {"hidden_act": "gelu", "mlp_bias": True},
                   {"attention": QKV, "gated MLP": "gelu(gate_proj) * up_proj in one call"}),
    "mistral": ("Mistral", {}, {"attention": QKV, "gated MLP": "silu(gate_proj) * up_proj in one call"}),
    "qwen2": ("Qwen2", {}, {"attention": QKV, "gated MLP": "silu(gate_proj) * up_proj in one call"}),
    "qwen3": ("Qwen3", {"head_dim": 32}, {"attention": QKV, "gated MLP": "silu(gate_proj) * up_proj in one call"}),
    "smollm3": ("SmolLM3", {}, {"attention": QKV, "gated MLP": "silu(gate_proj) * up_proj in one call"}),
    "gemma": ("Gemma", {"head_dim": 32, "hidden_act": "gelu_pytorch_tanh"},
              {"attention": QKV, "gated MLP": "gelu_tanh(gate_proj) * up_proj in one call"}),
    "gemma2": ("Gemma2", {"head_dim": 32, "attn_implementation": "eager"},
               {"attention": QKV, "gated MLP": "gelu_tanh(gate_proj) * up_proj in one call"}),
    "gemma3": ("Gemma3", {"head_dim": 32},
               {"attention": QKV, "gated MLP": "gelu_tanh(gate_proj) * up_proj in one call"}),
    "phi3": ("Phi3", {}, {"gated MLP": "silu(gate_up_proj) of its halves in one call"}),
    "phi": ("Phi", {}, {"attention": QKV, "MLP": "gelu_tanh(fc1) in one call"}),
    "gpt-neox": ("GPTNeoX", {}, {"MLP": "gelu(dense_h_to_4h) in one call"}),
}  # fmt: skip


def made(family: str, dtype: torch.dtype = torch.bfloat16, **changes: object) -> torch.nn.Module:
    """A model with random weights, biases included, whose linears are TorchAO's."""
    name, own, _ = FAMILIES[family]
    config_class = getattr(transformers, f"{name}TextConfig" if name == "Gemma3" else f"{name}Config")
    config = config_class(**SIZES | own | changes)
    torch.manual_seed(1)
    model = getattr(transformers, f"{name}ForCausalLM")._from_config(config, dtype=dtype)
    for parameter_name, parameter in model.named_parameters():
        if parameter_name.endswith(".bias"):
            torch.nn.init.normal_(parameter, std=0.1)
    model = model.eval()
    quantize_(model, configs(32)["intx-group"](), lambda m, n: isinstance(m, torch.nn.Linear) and "head" not in n)
    return model


def fused_and_apart(family: str, **changes: object) -> tuple[torch.nn.Module, torch.nn.Module, zenwoq.torch.Report]:
    model = made(family, **changes)
    apart, _ = zenwoq.torch.optimize(model, inplace=False, progress=False, fuse=False)
    return model, apart, zenwoq.torch.optimize(model, progress=False)


def logits(model: torch.nn.Module, ids: torch.Tensor) -> torch.Tensor:
    with torch.inference_mode():
        return model(ids, use_cache=False).logits


def calls_of(model: torch.nn.Module, *given: torch.Tensor) -> dict[str, int]:
    """How often each of zenwoq's operators is called."""
    counts: dict[str, int] = {}

    class Count(torch.utils._python_dispatch.TorchDispatchMode):
        def __torch_dispatch__(self, func: object, types: object, args: object = (), kwargs: object = None) -> object:
            if func.namespace == "zenwoq":
                name = func.name().removeprefix("zenwoq::")
                counts[name] = counts.get(name, 0) + 1
            return func(*args, **(kwargs or {}))

    with torch.no_grad(), Count():
        model(*given)
    return counts


def zenwoq_weight(n: int, k: int, seed: int, group: int = 32, scale: float = 1.0) -> torch.Tensor:
    """A packed weight of its own for each seed."""
    generator = torch.Generator().manual_seed(seed)
    codes = torch.randint(-8, 8, (n, k), dtype=torch.int8, generator=generator)
    scales = (torch.rand((n, k // group), generator=generator) * scale).to(torch.bfloat16)
    weight = zenwoq.Weight(codes, scales, layout="s8", table="twos_complement")
    return torch.frombuffer(bytearray(weight.packed), dtype=torch.uint8).clone()


class Projections(torch.nn.Module):
    """An attention's three, and a place to do something between their calls."""

    def __init__(self):
        super().__init__()
        for name, n in (("q", 128), ("k", 64), ("v", 64)):
            linear = Linear(zenwoq_weight(n, 64, ord(name)), torch.randn(n, generator=torch.Generator().manual_seed(n)))
            setattr(self, name, linear)
        self.between = lambda x: None

    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        one = self.q(x)
        self.between(one)
        return [one, self.k(x), self.v(x)]


def projections() -> tuple[Projections, Projections]:
    """Fused, and a copy that is not."""
    fused, apart = Projections(), Projections()
    report = zenwoq.torch.optimize(fused, progress=False)
    assert [block.kind for block in report.fused] == ["set of projections"]
    assert report.fused[0].result == "q, k, v in one call on 4 threads or more"
    return fused, apart


def equal(one: list[torch.Tensor], other: list[torch.Tensor]) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


def requantized(model: torch.nn.Module, name: str, group: int = 64) -> None:
    """Gives a linear of a model another quantization."""
    parent, _, own = name.rpartition(".")
    old = model.get_submodule(name)
    linear = torch.nn.Linear(old.in_features, old.out_features, bias=old.bias is not None).bfloat16()
    model.get_submodule(parent).register_module(own, linear)
    quantize_(linear, configs(group)["intx-group"]())
