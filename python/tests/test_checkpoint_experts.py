# SPDX-FileCopyrightText: 2026 The zenwoq authors
# SPDX-License-Identifier: Apache-2.0
"""Experts straight from 4-bit checkpoints."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
import transformers
import zenwoq.torch
from experts_models import GROUP, IDS, Routing, experts_of, logits, make, privacy_filter
from safetensors.torch import load_file, save_file
from test_families import words
from zenwoq.torch._experts_shape import is_packed
from zenwoq.torch._stacked import rounded


def with_linears(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """A state in which gpt-oss's stacks are linears of single experts, as quantizers make them; others stay."""
    result = {}
    for name, value in state.items():
        module, _, own = name.rpartition(".")
        if not own.startswith(("gate_up_proj", "down_proj")) or not module.endswith(".experts"):
            result[name] = value
            continue
        kind = "bias" if own.endswith("_bias") else "weight"
        rows = value if kind == "bias" else value.transpose(1, 2)
        halves = (
            {"gate_proj": rows[:, ::2], "up_proj": rows[:, 1::2]} if own.startswith("gate") else {"down_proj": rows}
        )
        for part, stack in halves.items():
            for expert, of_it in enumerate(stack):
                result[f"{module}.{expert}.{part}.{kind}"] = of_it.contiguous()
    return result


def as_gptq(model: torch.nn.Module, folder: Path, alike: bool = True) -> dict[str, torch.Tensor]:
    """A GPTQ folder of a model whose experts are quantized; returns all weights as they were rounded."""
    model.save_pretrained(folder)
    state = with_linears(load_file(folder / "model.safetensors"))
    values = dict(state)
    for key in [key for key in state if ".experts." in key and key.endswith(".weight")]:
        if not alike and ".layers.1." in key and ".experts.5.up_proj" in key:
            continue
        name, weight = key.removesuffix(".weight"), state.pop(key)
        codes, scales, _ = rounded(weight.float(), GROUP, True)
        nibbles = (codes + 8).to(torch.uint8)
        state[f"{name}.qweight"] = words(nibbles.t().unflatten(0, (-1, 8)).transpose(1, 2)).squeeze(-1)
        state[f"{name}.qzeros"] = words(torch.full((scales.shape[1], len(weight)), 7))
        state[f"{name}.scales"] = scales.half().t().contiguous()
        state[f"{name}.g_idx"] = (torch.arange(weight.shape[1]) // GROUP).int()
        values[key] = codes.float() * scales.half().float().repeat_interleave(GROUP, 1)
    save_file(state, folder / "model.safetensors", {"format": "pt"})
    text = json.loads((folder / "config.json").read_text())
    text["quantization_config"] = {
        "quant_method": "gptq",
        "bits": 4,
        "group_size": GROUP,
        "sym": True,
        "desc_act": False,
    }
    (folder / "config.json").write_text(json.dumps(text))
    return values


def dense_of(model: torch.nn.Module, values: dict[str, torch.Tensor], folder: Path) -> torch.nn.Module:
    """transformers' own joining of the experts' linears."""
    model.save_pretrained(folder)
    save_file(
        {key: value.contiguous() for key, value in values.items()}, folder / "model.safetensors", {"format": "pt"}
    )
    return transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)


@pytest.mark.parametrize("alike", [True, False])
def test_from_checkpoint_of_experts_in_gptq(alike, tmp_path):
    model = make("qwen3_moe")
    dense = dense_of(model, as_gptq(model, tmp_path / "gptq", alike), tmp_path / "dense")
    loaded = zenwoq.torch.from_checkpoint(tmp_path / "gptq", dtype=torch.float32, progress=False)
    packed = [layer for layer in loaded.zenwoq_report.replaced if layer.stacked]
    assert [layer.name for layer in packed] == [f"model.layers.{i}.mlp.experts" for i in range(2 if alike else 1)]
    left = {layer.result for layer in loaded.zenwoq_report.left}
    assert left == (set() if alike else {"unpacked: up has 4-bit weights of 7 experts, the model 8"})
    assert (logits(loaded) - logits(dense)).abs().max() <= 0.03 * logits(dense).abs().max()
    loaded.save_pretrained(tmp_path / "packed")
    again = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "packed")
    assert torch.equal(logits(again), logits(loaded))
    restored = zenwoq.torch.restore(loaded, dtype=torch.float32)
    for name, parameter in dense.named_parameters():
        assert torch.equal(restored.get_parameter(name), parameter), name


def test_from_checkpoint_of_experts_in_a_zwq_file(tmp_path):
    as_gptq(make("qwen3_moe"), tmp_path / "gptq")
    loaded = zenwoq.torch.from_checkpoint(tmp_path / "gptq", dtype=torch.float32, progress=False)
    zenwoq.load(tmp_path / "gptq").convert(tmp_path / "model.zwq")
    converted = zenwoq.torch.from_checkpoint(tmp_path / "model.zwq", dtype=torch.float32, progress=False)
    assert len(converted.zenwoq_report.replaced) == 2 and not converted.zenwoq_report.left
    assert torch.equal(logits(converted), logits(loaded))


