# SPDX-FileCopyrightText: 2026 The zenwoq authors
# SPDX-License-Identifier: Apache-2.0
"""Mixtures of experts in GGUF files: packed from their blocks, values of the logits, files and what is left alone."""

from __future__ import annotations

import copy
import gc
import re
import weakref
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
import zenwoq.torch
from experts_models import IDS, Routing, experts_of, logits, make
from gguf_files import write_gguf
from zenwoq.torch import _quantize_experts
from zenwoq.torch._experts_shape import is_packed
from zenwoq.torch._gguf import experts_instead_of, mark_experts

ARCHITECTURES = {"qwen3_moe": "qwen3moe", "mixtral": "llama"}
SIZES = {  # of whole superblocks
    "mixtral": {"hidden_size": 256, "intermediate_size": 256},
    "qwen3_moe": {"hidden_size": 256, "intermediate_size": 256, "moe_intermediate_size": 256, "head_dim": 128},
}
every_architecture = pytest.mark.parametrize("kind", list(ARCHITECTURES))


def load(path: Path, model: Any, **options: Any) -> Any:
    """Loads a file with the model's config, blocks kept."""
    with zenwoq.torch.keep_gguf_packed():
        return type(model).from_pretrained(
            path.parent, gguf_file=path.name, config=copy.deepcopy(model.config), **{"dtype": torch.float32, **options}
        )


def dense_of(model: Any, values: dict[str, torch.Tensor]) -> Any:
    """The model with the values that went into blocks."""
    dense = copy.deepcopy(model)
    for name, value in values.items():
        own = name.removesuffix(".weight")
        if ".experts." not in name:
            dense.get_parameter(name).data = value
        elif name.endswith("down_proj.weight"):
            dense.get_parameter(own).data = value
        else:
            half = int("up_proj" in name)
            both = dense.get_parameter(f"{own.rpartition('.')[0]}.gate_up_proj").data
            both.chunk(2, 1)[half].copy_(value)
    return dense


def write(path: Path, kind: str, blocks: Any, **options: Any) -> tuple[Any, Any]:
    """Writes a tiny model; returns it, and the same with the values of the blocks."""
    model = make(kind, **options)
    return model, dense_of(model, write_gguf(path, model, blocks, architecture=ARCHITECTURES[kind]))


@every_architecture
@pytest.mark.parametrize("blocks", ["Q4_0", "Q4_1", "IQ4_NL", "Q4_K", "IQ4_XS"])
def test_experts_run_from_their_blocks(tmp_path, kind, blocks):
    model, dense = write(tmp_path / "moe.gguf", kind, blocks, **SIZES[kind])
    loaded = load(tmp_path / "moe.gguf", model)
    report = zenwoq.torch.optimize(loaded, progress=False)
    packed = [layer for layer in report.replaced if layer.stacked]
    assert [layer.name for layer in packed] == list(experts_of(model)), report
    assert {layer.quantization.rpartition(" ")[2] for layer in packed} == {blocks.lower()}
    assert packed[0].bytes_after < 1.1 * packed[0].bytes_before
    assert not [layer for layer in report.left if layer.name != "lm_head"]
    for module in experts_of(loaded).values():
        assert type(module) is type(next(iter(experts_of(model).values()))) and is_packed(module)
    restored = zenwoq.torch.restore(loaded, dtype=torch.float32, inplace=False)
    for name, module in experts_of(dense).items():
        for own in ("gate_up_proj", "down_proj"):
            assert torch.equal(restored.get_parameter(f"{name}.{own}"), module.get_parameter(own)), f"{name}.{own}"
    routing = Routing()
    got = routing.logits(loaded, IDS, replay=False)
    expected = routing.logits(dense, IDS, replay=True)
    assert (got - expected).abs().max() <= 0.02 * expected.abs().max()


