# SPDX-FileCopyrightText: 2026 The zenwoq authors
# SPDX-License-Identifier: Apache-2.0
"""SmolLM2 in four families of formats: the tokens of the same weights, dequantised by the formats' owners."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import zenwoq.torch
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM, AutoTokenizer, BitsAndBytesConfig

GROUP = 64
TOKENS = 20
PROMPT = [{"role": "user", "content": "What is the capital of France?"}]


@pytest.fixture(scope="module")
def smol(smollm2, tmp_path_factory):
    """The dense model in float32, a prompt, and a folder."""
    folder, name = smollm2
    model = AutoModelForCausalLM.from_pretrained(folder, gguf_file=name, dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(folder, gguf_file=name)
    prompt = tokenizer.apply_chat_template(PROMPT, add_generation_prompt=True, return_tensors="pt", return_dict=True)
    return model.eval(), dict(prompt), tmp_path_factory.mktemp("smol")


def linears(model: torch.nn.Module) -> dict[str, torch.nn.Linear]:
    return {n: m for n, m in model.named_modules() if isinstance(m, torch.nn.Linear) and n != "lm_head"}


def rounded(weight: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Codes 0..15 ``[n, k]``, float16 scales and zero points ``[n, groups]`` of a weight: rounded to the nearest."""
    groups = weight.view(weight.shape[0], -1, GROUP)
    low, high = groups.amin(-1).clamp(max=0), groups.amax(-1).clamp(min=0)
    scale = ((high - low) / 15).half()
    zero = (-low / scale.float()).round().clamp(0, 15)
    codes = (groups / scale.float()[..., None] + zero[..., None]).round().clamp(0, 15)
    return codes.view_as(weight).to(torch.uint8), scale, zero.to(torch.uint8)


def words(nibbles: torch.Tensor, order: tuple[int, ...] = tuple(range(8))) -> torch.Tensor:
    """Eight codes along the last dimension as one int32: code order[i] in half byte i."""
    eights = nibbles.long().unflatten(-1, (-1, 8))[..., list(order)]
    value = (eights << (4 * torch.arange(8))).sum(-1)
    return torch.where(value >= 2**31, value - 2**32, value).int()


def save(model, state: dict[str, torch.Tensor], quantization: dict | None, folder: Path) -> None:
    folder.mkdir(exist_ok=True)
    tensors = {name: tensor.contiguous() for name, tensor in state.items()}
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    config = {key: value for key, value in model.config.to_dict().items() if key != "quantization_config"}
    if quantization is not None:
        config["quantization_config"] = quantization
    (folder / "config.json").write_text(json.dumps(config, default=str))


def dense_state(model) -> dict[str, torch.Tensor]:
    left_out = {f"{name}.weight" for name in linears(model)} | {"lm_head.weight"}  # which is tied
    return {name: tensor.clone() for name, tensor in model.state_dict().items() if name not in left_out}


