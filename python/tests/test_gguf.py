# SPDX-FileCopyrightText: 2026 The zenwoq authors
# SPDX-License-Identifier: Apache-2.0
"""GGUF files through transformers: values, what a file must hold, tied heads, what the report says."""

from __future__ import annotations

import copy
import gc
import re
import weakref
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
import torch
import transformers
import zenwoq.torch
from conftest import tiny_llama
from gguf_files import write_gguf


def llama(tied: bool = False) -> Any:
    """A tiny Llama in float32 whose biases are not zero."""
    config = copy.deepcopy(tiny_llama().config)
    config.tie_word_embeddings = tied
    torch.manual_seed(2)
    model = transformers.LlamaForCausalLM(config).float().eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith(".bias"):
                parameter.normal_()
    return model


def load(path: Path, model: Any, dtype: torch.dtype = torch.float32, cls: Any = None) -> Any:
    """Loads a file with the model's config, blocks kept."""
    with zenwoq.torch.keep_gguf_packed():
        return (cls or type(model)).from_pretrained(
            path.parent, gguf_file=path.name, config=copy.deepcopy(model.config), dtype=dtype
        )


def put(model: Any, values: dict[str, torch.Tensor]) -> None:
    """Gives a model the values that went into blocks."""
    for name, value in values.items():
        model.get_parameter(name).data = value


def logits_of(model: Any) -> torch.Tensor:
    with torch.no_grad():
        return model(torch.arange(24)[None]).logits.float()


def relative_error(logits: torch.Tensor, expected: torch.Tensor) -> float:
    return float((logits - expected).norm() / expected.norm())


@pytest.mark.parametrize("kind", ["Q4_0", "Q4_1"])
def test_values_and_biases(tmp_path, kind):
    """Weights and biases of the query and key projections come back in order, although llama.cpp interleaves rows."""
    model = llama()
    values = write_gguf(tmp_path / "tiny.gguf", model, kind)
    loaded = load(tmp_path / "tiny.gguf", model)
    report = zenwoq.torch.optimize(loaded, progress=False)
    assert len(report.replaced) == 14, report
    assert {layer.quantization for layer in report.replaced} == {f"gguf {kind.lower()}"}
    put(model, values)
    for name in values:
        layer = loaded.get_submodule(name.removesuffix(".weight"))
        bias = model.get_submodule(name.removesuffix(".weight")).bias
        assert torch.equal(layer.dequantize(torch.float32), values[name]), name
        assert bias is None or torch.equal(layer.bias, bias), name
    assert relative_error(logits_of(loaded), logits_of(model)) < 2**-7


def mixed(name: str) -> str:
    """As Q4_K_M files have it: some layers in Q6_K and Q8_0; blocks of 256 only where rows are long enough."""
    if "layers.1.mlp" in name:
        return {"down_proj": "Q6_K", "up_proj": "Q8_0", "gate_proj": "IQ4_NL"}[name.split(".")[-2]]
    return "Q4_K" if "down_proj" in name else "IQ4_NL" if "v_proj" in name else "Q4_0"


def test_a_mixed_file_runs_whole(tmp_path):
    model = llama()
    values = write_gguf(tmp_path / "tiny.gguf", model, mixed)
    loaded = load(tmp_path / "tiny.gguf", model)
    report = zenwoq.torch.optimize(loaded, progress=False)
    for layer in report.replaced:
        assert layer.quantization == f"gguf {mixed(layer.name + '.weight').lower()}"
    assert {layer.name: layer.result for layer in report.left} == {
        "model.layers.1.mlp.down_proj": "gguf q6_k, unpacked at load: there is no kernel for it",
        "model.layers.1.mlp.up_proj": "gguf q8_0, unpacked at load: there is no kernel for it",
        "lm_head": "not quantized (float32)",
    }
    put(model, values)
    for name in values:
        layer = loaded.get_submodule(name.removesuffix(".weight"))
        found = layer.dequantize(torch.float32) if isinstance(layer, zenwoq.torch.Linear) else layer.weight
        assert torch.equal(found, values[name]), name
    assert relative_error(logits_of(loaded), logits_of(model)) < 2**-7


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_heads_of_pure_files_run_on_zenwoq(tmp_path, tied, dtype):
    """A tied head is packed, while the embedding goes on reading the blocks of both."""
    model = llama(tied)
    values = write_gguf(tmp_path / "tiny.gguf", model, "Q4_0", pure=True)
    loaded = load(tmp_path / "tiny.gguf", model, dtype)
    report = zenwoq.torch.optimize(loaded, progress=False)
    assert len(report.replaced) == 15 and not report.left, report
    assert {layer.weight.dtype for layer in loaded.modules() if isinstance(layer, zenwoq.torch.Linear)} == {dtype}
    put(model, values)
    assert torch.equal(loaded.lm_head.dequantize(torch.float32), model.lm_head.weight)
    if dtype == torch.float32:
        assert torch.equal(loaded.model.embed_tokens(torch.arange(256)), model.model.embed_tokens.weight)
        assert relative_error(logits_of(loaded), logits_of(model)) < 2**-7