def blocks_of(model: Any) -> dict[str, weakref.ref[torch.Tensor]]:
    """The blocks of linears and experts of the model."""
    return {
        name: weakref.ref(module.weight if kind == "GgufLinear" else module.gate_up_proj)
        for name, module in model.named_modules()
        if (kind := type(module).__name__) in ("GgufLinear", "GgufExperts")
    }


def alive(blocks: dict[str, weakref.ref[torch.Tensor]]) -> list[str]:
    return [name for name, block in blocks.items() if block() is not None]


@pytest.mark.parametrize("loads", [False, True])
def test_blocks_are_freed_when_they_are_packed(tmp_path, monkeypatch, loads):
    """One module of experts after the other, though transformers lists all that it made in blocks."""
    model, _ = write(tmp_path / "moe.gguf", "qwen3_moe", "Q4_0")
    loaded = load(tmp_path / "moe.gguf", model)
    if not loads:
        loaded.model.layers[0].self_attn.q_proj.forward = lambda x: x
    blocks = blocks_of(loaded)
    pack, before = _quantize_experts._pack, []

    def watched(*given):
        before.append([name for name in alive(blocks) if name.endswith("experts")])
        return pack(*given)

    monkeypatch.setattr(_quantize_experts, "_pack", watched)
    zenwoq.torch.optimize(loaded, progress=False)
    assert [len(names) for names in before] == [2, 1]
    if loads:
        zenwoq.torch.save(loaded, tmp_path / "model.safetensors")
        loaded = load(tmp_path / "moe.gguf", model)
        blocks = blocks_of(loaded)
        zenwoq.torch.load(loaded, tmp_path / "model.safetensors")
    gc.collect()
    left = [] if loads else ["model.layers.0.self_attn.q_proj"]
    assert alive(blocks) == left
    assert [name.removesuffix(".weight") for name in loaded.hf_quantizer.packed_modules] == left


@every_architecture
def test_packed_models_are_saved_and_loaded(tmp_path, kind):
    model, _ = write(tmp_path / "moe.gguf", kind, "Q4_0")
    loaded = load(tmp_path / "moe.gguf", model, dtype=torch.bfloat16)
    zenwoq.torch.optimize(loaded, progress=False)
    expected = logits(loaded)
    loaded.save_pretrained(tmp_path / "folder")
    zenwoq.torch.save(loaded, tmp_path / "model.safetensors")
    again = [
        transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "folder"),
        zenwoq.torch.load(make(kind, torch.bfloat16), tmp_path / "model.safetensors"),
        zenwoq.torch.load(load(tmp_path / "moe.gguf", model, dtype=torch.bfloat16), tmp_path / "model.safetensors"),
        copy.deepcopy(loaded),
    ]
    for each in again:
        assert torch.equal(logits(each), expected)


def test_the_file_says_what_the_model_is(tmp_path):
    """But for the width of experts, of which transformers 5.24 takes 768 for granted."""
    model, dense = write(tmp_path / "moe.gguf", "qwen3_moe", "Q4_0", moe_intermediate_size=768)
    with zenwoq.torch.keep_gguf_packed():
        loaded = transformers.AutoModelForCausalLM.from_pretrained(tmp_path, gguf_file="moe.gguf", dtype=torch.float32)
    assert type(loaded) is type(model)
    assert len([layer for layer in zenwoq.torch.optimize(loaded, progress=False).replaced if layer.stacked]) == 2
    routing = Routing()
    got = routing.logits(loaded, IDS, replay=False)
    assert (got - routing.logits(dense, IDS, replay=True)).abs().max() <= 0.02 * got.abs().max()


def test_a_copy_reads_the_blocks_of_the_model(tmp_path):
    model, _ = write(tmp_path / "moe.gguf", "qwen3_moe", "Q4_0")
    loaded = load(tmp_path / "moe.gguf", model)
    before = logits(loaded)
    made, report = zenwoq.torch.optimize(loaded, inplace=False, progress=False)
    assert len([layer for layer in report.replaced if layer.stacked]) == 2
    assert {type(module).__name__ for module in experts_of(loaded).values()} == {"GgufExperts"}
    assert torch.equal(logits(loaded), before)
    assert (logits(made) - before).abs().max() <= 0.02 * before.abs().max()
    assert {type(module).__name__ for module in experts_of(made).values()} == {"Qwen3MoeExperts"}


