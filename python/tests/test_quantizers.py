# SPDX-FileCopyrightText: 2026 The zenwoq authors
# SPDX-License-Identifier: Apache-2.0
"""Linears of bitsandbytes, compressed-tensors and gptqmodel, and models from folders without those packages.

gptqmodel needs a compiler and much else, so its modules are stood in for by ones with the buffers of its files
(tests/fixtures/formats, which it made); tools/test_gptqmodel.sh runs the tests of the real ones in an environment of
their own.
"""

from __future__ import annotations

import copy
import importlib.util
import json
import shutil
from pathlib import Path

import pytest
import torch
import zenwoq
import zenwoq.torch
from conftest import FIXTURES, expected_of, tiny_llama
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, BitsAndBytesConfig

IDS = torch.arange(16)[None]
GROUP = 32


def logits(model: torch.nn.Module) -> torch.Tensor:
    with torch.no_grad():
        return model(IDS).logits


def dense_logits(model: torch.nn.Module) -> torch.Tensor:
    """Those of the same weights, dequantised, in float32."""
    return logits(zenwoq.torch.restore(model, dtype=torch.float32, inplace=False))


def check_same_model(model: torch.nn.Module) -> None:
    """Logits of packed layers against the same weights in float32: rounding of activations is all that differs."""
    got, wanted = logits(model).float(), dense_logits(model)
    assert (got - wanted).abs().max() <= 0.05 * wanted.abs().max()


class BaseQuantLinear(torch.nn.Module):
    """gptqmodel's module, as far as it is looked at."""

    bits = 4

    def __init__(self, tensors: dict[str, torch.Tensor], group: int, k: int, zero_format: int):
        super().__init__()
        for name in ("qweight", "qzeros", "scales", "g_idx"):
            if name in tensors:
                self.register_buffer(name, tensors[name])
        self.bias = tensors.get("bias")
        self.group_size, self.in_features = group, k
        self.out_features = tensors["scales"].shape[1]
        self._zero_format = zero_format

    def qzero_format(self) -> int:
        return self._zero_format

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        raise NotImplementedError

    forward.__module__ = "gptqmodel.nn_modules.qlinear"


class AWQuantLinear(BaseQuantLinear):
    """The same of AWQ."""


def stand_ins(case: str) -> torch.nn.ModuleDict:
    folder = FIXTURES / "formats" / case
    tensors = load_file(folder / "model.safetensors")
    config = json.loads((folder / "config.json").read_text())["quantization_config"]
    kind = AWQuantLinear if config["quant_method"] == "awq" else BaseQuantLinear
    zero_format = 2 if config.get("checkpoint_format") == "gptq_v2" else 1
    model = torch.nn.ModuleDict()
    for name, layer in zenwoq.load(folder).items():
        parts = {key.rpartition(".")[2]: tensor for key, tensor in tensors.items() if key.startswith(f"{name}.")}
        model[name.replace(".", "_")] = kind(parts, config["group_size"], layer.shape[1], zero_format)
    return model


@pytest.mark.parametrize(
    "case",
    ["gptq/v1_sym_g32", "gptq/v1_asym_g64", "gptq/v1_act_order_g32", "gptq/v2_asym_g32", "gptq/v1_sym_channel",
     "awq/gemm_g64", "awq/gemm_g32"],
)  # fmt: skip
def test_buffers_of_gptqmodel(case):
    if not (FIXTURES / "formats" / case / "config.json").read_text().count("quantization_config"):
        pytest.skip("its config is of an older kind, which no module has")
    expected, rounding = expected_of(case)
    model = stand_ins(case)
    copied, report = zenwoq.torch.optimize(model, inplace=False, progress=False)
    assert len(report.replaced) == len(model) and not report.left, report
    assert all(isinstance(layer, BaseQuantLinear) for layer in model.values())
    for name in expected:
        own = name.replace(".", "_")
        if own in copied:
            assert torch.equal(copied[own].dequantize(torch.float32).to(rounding).float(), expected[name]), name
            assert (copied[own].bias is not None) == (model[own].bias is not None)
    assert {layer.quantization for layer in report.layers} == {"gptq" if case.startswith("gptq") else "awq gemm"}