def test_from_checkpoint_of_experts_in_act_order(tmp_path):
    as_gptq(make("qwen3_moe"), tmp_path)
    state = load_file(tmp_path / "model.safetensors")
    order = torch.randperm(64, generator=torch.Generator().manual_seed(1))
    for name in [name for name in state if name.endswith(("gate_proj.g_idx", "up_proj.g_idx"))]:
        state[name] = state[name][order]
    save_file(state, tmp_path / "model.safetensors", {"format": "pt"})
    text = json.loads((tmp_path / "config.json").read_text())
    text["quantization_config"]["desc_act"] = True
    (tmp_path / "config.json").write_text(json.dumps(text))
    loaded = zenwoq.torch.from_checkpoint(tmp_path, dtype=torch.float32, progress=False)
    assert len(loaded.zenwoq_report.replaced) == 2 and "act-order" in loaded.zenwoq_report.replaced[0].result
    dense = zenwoq.torch.restore(loaded, dtype=torch.float32, inplace=False)
    routing = Routing()
    got = routing.logits(loaded, IDS, replay=False)
    assert (routing.logits(dense, IDS, replay=True) - got).abs().max() <= 0.01 * got.abs().max()
    name = "model.layers.0.mlp.experts.3.up_proj.g_idx"
    state[name] = state[name].flip(0)
    save_file(state, tmp_path / "model.safetensors", {"format": "pt"})
    unlike = zenwoq.torch.from_checkpoint(tmp_path, dtype=torch.float32, progress=False)
    results = {layer.result for layer in unlike.zenwoq_report.left}
    assert results == {"unpacked: gate and up of expert 3 have columns in another order"}


def test_from_checkpoint_of_single_experts_with_biases(tmp_path):
    """As of a gpt-oss whose experts a quantizer took apart."""
    model = make("gpt_oss")
    values = as_gptq(model, tmp_path)
    loaded = zenwoq.torch.from_checkpoint(tmp_path, dtype=torch.float32, progress=False)
    packed = [layer.name for layer in loaded.zenwoq_report.replaced if layer.stacked]
    assert packed == [f"model.layers.{layer}.mlp.experts" for layer in range(2)] and not loaded.zenwoq_report.left
    dense = zenwoq.torch.restore(loaded, dtype=torch.float32, inplace=False)
    found = with_linears(dense.state_dict())
    assert set(found) == set(values)
    for name, value in values.items():
        assert torch.equal(found[name], value), name
    assert values["model.layers.1.mlp.experts.3.up_proj.bias"].abs().max() > 0
    routing = Routing()
    got = routing.logits(loaded, IDS, replay=False)
    assert (routing.logits(dense, IDS, replay=True) - got).abs().max() <= 0.01 * got.abs().max()


def test_from_checkpoint_of_single_experts_of_which_some_have_biases(tmp_path):
    as_gptq(make("gpt_oss"), tmp_path)
    state = load_file(tmp_path / "model.safetensors")
    del state["model.layers.1.mlp.experts.2.down_proj.bias"]
    save_file(state, tmp_path / "model.safetensors", {"format": "pt"})
    with pytest.raises(ValueError, match=r"no tensor in the files for model\.layers\.1\.mlp\.experts\.down_proj"):
        zenwoq.torch.from_checkpoint(tmp_path, dtype=torch.float32, progress=False)


def test_from_checkpoint_of_a_model_that_wants_eager_experts(tmp_path):
    model = privacy_filter()
    model.save_pretrained(tmp_path)
    state = load_file(tmp_path / "model.safetensors")
    for name in experts_of(model):
        for part, rows in (("gate_up_proj", 128), ("down_proj", 64)):
            del state[f"{name}.{part}"]
            state[f"{name}.{part}_blocks"] = torch.randint(0, 256, (4, rows, 2, 16), dtype=torch.uint8)
            state[f"{name}.{part}_scales"] = torch.randint(120, 124, (4, rows, 2), dtype=torch.uint8)
    save_file(state, tmp_path / "model.safetensors", {"format": "pt"})
    text = json.loads((tmp_path / "config.json").read_text())
    text["quantization_config"] = {"quant_method": "mxfp4"}
    (tmp_path / "config.json").write_text(json.dumps(text))
    loaded = zenwoq.torch.from_checkpoint(tmp_path, dtype=torch.float32, progress=False)
    left = [layer for layer in loaded.zenwoq_report.left if ".experts." in layer.name]
    assert len(left) == 4 and not any(is_packed(module) for module in experts_of(loaded).values())
    assert all('is to run transformers\' "eager" experts' in layer.result for layer in left)
    dense = zenwoq.load(tmp_path)["model.layers.1.mlp.experts.down_proj"].dequantize()
    assert torch.equal(loaded.model.layers[1].mlp.experts.down_proj, torch.from_numpy(dense).transpose(1, 2))
    assert all('(or pass experts_implementation="zenwoq" to from_checkpoint)' in layer.result for layer in left)
    told = zenwoq.torch.from_checkpoint(tmp_path, dtype=torch.float32, progress=False, experts_implementation="zenwoq")
    assert all(is_packed(module) for module in experts_of(told).values())
    restored = zenwoq.torch.restore(told, dtype=torch.float32, inplace=False)
    for name, module in experts_of(loaded).items():
        assert torch.equal(restored.get_submodule(name).down_proj, module.down_proj)
    expected = logits(loaded)
    assert (logits(told) - expected).abs().max() <= 0.02 * expected.abs().max()