def test_hooks_and_mode_of_experts_in_blocks_stay(tmp_path):
    model, _ = write(tmp_path / "moe.gguf", "qwen3_moe", "Q4_0")
    loaded = load(tmp_path / "moe.gguf", model)
    seen = []
    module = loaded.model.layers[0].mlp.experts
    module.register_forward_hook(lambda *given: seen.append(given[0]))
    module.train()
    zenwoq.torch.optimize(loaded, progress=False)
    logits(loaded)
    (made,) = seen
    assert made is loaded.model.layers[0].mlp.experts and made.training


@pytest.mark.parametrize("loads", [False, True])
def test_experts_in_blocks_that_are_compiled_in_place_are_replaced(tmp_path, loads):
    model, _ = write(tmp_path / "moe.gguf", "qwen3_moe", "Q4_0")
    plain, compiled = (load(tmp_path / "moe.gguf", model) for _ in range(2))
    mlp = compiled.model.layers[0].mlp
    mlp.experts = torch.compile(mlp.experts, backend="eager")
    blocks = weakref.ref(mlp.experts.gate_up_proj)
    zenwoq.torch.optimize(plain, progress=False)
    if loads:
        zenwoq.torch.save(plain, tmp_path / "model.safetensors")
        zenwoq.torch.load(compiled, tmp_path / "model.safetensors")
    else:
        zenwoq.torch.optimize(compiled, progress=False)
    gc.collect()
    assert blocks() is None and is_packed(mlp.experts._orig_mod)
    assert torch.equal(logits(compiled), logits(plain))


def without_type(module: Any) -> None:
    del module.gate_up_type


def cut(module: Any) -> None:
    module.gate_up_proj.data = module.gate_up_proj.data[..., :-1]


def instead_of_a_linear(module: Any) -> None:
    mark_experts(module, torch.nn.Linear(2, 2))


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (without_type, r"cannot be looked at \(AttributeError: 'GgufExperts' object has no attribute 'gate_up_type'\)"),
        (cut, r"weight: q4_0 of shape \[128, 64\] has 4480 bytes, it should have 4608 .*"),
        (instead_of_a_linear, "it is a Linear"),
    ],
)
def test_odd_experts_in_blocks_stay_and_the_others_are_packed(tmp_path, change, reason):
    model, _ = write(tmp_path / "moe.gguf", "qwen3_moe", "Q4_0")
    loaded = load(tmp_path / "moe.gguf", model)
    first, second = (layer.mlp for layer in loaded.model.layers)
    change(first.experts)
    (left,) = [layer for layer in zenwoq.torch.optimize(loaded, progress=False).left if layer.stacked]
    assert re.fullmatch(f"{reason}; slow: the blocks are unpacked at every call", left.result), left.result
    assert type(first.experts).__name__ == "GgufExperts" and is_packed(second.experts)


def test_an_error_of_a_block_names_the_module_and_nothing_else(tmp_path):
    model, _ = write(tmp_path / "moe.gguf", "qwen3_moe", "Q4_0")
    loaded = load(tmp_path / "moe.gguf", model)
    loaded.model.layers[1].mlp.experts.down_proj.data[0, 0, :2] = torch.tensor([0, 0x7C], dtype=torch.uint8)  # inf
    with pytest.raises(ValueError, match=r"^model\.layers\.1\.mlp\.experts: scale inf at row 0, group 0"):
        zenwoq.torch.optimize(loaded, progress=False)
    assert [is_packed(module) for module in experts_of(loaded).values()] == [True, False]