def test_embeddings_that_become_dense_leave_no_blocks(tmp_path):
    """transformers lists what it made in blocks, as long as anything stays so."""
    model = llama()
    write_gguf(tmp_path / "tiny.gguf", model, "Q4_0", pure=True)
    loaded = load(tmp_path / "tiny.gguf", model)
    kept = loaded.model.layers[0].mlp.up_proj
    kept.input_permutation = torch.arange(128)
    zenwoq.torch.optimize(loaded, progress=False)
    blocks = weakref.ref(loaded.get_input_embeddings().weight)
    assert set(loaded.hf_quantizer.packed_modules.values()) == {kept, loaded.get_input_embeddings()}
    zenwoq.torch.restore(loaded)
    gc.collect()
    assert blocks() is None and list(loaded.hf_quantizer.packed_modules.values()) == [kept]


def test_the_report_says_what_is_slow(tmp_path):
    model = llama()
    write_gguf(tmp_path / "tiny.gguf", model, "Q4_0")
    loaded = load(tmp_path / "tiny.gguf", model)
    loaded.model.layers[0].mlp.up_proj.input_permutation = torch.arange(128)
    report = zenwoq.torch.optimize(loaded, progress=False)
    reasons = {layer.name: layer.result for layer in report.left}
    assert reasons == {
        "model.layers.0.mlp.up_proj": "its input is permuted; slow: the blocks are unpacked at every call",
        "lm_head": "not quantized (float32)",
    }


def test_experts_in_blocks_run_and_are_reported():
    from transformers.integrations.gguf.utils import GgufExperts

    q4_0 = gguf.GGMLQuantizationType.Q4_0
    torch.manual_seed(3)
    dense = {"gate_up_proj": torch.randn(4, 2 * 96, 64), "down_proj": torch.randn(4, 64, 96)}
    with zenwoq.torch.keep_gguf_packed():
        experts = GgufExperts(4, 64, 96, 2, 2, torch.nn.functional.silu)
    for name, value in dense.items():
        blocks = gguf.quantize(value.numpy(), q4_0)
        getattr(experts, name).data = torch.from_numpy(blocks)
        dense[name] = torch.from_numpy(gguf.dequantize(blocks, q4_0))
    x, weights = torch.randn(5, 64), torch.rand(5, 2)
    chosen = torch.tensor([[0, 3], [3, 1], [2, 0], [1, 3], [3, 2]])
    expected = torch.zeros(5, 64)
    for row in range(5):
        for expert, weight in zip(chosen[row], weights[row], strict=True):
            gate, up = (dense["gate_up_proj"][expert] @ x[row]).chunk(2)
            expected[row] += weight * (dense["down_proj"][expert] @ (torch.nn.functional.silu(gate) * up))
    assert torch.allclose(experts(x, chosen, weights), expected, rtol=1e-4, atol=1e-3)
    (left,) = zenwoq.torch.optimize(torch.nn.ModuleDict({"experts": experts}), progress=False).left
    assert (left.name, left.quantization) == ("experts", "gguf q4_0")
    assert left.result == ("loaded without zenwoq.torch.keep_gguf_packed; slow: the blocks are unpacked at every call")


# ---- files that do not fill the model ----


def add_experts(writer: Any) -> None:
    """What a Mixtral has in place of its MLPs."""
    for layer in range(2):
        writer.add_tensor(f"blk.{layer}.ffn_gate_inp.weight", np.zeros((4, 128), np.float32))
        blocks = gguf.quantize(np.zeros((4, 256, 128), np.float32), gguf.GGMLQuantizationType.Q4_0)
        writer.add_tensor(f"blk.{layer}.ffn_up_exps.weight", blocks, raw_dtype=gguf.GGMLQuantizationType.Q4_0)