def test_buffers_that_a_forward_has_rewritten_are_left():
    model = stand_ins("gptq/v2_asym_g32")
    first, second = model.values()
    first._cpu_transformed = True
    second.adapter = torch.nn.Identity()
    report = zenwoq.torch.optimize(model, progress=False)
    assert [layer.result for layer in report.left] == [
        "its first forward has rewritten it: optimize the model before it runs",
        "it has an adapter",
    ]
    contradiction = stand_ins("gptq/v2_asym_g32")
    for layer in contradiction.values():
        layer.qzeros = layer.qzeros[:1]
    left = zenwoq.torch.optimize(contradiction, progress=False).left
    assert all(layer.result.startswith("gptq with qweight ") for layer in left) and len(left) == 2


def test_subclasses_with_a_forward_of_their_own_are_left(bitsandbytes):
    """Adapters are such, and would vanish in silence."""

    class Adapted(AWQuantLinear):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x

    model = stand_ins("gptq/v2_asym_g32")
    for layer in model.values():
        layer.__class__ = Adapted
    loaded = AutoModelForCausalLM.from_pretrained(bitsandbytes / "nf4", dtype=torch.bfloat16, device_map="cpu")
    first = loaded.model.layers[0].mlp.up_proj

    class Other(type(first)):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return super().forward(x) + 1

    first.__class__ = Other
    for each, name in ((model, "Adapted"), (loaded, "Other")):
        results = [
            layer.result for layer in zenwoq.torch.optimize(each, progress=False).left if layer.name != "lm_head"
        ]
        assert results and set(results) == {f"{name} has a forward of its own"}


def test_linears_that_share_their_codes_share_the_packed_weight():
    model = stand_ins("gptq/v2_asym_g32")
    first = next(iter(model.values()))
    model["tied"] = copy.copy(first)
    assert model["tied"].qweight is first.qweight
    zenwoq.torch.optimize(model, progress=False)
    assert model["tied"].packed is next(iter(model.values())).packed


def check_saved_and_restored(model: torch.nn.Module, folder: Path) -> None:
    """A model that was loaded quantized and optimized: packed it is saved as ours, dense again as a plain one."""
    expected = logits(model)
    model.save_pretrained(folder / "packed")
    assert torch.equal(logits(AutoModelForCausalLM.from_pretrained(folder / "packed")), expected)
    restored = zenwoq.torch.restore(model, dtype=torch.float32)
    restored.save_pretrained(folder / "restored")
    assert "quantization_config" not in json.loads((folder / "restored" / "config.json").read_text())
    again = AutoModelForCausalLM.from_pretrained(folder / "restored", dtype=torch.float32)
    assert torch.equal(logits(again), logits(restored.to(torch.float32)))


@pytest.fixture(scope="module")
def bitsandbytes(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("bitsandbytes")
    tiny_llama(torch.float32).save_pretrained(folder / "dense")
    for kind, nested in (("nf4", True), ("fp4", False)):
        config = BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type=kind,
            bnb_4bit_use_double_quant=nested,
            bnb_4bit_compute_dtype=torch.bfloat16,
        )
        model = AutoModelForCausalLM.from_pretrained(
            folder / "dense", dtype=torch.bfloat16, device_map="cpu", quantization_config=config
        )
        model.save_pretrained(folder / kind)
    return folder