def test_an_interrupt_between_packing_and_replacing_loses_no_config(tmp_path, monkeypatch):
    model, _ = write(tmp_path / "moe.gguf", "qwen3_moe", "Q4_0")
    loaded = load(tmp_path / "moe.gguf", model)
    own = experts_instead_of(loaded.model.layers[0].mlp.experts).config

    def interrupted(*given):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(_quantize_experts, "take_over", interrupted)
        zenwoq.torch.optimize(loaded, progress=False)
    zenwoq.torch.optimize(loaded, progress=False)
    module = loaded.model.layers[0].mlp.experts
    assert is_packed(module) and len(module._load_state_dict_pre_hooks) == 1
    zenwoq.torch.restore(loaded)
    assert module.config is own and not module._load_state_dict_pre_hooks


def test_replaced_forwards_of_experts_in_blocks_stay(tmp_path):
    model, _ = write(tmp_path / "moe.gguf", "qwen3_moe", "Q4_0")
    loaded = load(tmp_path / "moe.gguf", model)
    module = loaded.model.layers[0].mlp.experts
    module.forward = lambda x, ids, router: x
    (left,) = [layer for layer in zenwoq.torch.optimize(loaded, progress=False).left if layer.stacked]
    assert left.result == "its forward is replaced (an accelerate hook?); slow: the blocks are unpacked at every call"
    assert loaded.model.layers[0].mlp.experts is module


@pytest.mark.parametrize("mixed", ["up_proj", "down_proj"])
def test_experts_of_other_types_are_unpacked_and_named(tmp_path, mixed):
    """Q8_0 is not kept in blocks; a gate and an up of two types, if of one size, are one weight in the model."""

    def kind_of(name: str) -> str:
        other = "IQ4_NL" if mixed == "up_proj" else "Q8_0"
        return other if mixed in name and ".layers.0." in name else "Q4_0"

    model, dense = write(tmp_path / "moe.gguf", "qwen3_moe", kind_of)
    loaded = load(tmp_path / "moe.gguf", model)
    report = zenwoq.torch.optimize(loaded, progress=False)
    stacked = {layer.name: layer for layer in report.layers if layer.stacked}
    first, second = (stacked[f"model.layers.{layer}.mlp.experts"] for layer in range(2))
    if mixed == "down_proj":
        assert not first.replaced and second.replaced
        assert first.result == "gguf q4_0, q8_0, unpacked at load: zenwoq.torch.quantize_experts packs it"
    else:  # transformers' older way, for the whole file
        assert {each.result for each in (first, second)} == {
            "not quantized (float32): zenwoq.torch.quantize_experts packs it"
        }
    for name, module in experts_of(dense).items():
        found = loaded.get_submodule(name)
        for own in ("gate_up_proj", "down_proj") if not is_packed(found) else ():
            assert torch.equal(found.get_parameter(own), module.get_parameter(own)), f"{name}.{own}"


def test_a_mixtral_without_its_config_is_refused_by_name(tmp_path):
    write(tmp_path / "moe.gguf", "mixtral", "Q4_0")
    with (
        zenwoq.torch.keep_gguf_packed(),
        pytest.raises(ValueError, match=r"does not fill a LlamaForCausalLM .*blk.0.ffn_down_exps.weight"),
    ):
        transformers.AutoModelForCausalLM.from_pretrained(tmp_path, gguf_file="moe.gguf", dtype=torch.float32)


@pytest.mark.parametrize(("kind", "architecture"), [("qwen3_moe", "qwen35moe"), ("mixtral", "llama")])
def test_two_types_in_one_weight_are_refused_where_nothing_unpacks_them(tmp_path, kind, architecture):
    """Q4_0 and IQ4_NL have blocks of the same size."""
    model = make(kind)
    write_gguf(
        tmp_path / "moe.gguf", model, lambda name: "IQ4_NL" if "up_proj" in name else "Q4_0", architecture=architecture
    )
    reason = (
        r"moe.gguf: blk.0.ffn_gate_exps.weight is q4_0, blk.0.ffn_up_exps.weight iq4_nl, .*: quantize both to one type"
    )
    with pytest.raises(ValueError, match=reason):
        load(tmp_path / "moe.gguf", model)