def test_experts_in_llamas_clothes_are_refused_by_name(tmp_path):
    model = llama()
    mlps = [name for name in model.state_dict() if ".mlp." in name]
    write_gguf(tmp_path / "moe.gguf", model, "Q4_0", without=mlps, more=add_experts)
    with pytest.raises(ValueError, match=r"moe.gguf does not fill a LlamaForCausalLM") as error:
        load(tmp_path / "moe.gguf", model)
    for layer in range(2):
        for part in ("gate", "up", "down"):
            assert f"model.layers.{layer}.mlp.{part}_proj.weight" in str(error.value)
        assert f"blk.{layer}.ffn_gate_inp.weight" in str(error.value)
        assert f"blk.{layer}.ffn_up_exps.weight" in str(error.value)
    config = transformers.MixtralConfig(**{**model.config.to_dict(), "num_local_experts": 4})
    mixtral = transformers.MixtralForCausalLM(config)
    with pytest.raises(ValueError, match=r"no tensor in the file for .*model.layers.1.mlp.gate.weight"):
        load(tmp_path / "moe.gguf", mixtral)


@pytest.mark.parametrize(
    "name", ["model.norm.weight", "model.layers.1.self_attn.q_proj.bias", "model.embed_tokens.weight", "lm_head.weight"]
)
def test_parameters_without_a_tensor_are_refused_by_name(tmp_path, name):
    model = llama()
    write_gguf(tmp_path / "tiny.gguf", model, "Q4_0", without=[name])
    with pytest.raises(ValueError, match=rf"no tensor in the file for {re.escape(name)}$"):
        load(tmp_path / "tiny.gguf", model)


def test_tensors_without_a_place_are_refused_by_name(tmp_path):
    """Such as biases when the config has none, and layers that it does not count."""
    model = llama()
    write_gguf(tmp_path / "tiny.gguf", model, "Q4_0")
    model.config.attention_bias = False
    with pytest.raises(ValueError, match=r"no place in the model for blk.0.attn_k.bias, .*, blk.1.attn_v.bias$"):
        load(tmp_path / "tiny.gguf", model)
    model.config.attention_bias = True
    model.config.num_hidden_layers = 1
    with pytest.raises(ValueError, match=r"no place in the model for blk.1.attn_k.bias, .*, blk.1.ffn_up.weight$"):
        load(tmp_path / "tiny.gguf", model)


def test_scaled_rotary_frequencies_need_a_config_that_scales_them(tmp_path):
    model = llama()
    factors = np.linspace(1, 8, 16, dtype=np.float32)
    write_gguf(tmp_path / "factors.gguf", model, "Q4_0", more=lambda w: w.add_tensor("rope_freqs.weight", factors))
    write_gguf(
        tmp_path / "linear.gguf", model, "Q4_0", more=lambda w: w.add_rope_scaling_type(gguf.RopeScalingType.LINEAR)
    )
    scaled = copy.deepcopy(model)
    scaled.config.rope_parameters = {"rope_type": "linear", "factor": 4.0, "rope_theta": 10000.0}
    for name in ("factors.gguf", "linear.gguf"):
        with pytest.raises(ValueError, match="the file scales its rotary frequencies"):
            load(tmp_path / name, model)
        assert load(tmp_path / name, scaled) is not None


def qwen2() -> Any:
    """A tiny Qwen2, which transformers unpacks in its older way."""
    config = {**tiny_llama().config.to_dict(), "model_type": "qwen2"}
    torch.manual_seed(4)
    return transformers.Qwen2ForCausalLM(transformers.Qwen2Config(**config)).float().eval()


def test_architectures_that_transformers_unpacks(tmp_path):
    model = qwen2()
    values = write_gguf(tmp_path / "qwen2.gguf", model, "Q4_0", architecture="qwen2")
    loaded = load(tmp_path / "qwen2.gguf", model)
    put(model, values)
    assert relative_error(logits_of(loaded), logits_of(model)) < 1e-5
    write_gguf(
        tmp_path / "more.gguf", model, "Q4_0", architecture="qwen2",
        more=lambda writer: writer.add_tensor("blk.0.attn_sinks.weight", np.ones(4, np.float32)),
    )  # fmt: skip
    with pytest.raises(ValueError, match=r"no place in the model for blk.0.attn_sinks.weight$"):
        load(tmp_path / "more.gguf", model)
    write_gguf(tmp_path / "less.gguf", model, "Q4_0", architecture="qwen2", without=["model.norm.weight"])
    with pytest.raises(ValueError, match=r"no tensor in the file for model.norm.weight$"):
        load(tmp_path / "less.gguf", model)