@pytest.mark.parametrize("kind", ["nf4", "fp4"])
def test_bitsandbytes(bitsandbytes, kind, tmp_path):
    from bitsandbytes.functional import dequantize_4bit

    model = AutoModelForCausalLM.from_pretrained(bitsandbytes / kind, dtype=torch.bfloat16, device_map="cpu")
    expected = {
        name: dequantize_4bit(module.weight.data, module.weight.quant_state)
        for name, module in model.named_modules()
        if type(module).__name__ == "Linear4bit"
    }
    ran = copy.deepcopy(model)
    report = zenwoq.torch.optimize(model, progress=False)
    assert len(report.replaced) == len(expected) == 14, report
    assert {layer.quantization for layer in report.replaced} == {f"bitsandbytes {kind}"}
    for name, values in expected.items():
        assert torch.equal(model.get_submodule(name).dequantize(torch.float32).to(values.dtype), values), name
    check_same_model(model)
    check_saved_and_restored(model, tmp_path)
    logits(ran)  # which rewrites the weights where the CPU has AVX-512
    left = zenwoq.torch.optimize(ran, progress=False).left
    rewritten = "its first forward has rewritten it: optimize the model before it runs"
    assert {layer.result for layer in left} <= {rewritten, "not quantized (bfloat16)"}


@pytest.fixture(scope="module")
def compressed(tmp_path_factory) -> Path:
    """A Llama in compressed-tensors' pack-quantized format, symmetric, written by its own compressor."""
    from compressed_tensors.compressors import BaseCompressor
    from compressed_tensors.quantization import QuantizationArgs, QuantizationConfig, QuantizationScheme

    folder = tmp_path_factory.mktemp("compressed")
    model = tiny_llama(torch.float32)
    scheme = QuantizationScheme(
        targets=["Linear"], weights=QuantizationArgs(num_bits=4, strategy="group", group_size=GROUP, symmetric=True)
    )
    compressor = BaseCompressor.get_value_from_registry("pack-quantized")
    state = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    for name, module in model.named_modules():
        if isinstance(module, torch.nn.Linear) and name != "lm_head":
            weight = state.pop(f"{name}.weight")
            scale = weight.view(weight.shape[0], -1, GROUP).abs().amax(-1) / 7.5
            parts = {"weight": weight.half(), "weight_scale": scale.half()}
            parts["weight_zero_point"] = torch.zeros_like(scale, dtype=torch.int8)
            for part, tensor in compressor.compress(parts, scheme).items():
                state[f"{name}.{part}"] = tensor.contiguous()
    save_file(state, folder / "model.safetensors", {"format": "pt"})
    quantization = QuantizationConfig(
        config_groups={"group_0": scheme}, format="pack-quantized", ignore=["lm_head"], quantization_status="compressed"
    ).model_dump(mode="json")
    config = {**model.config.to_dict(), "quantization_config": {**quantization, "quant_method": "compressed-tensors"}}
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def test_compressed_tensors(compressed, tmp_path):
    model = AutoModelForCausalLM.from_pretrained(compressed, dtype=torch.float16, device_map="cpu")
    report = zenwoq.torch.optimize(model, progress=False)
    assert len(report.replaced) == 14, report
    assert {layer.quantization for layer in report.replaced} == {"compressed-tensors"}
    layers = zenwoq.load(compressed)
    for name, layer in layers.items():
        assert torch.equal(model.get_submodule(name).dequantize(torch.float32), torch.from_numpy(layer.dequantize()))
        assert model.get_submodule(name).weight.dtype == torch.float16  # the model's
    check_same_model(model)
    check_saved_and_restored(model, tmp_path)
    # The first forward of a model that was not optimized puts dense weights there, of the same values.
    dense = AutoModelForCausalLM.from_pretrained(compressed, dtype=torch.float16, device_map="cpu")
    logits(dense)
    name = "model.layers.1.mlp.up_proj"
    assert torch.equal(dense.get_submodule(name).weight, torch.from_numpy(layers[name].dequantize()).half())


def test_quantized_activations_are_left(compressed):
    model = AutoModelForCausalLM.from_pretrained(compressed, dtype=torch.float16, device_map="cpu")
    module = model.model.layers[0].mlp.up_proj
    scheme = module.quantization_scheme = copy.deepcopy(module.quantization_scheme)
    scheme.input_activations = scheme.weights
    (left,) = (layer for layer in zenwoq.torch.optimize(model, progress=False).left if layer.name != "lm_head")
    assert left.result == "activations are quantized too (input_activations)"