def as_gptq(model, folder: Path) -> dict[str, torch.Tensor]:
    """GPTQ with zero points, as AutoGPTQ writes it: scale * (code - zero), zeros less one."""
    state, values = dense_state(model), {}
    for name, linear in linears(model).items():
        codes, scale, zero = rounded(linear.weight.detach())
        state[f"{name}.qweight"] = words(codes.t().unflatten(0, (-1, 8)).transpose(1, 2)).squeeze(-1)
        state[f"{name}.qzeros"] = words((zero.t().int() - 1) & 15)
        state[f"{name}.scales"] = scale.t()
        state[f"{name}.g_idx"] = (torch.arange(codes.shape[1]) // GROUP).int()
        stored = ((zero.int() - 1) & 15) + 1  # a zero point of 0 comes back as 16
        steps = (codes.int().unflatten(1, (-1, GROUP)) - stored[..., None]).float()
        values[name] = (steps * scale.float()[..., None]).flatten(1)
    quantization = {"quant_method": "gptq", "bits": 4, "group_size": GROUP, "sym": False, "desc_act": False}
    save(model, state, {**quantization, "checkpoint_format": "gptq"}, folder)
    return values


def as_awq(model, folder: Path) -> dict[str, torch.Tensor]:
    """AWQ in gemm order."""
    order = (0, 2, 4, 6, 1, 3, 5, 7)
    state, values = dense_state(model), {}
    for name, linear in linears(model).items():
        codes, scale, zero = rounded(linear.weight.detach())
        state[f"{name}.qweight"] = words(codes.t(), order)
        state[f"{name}.qzeros"] = words(zero.t(), order)
        state[f"{name}.scales"] = scale.t()
        steps = (codes.int().unflatten(1, (-1, GROUP)) - zero.int()[..., None]).float()
        values[name] = (steps * scale.float()[..., None]).flatten(1)
    quantization = {"quant_method": "awq", "bits": 4, "group_size": GROUP, "version": "gemm", "zero_point": True}
    save(model, state, quantization, folder)
    return values


def as_compressed_tensors(model, folder: Path) -> dict[str, torch.Tensor]:
    """compressed-tensors' own compressor and its decompressed values."""
    from compressed_tensors.compressors import BaseCompressor
    from compressed_tensors.quantization import QuantizationArgs, QuantizationScheme

    arguments = QuantizationArgs(num_bits=4, strategy="group", group_size=GROUP, symmetric=False)
    scheme = QuantizationScheme(targets=["Linear"], weights=arguments)
    compressor = BaseCompressor.get_value_from_registry("pack-quantized")
    state, values = dense_state(model), {}
    for name, linear in linears(model).items():
        _, scale, zero = rounded(linear.weight.detach())
        parts = {"weight": linear.weight.detach(), "weight_scale": scale.float()}
        parts["weight_zero_point"] = (zero.int() - 8).to(torch.int8)
        made = compressor.compress(dict(parts), scheme)
        state |= {f"{name}.{part}": tensor.clone() for part, tensor in made.items()}
        values[name] = compressor.decompress(dict(made), scheme)["weight"].float()
    quantization = {
        "quant_method": "compressed-tensors", "format": "pack-quantized",
        "config_groups": {"group_0": {"targets": ["Linear"], "weights": arguments.model_dump(mode="json")}},
    }  # fmt: skip
    save(model, state, quantization, folder)
    return values


def as_bitsandbytes(model, folder: Path) -> dict[str, torch.Tensor]:
    """bitsandbytes' own NF4 with nested scales, and its dequantised values."""
    from bitsandbytes.functional import dequantize_4bit

    weights = {f"{name}.weight": linear.weight.detach().clone() for name, linear in linears(model).items()}
    save(model, {**dense_state(model), **weights}, None, folder.parent / "dense")
    config = BitsAndBytesConfig(
        load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.float32,
    )  # fmt: skip
    quantized = AutoModelForCausalLM.from_pretrained(
        folder.parent / "dense", dtype=torch.float32, device_map="cpu", quantization_config=config
    )
    quantized.save_pretrained(folder)
    return {
        name: dequantize_4bit(module.weight.data, module.weight.quant_state).float()
        for name, module in linears(quantized).items()
    }


@pytest.mark.parametrize("make", [as_gptq, as_awq, as_compressed_tensors, as_bitsandbytes])
def test_tokens_are_those_of_the_dense_weights(smol, make: Callable):
    model, prompt, folder = smol
    path = folder / make.__name__
    values = make(model, path)
    # Apart: weights are compared, with the roundings that the dense model has.
    packed = zenwoq.torch.from_checkpoint(path, fuse=False, progress=False)
    assert len(packed.zenwoq_report.replaced) == len(values) == 210
    for name, value in values.items():
        assert torch.equal(packed.get_submodule(name).dequantize(torch.float32), value), name
    before = {name: linear.weight for name, linear in linears(model).items()}
    try:
        for name, linear in linears(model).items():
            linear.weight = torch.nn.Parameter(values[name], requires_grad=False)
        options = {"max_new_tokens": TOKENS, "min_new_tokens": TOKENS, "do_sample": False}
        expected = model.generate(**prompt, **options)[0]
        got = packed.generate(**prompt, **options)[0]
        differing = (got != expected).nonzero()
        if len(differing):  # a near tie: what the dense model finds as good, up to one in a hundred
            at = int(differing[0])
            with torch.no_grad():
                logits = model(expected[None, :at]).logits[0, -1]
            gap = float(logits[expected[at]] - logits[got[at]])
            print(f"{make.__name__}: token {at - prompt['input_ids'].shape[1]} differs, by {gap} of {logits.max()}")
            assert gap <= 0.01 * float(logits.max() - logits.median())
    finally:
        for name, linear in linears(model).items():
            linear.weight = before[name]