def test_a_model_without_heads_has_no_need_of_one(tmp_path):
    model = qwen2()
    values = write_gguf(tmp_path / "qwen2.gguf", model, "Q4_0", architecture="qwen2")
    body = load(tmp_path / "qwen2.gguf", model, cls=transformers.Qwen2Model)
    put(model, values)
    ids = torch.arange(24)[None]
    with torch.no_grad():
        assert relative_error(body(ids).last_hidden_state, model.model(ids).last_hidden_state) < 1e-5


def test_nothing_is_checked_once_it_is_over(tmp_path):
    model = llama()
    write_gguf(tmp_path / "tiny.gguf", model, "Q4_0", without=["model.norm.weight"])
    with zenwoq.torch.keep_gguf_packed():
        pass
    type(model).from_pretrained(tmp_path, gguf_file="tiny.gguf", config=model.config, dtype=torch.float32)


# ---- files that are none, or not whole ----


def test_what_is_not_the_file_itself_is_named(tmp_path):
    model = llama()
    pointer = tmp_path / "pointer.gguf"
    pointer.write_text(f"version https://git-lfs.github.com/spec/v1\noid sha256:{'0' * 64}\nsize 123\n")

    def split(writer: Any) -> None:
        writer.add_uint16("split.no", 1)
        writer.add_uint16("split.count", 3)

    write_gguf(tmp_path / "part.gguf", model, "Q4_0", more=split)
    later = tmp_path / "m-00002-of-00003.gguf"  # has no more than split.* in its metadata
    later.write_bytes(b"GGUF" + (3).to_bytes(4, "little") + bytes(16))
    for config in (model.config, None):
        with zenwoq.torch.keep_gguf_packed():
            with pytest.raises(ValueError, match=r"pointer.gguf: is a git-lfs pointer"):
                type(model).from_pretrained(tmp_path, gguf_file="pointer.gguf", config=config)
            with pytest.raises(ValueError, match=r"part.gguf: is shard 2 of 3"):
                type(model).from_pretrained(tmp_path, gguf_file="part.gguf", config=config)
            with pytest.raises(ValueError, match=r"m-00002-of-00003.gguf: is shard 2 of 3"):
                type(model).from_pretrained(tmp_path, gguf_file=later.name, config=config)


@pytest.mark.parametrize(("number", "name"), [(4, "Q4_2"), (31, "Q4_0_4_4"), (38, "IQ4_NL_8_8")])
def test_removed_types_are_named(tmp_path, number, name):
    model = llama()
    path = tmp_path / "old.gguf"
    write_gguf(path, model, "Q4_0")
    whole = path.read_bytes()
    entry = whole.index(b"blk.0.ffn_up.weight") + len(b"blk.0.ffn_up.weight") + 4 + 2 * 8
    assert whole[entry : entry + 4] == b"\2\0\0\0"
    path.write_bytes(whole[:entry] + number.to_bytes(4, "little") + whole[entry + 4 :])
    with pytest.raises(ValueError, match=rf"tensor blk.0.ffn_up.weight is {name}, removed from GGUF: requantise"):
        load(path, model)


@pytest.mark.parametrize("left", ["10 bytes", "metadata", "table", "all but a byte"])
def test_files_that_are_cut_short(tmp_path, left):
    model = llama()
    path = tmp_path / "short.gguf"
    write_gguf(path, model, "Q4_0")
    whole = path.read_bytes()
    table = whole.index(b"blk.1.ffn_up.weight")
    sizes = {"10 bytes": 10, "metadata": table // 3, "table": table + 5, "all but a byte": len(whole) - 1}
    path.write_bytes(whole[: sizes[left]])
    problem = "ends at byte" if left == "all but a byte" else "its header is damaged"
    for config in (model.config, None):
        with zenwoq.torch.keep_gguf_packed(), pytest.raises(ValueError, match=rf"short.gguf: .*{problem}"):
            type(model).from_pretrained(tmp_path, gguf_file="short.gguf", config=config)