def as_gptq(folder: Path, target: Path) -> None:
    """The same model as folder's, in GPTQ's files: codes along K, eight in a word; 8 as the zero point."""
    target.mkdir()
    state = load_file(folder / "model.safetensors")
    for name, layer in zenwoq.load(folder).items():
        codes, scales, _ = layer.weight().unpack()
        nibbles = torch.stack((torch.from_numpy(codes & 15), torch.from_numpy(codes >> 4)), dim=-1).flatten(1)
        words = (nibbles.long().t().reshape(-1, 8, layer.shape[0]) << (4 * torch.arange(8))[None, :, None]).sum(1)
        for part in [key for key in state if key.startswith(f"{name}.weight")]:
            del state[part]
        state[f"{name}.qweight"] = torch.where(words >= 2**31, words - 2**32, words).int()
        state[f"{name}.qzeros"] = torch.full((scales.shape[1], layer.shape[0] // 8), 0x77777777, dtype=torch.int32)
        state[f"{name}.scales"] = torch.from_numpy(scales.T.copy())
        state[f"{name}.g_idx"] = (torch.arange(layer.shape[1]) // GROUP).int()
    save_file(state, target / "model.safetensors", {"format": "pt"})
    config = json.loads((folder / "config.json").read_text())
    config["quantization_config"] = {
        "quant_method": "gptq", "bits": 4, "group_size": GROUP, "sym": True, "desc_act": False,
        "checkpoint_format": "gptq",
    }  # fmt: skip
    (target / "config.json").write_text(json.dumps(config))


@pytest.fixture(scope="module")
def gptq(compressed, tmp_path_factory) -> Path:
    target = tmp_path_factory.mktemp("gptq") / "model"
    as_gptq(compressed, target)
    return target


def test_from_checkpoint_gives_what_transformers_loads(compressed, bitsandbytes, gptq):
    for folder in (compressed, bitsandbytes / "nf4", gptq):
        before = {file.name: file.read_bytes() for file in folder.iterdir()}
        model = zenwoq.torch.from_checkpoint(folder, progress=False)
        report = model.zenwoq_report
        assert len(report.replaced) == 14 and not report.left, report
        assert model.dtype == torch.bfloat16 and not model.training and model.config.name_or_path == str(folder)
        for name, layer in zenwoq.load(folder).items():
            made = model.get_submodule(name)
            assert isinstance(made, zenwoq.torch.Linear)
            assert torch.equal(made.dequantize(torch.float32), torch.from_numpy(layer.dequantize())), name
            assert (made.bias is not None) == layer.has_bias
        check_same_model(model)
        assert before == {file.name: file.read_bytes() for file in folder.iterdir()}
    first, second = (logits(zenwoq.torch.from_checkpoint(folder, progress=False)) for folder in (compressed, gptq))
    assert torch.equal(first, second), "one model in two formats"
    loaded = AutoModelForCausalLM.from_pretrained(bitsandbytes / "nf4", dtype=torch.bfloat16, device_map="cpu")
    zenwoq.torch.optimize(loaded, progress=False)
    assert torch.equal(logits(loaded), logits(zenwoq.torch.from_checkpoint(bitsandbytes / "nf4", progress=False)))


def test_from_checkpoint_saves_compiles_and_generates(gptq, tmp_path):
    model = zenwoq.torch.from_checkpoint(gptq, progress=False)
    expected = logits(model)
    tokens = model.generate(IDS, max_new_tokens=4, do_sample=False)
    model.save_pretrained(tmp_path / "saved")
    again = AutoModelForCausalLM.from_pretrained(tmp_path / "saved")
    assert torch.equal(logits(again), expected)
    assert torch.equal(again.generate(IDS, max_new_tokens=4, do_sample=False), tokens)
    zenwoq.torch.save(model, tmp_path / "model.safetensors")
    other = zenwoq.torch.from_checkpoint(gptq, progress=False)
    other.model.layers[0].mlp.up_proj.packed.zero_()
    zenwoq.torch.load(other, tmp_path / "model.safetensors")
    assert torch.equal(logits(other), expected)
    with torch.no_grad():
        compiled = torch.compile(model, fullgraph=True, backend="aot_eager")(IDS, use_cache=False).logits
    assert (compiled - expected).abs().max() <= 0.05 * expected.abs().max()


def test_from_checkpoint_of_a_zwq_file(gptq, tmp_path):
    path = tmp_path / "model.zwq"
    zenwoq.load(gptq).convert(path)
    expected = zenwoq.torch.from_checkpoint(gptq, progress=False)
    for opened in (path, tmp_path):  # the file, or the folder that has no other
        model = zenwoq.torch.from_checkpoint(opened, progress=False)
        assert len(model.zenwoq_report.replaced) == 14
        assert torch.equal(logits(model), logits(expected))
        address = model.model.layers[0].mlp.down_proj.packed.data_ptr()
        places = [line.split() for line in Path("/proc/self/maps").read_text().splitlines()]
        files = [
            place[-1]
            for place in places
            if int(place[0].split("-")[0], 16) <= address < int(place[0].split("-")[1], 16)
        ]
        assert files == [str(path)]
        model.load_state_dict(expected.state_dict())  # writes, to copies of the pages
        zenwoq.load(path).verify()
        model.save_pretrained(tmp_path / "saved")
        assert torch.equal(logits(AutoModelForCausalLM.from_pretrained(tmp_path / "saved")), logits(expected))
        shutil.rmtree(tmp_path / "saved")


def test_from_checkpoint_refuses_what_does_not_fill_the_model(gptq, tmp_path):
    def changed(change) -> Path:
        folder = tmp_path / str(len(list(tmp_path.iterdir())))
        shutil.copytree(gptq, folder)
        state = load_file(folder / "model.safetensors")
        change(state, folder)
        save_file(state, folder / "model.safetensors", {"format": "pt"})
        return folder

    def refused(change, match: str) -> None:
        with pytest.raises(ValueError, match=match):
            zenwoq.torch.from_checkpoint(changed(change), progress=False)

    name = "model.layers.0.mlp.up_proj"
    refused(lambda state, _: state.pop("model.norm.weight"), r"no tensor in the files for model\.norm\.weight")
    refused(lambda state, _: state.pop(f"{name}.qweight"), rf"not read: .*{name}")
    refused(
        lambda state, _: state.update({"model.extra.weight": torch.zeros(3)}),
        r"no place in the model for model\.extra\.weight",
    )
    refused(
        lambda state, _: state.update({"model.norm.weight": torch.zeros(3)}),
        r"model\.norm\.weight",
    )
    refused(
        lambda state, _: state.update({f"{name}.bias": torch.zeros(256)}),
        rf"{name}: its bias is in the file and not",
    )
    refused(lambda state, _: state.update({"q.weight": torch.zeros(3, 3, dtype=torch.int8)}), r"not read: q\.weight")

    def cut(state, _) -> None:
        for part in ("qweight", "scales", "qzeros"):
            state[f"{name}.{part}"] = state[f"{name}.{part}"][:, : 128 if part != "qzeros" else 16].contiguous()

    refused(cut, rf"{name}: the file's weight is .*128 x 128.*, the model's 256 x 128")
    refused(lambda state, folder: (folder / "config.json").unlink(), "there is no config.json")
    with pytest.raises(ValueError, match="has no 4-bit layer"):
        tiny_llama().save_pretrained(tmp_path / "plain")
        zenwoq.torch.from_checkpoint(tmp_path / "plain")


def test_from_checkpoint_refuses_layers_that_are_no_linears(tmp_path):
    """GPT-2's have [K, N], which no shape tells where both are equal."""
    from transformers import GPT2Config, GPT2LMHeadModel

    torch.manual_seed(4)
    GPT2LMHeadModel(GPT2Config(n_embd=64, n_layer=1, n_head=2, vocab_size=64)).save_pretrained(tmp_path)
    state = load_file(tmp_path / "model.safetensors")
    (name,) = (key.removesuffix(".weight") for key in state if key.endswith("h.0.attn.c_proj.weight"))
    del state[f"{name}.weight"]
    state[f"{name}.qweight"] = torch.zeros((8, 64), dtype=torch.int32)
    state[f"{name}.qzeros"] = torch.full((2, 8), 0x77777777, dtype=torch.int32)
    state[f"{name}.scales"] = torch.ones((2, 64), dtype=torch.float16)
    save_file(state, tmp_path / "model.safetensors", {"format": "pt"})
    text = json.loads((tmp_path / "config.json").read_text())
    text["quantization_config"] = {"quant_method": "gptq", "bits": 4, "group_size": 32, "checkpoint_format": "gptq"}
    (tmp_path / "config.json").write_text(json.dumps(text))
    with pytest.raises(ValueError, match="c_proj is a Conv1D in the model, not a linear"):
        zenwoq.torch.from_checkpoint(tmp_path, progress=False)


def test_from_checkpoint_runs_no_code_of_the_folder(gptq, tmp_path):
    folder = tmp_path / "model"
    shutil.copytree(gptq, folder)
    config = json.loads((folder / "config.json").read_text())
    config["auto_map"] = {"AutoConfig": "evil.Config", "AutoModelForCausalLM": "evil.Model"}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "evil.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\n")
    zenwoq.torch.from_checkpoint(folder, progress=False)
    assert not (tmp_path / "ran").exists()


def test_from_checkpoint_packs_experts(tmp_path):
    """Experts, each of which has linears in the file, become the packed experts of one module, with exact values."""
    from transformers import MixtralConfig, MixtralForCausalLM

    torch.manual_seed(2)
    config = MixtralConfig(
        hidden_size=64, intermediate_size=96, num_hidden_layers=1, num_attention_heads=2, num_key_value_heads=2,
        vocab_size=128, num_local_experts=4, tie_word_embeddings=False,
    )  # fmt: skip
    model = MixtralForCausalLM(config).eval()
    model.save_pretrained(tmp_path / "dense")
    state = load_file(tmp_path / "dense" / "model.safetensors")
    dense = dict(state)
    for key in [key for key in state if ".experts." in key or "_proj" in key]:
        weight = state.pop(key)
        scale = (weight.view(weight.shape[0], -1, GROUP).abs().amax(-1) / 7).half()
        steps = scale.float().repeat_interleave(GROUP, dim=1)
        codes = (weight / steps).round().clamp(-8, 7)
        dense[key] = codes * steps
        name = key.removesuffix(".weight")
        state[f"{name}.weight"], state[f"{name}.weight_scale"] = codes.to(torch.int8), scale
    weights = {"num_bits": 4, "type": "int", "symmetric": True, "strategy": "group", "group_size": GROUP}
    quantization = {
        "quant_method": "compressed-tensors", "format": "int-quantized",
        "config_groups": {"group_0": {"targets": ["Linear"], "weights": weights}},
    }  # fmt: skip
    (tmp_path / "model").mkdir()
    save_file(state, tmp_path / "model" / "model.safetensors", {"format": "pt"})
    text = json.loads((tmp_path / "dense" / "config.json").read_text())
    (tmp_path / "model" / "config.json").write_text(json.dumps({**text, "quantization_config": quantization}))
    save_file(dense, tmp_path / "dense" / "model.safetensors", {"format": "pt"})
    loaded = zenwoq.torch.from_checkpoint(tmp_path / "model", dtype=torch.float32, progress=False)
    report = loaded.zenwoq_report
    assert len(report.replaced) == 5 and not report.left, report
    expected = MixtralForCausalLM.from_pretrained(tmp_path / "dense", dtype=torch.float32)
    assert (logits(loaded) - logits(expected)).abs().max() <= 0.05 * logits(expected).abs().max()
    dense_again = zenwoq.torch.restore(loaded, dtype=torch.float32)
    for name, parameter in expected.named_parameters():
        assert torch.equal(dense_again.get_parameter(name), parameter), name


def test_from_checkpoint_of_gpt_oss(tmp_path):
    """Experts of as many inputs as outputs, whose orientation no shape tells, beside transformers' own unpacking."""
    from transformers import GptOssConfig, GptOssForCausalLM, Mxfp4Config

    torch.manual_seed(3)
    config = GptOssConfig(
        hidden_size=64, intermediate_size=64, num_hidden_layers=1, num_attention_heads=2, num_key_value_heads=2,
        head_dim=32, vocab_size=128, num_local_experts=4, num_experts_per_tok=2, tie_word_embeddings=False,
        layer_types=["full_attention"],
    )  # fmt: skip
    model = GptOssForCausalLM(config).eval()
    model.save_pretrained(tmp_path)
    state = load_file(tmp_path / "model.safetensors")
    for part, rows in (("gate_up_proj", 128), ("down_proj", 64)):
        name = f"model.layers.0.mlp.experts.{part}"
        del state[name]
        state[f"{name}_blocks"] = torch.randint(0, 256, (4, rows, 2, 16), dtype=torch.uint8)
        state[f"{name}_scales"] = torch.randint(120, 124, (4, rows, 2), dtype=torch.uint8)
        state[f"{name}_bias"] = torch.randn(state[f"{name}_bias"].shape)
    save_file(state, tmp_path / "model.safetensors", {"format": "pt"})
    text = json.loads((tmp_path / "config.json").read_text())
    text["quantization_config"] = {"quant_method": "mxfp4", "modules_to_not_convert": ["lm_head"]}
    (tmp_path / "config.json").write_text(json.dumps(text))
    expected = GptOssForCausalLM.from_pretrained(
        tmp_path, dtype=torch.float32, device_map="cpu", quantization_config=Mxfp4Config(dequantize=True)
    )
    loaded = zenwoq.torch.from_checkpoint(tmp_path, dtype=torch.float32, progress=False)
    assert [layer.name for layer in loaded.zenwoq_report.replaced] == ["model.layers.0.mlp.experts"]
    got = logits(loaded)
    dense_again = zenwoq.torch.restore(loaded, dtype=torch.float32)
    for part in ("gate_up_proj", "down_proj", "gate_up_proj_bias", "down_proj_bias"):
        name = f"model.layers.0.mlp.experts.{part}"
        assert torch.equal(dense_again.get_parameter(name), expected.get_parameter(name)), part
    assert torch.allclose(logits(dense_again), logits(expected), atol=1e-4)
    assert (got - logits(expected)).abs().max() <= 0.05 * logits(expected).abs().max()


@pytest.mark.skipif(importlib.util.find_spec("gptqmodel") is None, reason="gptqmodel: tools/test_gptqmodel.sh has it")
def test_the_real_gptqmodel(gptq):
    model = AutoModelForCausalLM.from_pretrained(gptq, dtype=torch.bfloat16, device_map="cpu")
    expected = {name: torch.from_numpy(layer.dequantize()) for name, layer in zenwoq.load(gptq).items()}
    report = zenwoq.torch.optimize(model, progress=False)
    assert len(report.replaced) == len(expected) == 14, report
    for name, values in expected.items():
        assert torch.equal(model.get_submodule(name).dequantize(torch.float32), values), name
    check_same_model(model)
    ran = AutoModelForCausalLM.from_pretrained(gptq, dtype=torch.bfloat16, device_map="cpu")
    with torch.no_grad():
        ran(IDS)
    results = {layer.result for layer in zenwoq.torch.optimize(ran, progress=False).left if layer.name != "lm_head"}
    assert results == {"its first forward has rewritten it: optimize the model before it runs"}
