# SPDX-FileCopyrightText: 2026 The zenwoq authors
# SPDX-License-Identifier: Apache-2.0
"""Packed models for processes to split, and what they compute."""

from __future__ import annotations

import pytest
import torch
import torchao.quantization  # noqa: F401 - transformers imports it, in each process
import transformers
import zenwoq
import zenwoq.torch
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh

SIZES = {
    "hidden_size": 256,
    "intermediate_size": 512,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 64,
    "vocab_size": 256,
    "max_position_embeddings": 128,
    "pad_token_id": None,
    "tie_word_embeddings": False,
    "experts_implementation": "eager",
}
IDS = torch.arange(3, 40)[None]


def packed_of(weight: torch.Tensor, group: int) -> torch.Tensor:
    """A dense weight rounded to 4 bits."""
    groups = weight.detach().float().unflatten(1, (-1, group))
    scales = (groups.abs().amax(-1) / 7).bfloat16()
    codes = (groups / scales[..., None].float()).round().clamp(-8, 7).to(torch.int8).flatten(1)
    made = zenwoq.Weight(codes, scales, layout="s8", table="twos_complement")
    return torch.frombuffer(bytearray(made.packed), dtype=torch.uint8).clone()


def model_of(name: str = "Llama", group: int = 32, fuse: bool = True, **changes: object) -> torch.nn.Module:
    """A model with random weights, biases included, and packed linears."""
    torch.manual_seed(1)
    biases = {"attention_bias": True, "mlp_bias": True} if name == "Llama" else {}
    config = getattr(transformers, f"{name}Config")(**SIZES | biases | changes)
    model = getattr(transformers, f"{name}ForCausalLM")._from_config(config, dtype=torch.bfloat16).eval()
    for own, parameter in model.named_parameters():
        if own.endswith(".bias"):
            torch.nn.init.normal_(parameter, std=0.1)
        elif parameter.dim() == 2:
            torch.nn.init.normal_(parameter, std=0.06)
    for own, module in list(model.named_modules()):
        if type(module) is torch.nn.Linear and "head" not in own and own.endswith(("proj", "fc1", "fc2")):
            parent, _, last = own.rpartition(".")
            made = zenwoq.torch.Linear(packed_of(module.weight, group), module.bias)
            setattr(model.get_submodule(parent), last, made)
    if fuse:
        zenwoq.torch.optimize(model, progress=False)
    return model


def mesh_of(size: int) -> DeviceMesh:
    return init_device_mesh("cpu", (size,))


@torch.inference_mode()
def logits(model: torch.nn.Module) -> torch.Tensor:
    return model(IDS, use_cache=False).logits.float()


@torch.inference_mode()
def tokens(model: torch.nn.Module) -> list[int]:
    return model.generate(IDS, max_new_tokens=16, do_sample=False, pad_token_id=0)[0].tolist()


def refusal(model: torch.nn.Module, mesh: object, **options: object) -> str:
    """Why a model cannot be split; it is as before."""
    before = {name: buffer.clone() for name, buffer in model.named_buffers() if not buffer.is_meta}
    with pytest.raises(ValueError) as error:
        zenwoq.torch.parallelize(model, mesh, **options)
    assert all(torch.equal(model.get_buffer(name), buffer) for name, buffer in before.items())
    assert not any("_zenwoq_group" in vars(module) for module in model.modules())
    return str(error.value)
