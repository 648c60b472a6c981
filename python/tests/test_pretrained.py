# SPDX-FileCopyrightText: 2026 The zenwoq authors
# SPDX-License-Identifier: Apache-2.0
"""transformers' save_pretrained and from_pretrained of optimised models, and what happens where zenwoq is missing."""

from __future__ import annotations

import copy
import gc
import json
import os
import pickle
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import zenwoq.torch
from conftest import configs, random_packed, tiny_llama
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torchao.quantization import quantize_
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForCausalLM,
    LlamaForCausalLM,
    T5Config,
    T5EncoderModel,
    TorchAoConfig,
)

IDS = torch.arange(16)[None]


@pytest.fixture(scope="module")
def dense(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("dense")
    tiny_llama(torch.float32).save_pretrained(folder)
    return folder


def quantized(dense: Path, dtype: torch.dtype = torch.bfloat16) -> torch.nn.Module:
    """As transformers quantizes a model: all linears but the head."""
    config = TorchAoConfig(configs(32)["intx-group"]())
    return AutoModelForCausalLM.from_pretrained(dense, dtype=dtype, device_map="cpu", quantization_config=config)


def optimised(dense: Path, dtype: torch.dtype = torch.bfloat16) -> torch.nn.Module:
    model = quantized(dense, dtype)
    assert len(zenwoq.torch.optimize(model, progress=False).replaced) == 14
    return model


def logits(model: torch.nn.Module) -> torch.Tensor:
    with torch.no_grad():
        return model(IDS).logits


def run_python(code: str, *arguments: object) -> subprocess.CompletedProcess:
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)


@pytest.mark.parametrize("shard", ["50GB", "60KB"])
def test_a_round_trip(dense, tmp_path, shard):
    model = optimised(dense)
    model.save_pretrained(tmp_path, max_shard_size=shard)
    assert (len(list(tmp_path.glob("*.safetensors"))) > 1) == (shard != "50GB")
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path)
    assert torch.equal(logits(loaded), logits(model)) and loaded.dtype == torch.bfloat16 and not loaded.training
    layer = loaded.model.layers[1].mlp.up_proj
    assert type(layer) is zenwoq.torch.Linear and layer.weight.dtype == torch.bfloat16
    # and once more, over the files that its weights are mapped from
    before = logits(loaded)
    loaded.save_pretrained(tmp_path, max_shard_size=shard)
    assert torch.equal(logits(loaded), before)
    assert torch.equal(logits(AutoModelForCausalLM.from_pretrained(tmp_path)), before)


def test_weights_are_mapped(dense, tmp_path):
    optimised(dense).save_pretrained(tmp_path)
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path)
    address = loaded.model.layers[0].mlp.down_proj.packed.data_ptr()
    files = []
    for line in Path("/proc/self/maps").read_text().splitlines():
        begin, end = (int(part, 16) for part in line.split()[0].split("-"))
        if begin <= address < end:
            files.append(line.split()[-1])
    assert files == [str(tmp_path / "model.safetensors")]
    in_memory = AutoModelForCausalLM.from_pretrained(tmp_path, disable_mmap=True)
    assert torch.equal(logits(in_memory), logits(loaded))


FRESH = """
import sys
{imports}
torch.manual_seed(int(sys.argv[2]))
model = AutoModelForCausalLM.from_pretrained(sys.argv[1])
with torch.no_grad():
    torch.save(model(torch.arange(16)[None]).logits, sys.argv[3])
"""
AUTO = "from transformers import AutoModelForCausalLM"


@pytest.mark.parametrize("imports", [f"import torch, zenwoq.torch; {AUTO}", f"{AUTO}; import torch, zenwoq.torch"])
def test_a_fresh_process_loads_it_whatever_is_imported_first(dense, tmp_path, imports):
    model = optimised(dense)
    model.save_pretrained(tmp_path)
    done = run_python(FRESH.format(imports=imports), tmp_path, 7, tmp_path / "logits.pt")
    assert done.returncode == 0, done.stderr
    assert torch.equal(torch.load(tmp_path / "logits.pt"), logits(model))


def test_zenwoq_does_not_import_transformers():
    done = run_python("import sys, zenwoq.torch; sys.exit('transformers' in sys.modules)")
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("auto", ["AutoModelForCausalLM", "AutoModel"])
def test_without_zenwoq_it_is_refused(dense, tmp_path, auto):
    """transformers only warns about a quantization that it does not know; the shapes must make it stop."""
    optimised(dense).save_pretrained(tmp_path, max_shard_size="60KB")
    code = f"import sys; from transformers import {auto}; {auto}.from_pretrained(sys.argv[1]); print('loaded')"
    done = run_python(code, tmp_path)
    assert done.returncode != 0 and "loaded" not in done.stdout
    assert "Unknown quantization type, got zenwoq" in done.stderr and "mlp.up_proj.weight" in done.stderr
    # one that has no quantization_config any more says the same, with zenwoq and without
    config = json.loads((tmp_path / "config.json").read_text())
    assert config.pop("quantization_config") == {"quant_method": "zenwoq", "version": 1}
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(RuntimeError, match="ignore_mismatched_sizes"):
        AutoModelForCausalLM.from_pretrained(tmp_path)


def test_parts_of_a_model(dense, tmp_path):
    model = optimised(dense)
    with torch.no_grad():
        hidden = model.model(IDS).last_hidden_state
    model.save_pretrained(tmp_path / "whole")
    model.model.save_pretrained(tmp_path / "base")
    for folder in ("whole", "base"):
        base = AutoModel.from_pretrained(tmp_path / folder)
        with torch.no_grad():
            assert torch.equal(base(IDS).last_hidden_state, hidden)
    whole = AutoModelForCausalLM.from_pretrained(tmp_path / "base")  # the head is made anew, as with dense weights
    with torch.no_grad():
        assert torch.equal(whole.model(IDS).last_hidden_state, hidden)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_types(dense, tmp_path, dtype):
    model = optimised(dense, dtype)
    model.save_pretrained(tmp_path)
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path)
    assert loaded.dtype == dtype and loaded.model.layers[0].mlp.up_proj.weight.dtype == dtype
    assert torch.equal(logits(loaded), logits(model))
    assert AutoModelForCausalLM.from_pretrained(tmp_path, dtype=torch.bfloat16).dtype == torch.bfloat16


def test_a_head_that_is_tied_no_more(tmp_path):
    """TorchAO's quantize_ gives the head a weight of its own, which the config does not know."""
    config = tiny_llama().config
    config.tie_word_embeddings = True
    model = LlamaForCausalLM(config).bfloat16().eval()
    assert model.lm_head.weight is model.model.embed_tokens.weight
    quantize_(model, configs(32)["intx-group"]())
    zenwoq.torch.optimize(model, progress=False)
    assert type(model.lm_head) is zenwoq.torch.Linear
    model.save_pretrained(tmp_path)
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path, dtype=torch.bfloat16)
    assert torch.equal(loaded.lm_head.packed, model.lm_head.packed)
    assert torch.equal(loaded.model.embed_tokens.weight, model.model.embed_tokens.weight)


def test_a_tied_head_stays_tied(tmp_path):
    config = tiny_llama().config
    config.tie_word_embeddings = True
    model = LlamaForCausalLM(config).bfloat16().eval()
    quantize_(model.model, configs(32)["intx-group"]())
    zenwoq.torch.optimize(model, progress=False)
    model.save_pretrained(tmp_path)
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path, dtype=torch.bfloat16)
    assert loaded.lm_head.weight is loaded.model.embed_tokens.weight
    assert torch.equal(loaded.lm_head.weight, model.lm_head.weight)


def by_layer(model: torch.nn.Module) -> None:
    for layer in model.model.layers:
        zenwoq.torch.optimize(layer, progress=False)


def halfway(model: torch.nn.Module) -> None:
    scale = model.model.layers[1].mlp.down_proj.weight.scale
    before = scale.clone()
    scale[0, 0] = float("nan")
    with pytest.raises(ValueError, match="down_proj"):
        zenwoq.torch.optimize(model, progress=False)
    scale.copy_(before)
    zenwoq.torch.optimize(model.model.layers[1].mlp, progress=False)


def by_hand(model: torch.nn.Module) -> None:
    copied, _ = zenwoq.torch.optimize(model, inplace=False, progress=False)
    for own, other in zip(model.model.layers, copied.model.layers, strict=True):
        own.mlp, own.self_attn = other.mlp, other.self_attn


def base_only(model: torch.nn.Module) -> None:
    zenwoq.torch.optimize(model.model, progress=False)


@pytest.mark.parametrize("optimize", [by_layer, halfway, by_hand, base_only])
@pytest.mark.parametrize("config", [True, False])
def test_however_packed_layers_came_into_a_model(dense, tmp_path, optimize, config):
    model = quantized(dense)
    if not config:  # as quantize_ makes it, of which transformers knows nothing
        model.hf_quantizer.remove_quantization_config(model)
    before, marked = model.config.to_dict(), getattr(model, "is_quantized", False)
    optimize(model)
    expected = logits(model)
    model.save_pretrained(tmp_path)
    assert torch.equal(logits(AutoModelForCausalLM.from_pretrained(tmp_path)), expected)
    assert model.config.to_dict() == before and getattr(model, "is_quantized", False) == marked
    assert (getattr(model, "hf_quantizer", None) is not None) == config
    assert torch.equal(logits(model), expected)


def test_part_of_a_loaded_model(dense, tmp_path):
    model = optimised(dense)
    model.save_pretrained(tmp_path / "whole")
    part = AutoModelForCausalLM.from_pretrained(tmp_path / "whole").model
    part.save_pretrained(tmp_path / "part")
    loaded = AutoModel.from_pretrained(tmp_path / "part")
    with torch.no_grad():
        assert torch.equal(loaded(IDS).last_hidden_state, model.model(IDS).last_hidden_state)


def test_a_config_that_other_models_have(dense, tmp_path):
    config = AutoConfig.from_pretrained(dense)
    plain, packed = (LlamaForCausalLM(config).eval() for _ in range(2))
    quantize_(packed.model, configs(32)["intx-group"]())
    zenwoq.torch.optimize(packed, progress=False)
    assert plain.config is packed.config
    packed.save_pretrained(tmp_path / "packed")
    assert not hasattr(config, "quantization_config")
    plain.save_pretrained(tmp_path / "plain")
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path / "packed")
    assert not hasattr(loaded.config, "quantization_config")
    # the config in a folder with packed weights has it, and a dense model may be made with it
    other = LlamaForCausalLM(AutoConfig.from_pretrained(tmp_path / "packed")).eval()
    other.save_pretrained(tmp_path / "other")
    for model, folder in ((plain, "plain"), (packed, "packed"), (loaded, "packed"), (other, "other")):
        again = AutoModelForCausalLM.from_pretrained(tmp_path / folder)
        assert torch.equal(logits(again), logits(model)), folder


def test_a_loaded_model_may_be_cast(dense, tmp_path):
    model = AutoModelForCausalLM.from_pretrained(dense, dtype=torch.bfloat16)
    quantize_(model.model, configs(32)["intx-group"]())
    zenwoq.torch.optimize(model, progress=False)
    model.save_pretrained(tmp_path)
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path)
    assert getattr(loaded, "is_quantized", False) == getattr(model, "is_quantized", False)
    for cast in (lambda m: m.half(), lambda m: m.float()):
        assert torch.equal(logits(cast(loaded)), logits(cast(model)))


def test_layers_of_another_type_than_the_model(tmp_path):
    """T5 keeps some layers in float32, and casts activations to the type of their weights."""
    config = T5Config(d_model=64, d_kv=16, d_ff=128, num_layers=2, num_heads=4, vocab_size=64)
    T5EncoderModel(config).save_pretrained(tmp_path / "dense")
    model = T5EncoderModel.from_pretrained(tmp_path / "dense", dtype=torch.float16)
    quantize_(model, configs(32)["intx-group"]())
    assert zenwoq.torch.optimize(model, progress=False).replaced
    model.save_pretrained(tmp_path / "packed")
    loaded = T5EncoderModel.from_pretrained(tmp_path / "packed")
    types = [
        {name: m.weight.dtype for name, m in each.named_modules() if isinstance(m, zenwoq.torch.Linear)}
        for each in (model, loaded)
    ]
    assert types[0] == types[1] and set(types[0].values()) == {torch.float16, torch.float32}
    with torch.no_grad():
        outputs = [each(IDS).last_hidden_state for each in (model, loaded)]
    assert torch.equal(*outputs)
    file = tmp_path / "packed" / "config.json"
    about = json.loads(file.read_text())
    refused: list[object] = [[1], {"encoder": "int3"}, {"encoder": []}]
    for wrong in refused:
        about["quantization_config"]["dtypes"] = wrong
        file.write_text(json.dumps(about))
        with pytest.raises(ValueError, match="dtypes are no dtypes of layers"):
            T5EncoderModel.from_pretrained(tmp_path / "packed")


UNKNOWN = """
import sys, torch, zenwoq.torch
from zenwoq.torch import Linear
sys.modules["zenwoq.torch._transformers"] = None  # as if transformers were of a version that it cannot be imported with
from transformers import LlamaConfig, LlamaForCausalLM
model = LlamaForCausalLM(LlamaConfig(hidden_size=64, intermediate_size=64, num_hidden_layers=1, num_attention_heads=1,
                                     vocab_size=64))
model.save_pretrained(sys.argv[1])
model.model.layers[0].mlp.up_proj = Linear(torch.load(sys.argv[3]))
model.save_pretrained(sys.argv[2])
"""


def test_a_transformers_that_cannot_load_packed_layers_does_not_save_them(tmp_path):
    torch.save(random_packed(64, 64), tmp_path / "weight.pt")
    done = run_python(UNKNOWN, tmp_path / "dense", tmp_path / "packed", tmp_path / "weight.pt")
    assert (tmp_path / "dense" / "model.safetensors").exists() and not (tmp_path / "packed").exists()
    assert "RuntimeError: this version of transformers cannot load packed layers of zenwoq (" in done.stderr
    assert "zenwoq.torch._transformers" in done.stderr


AFTER_A_FAILURE = """
import sys, zenwoq.torch
sys.modules["transformers.quantizers.quantizer_torchao"] = None
try:
    import transformers.modeling_utils
    sys.exit("it was to fail")
except ImportError:
    del sys.modules["transformers.quantizers.quantizer_torchao"]
import transformers.modeling_utils
from transformers.quantizers.auto import AUTO_QUANTIZER_MAPPING
assert "zenwoq" in AUTO_QUANTIZER_MAPPING
assert not any("zenwoq" in type(finder).__module__ for finder in sys.meta_path)
"""


def test_transformers_may_be_imported_in_a_second_try():
    done = run_python(AFTER_A_FAILURE)
    assert done.returncode == 0, done.stderr


def test_linears_that_share_a_weight(dense, tmp_path):
    model = quantized(dense)
    first, second = (layer.mlp for layer in model.model.layers)
    second.up_proj.weight = first.up_proj.weight
    zenwoq.torch.optimize(model, progress=False)
    assert second.up_proj.packed is first.up_proj.packed
    model.save_pretrained(tmp_path)
    assert torch.equal(logits(AutoModelForCausalLM.from_pretrained(tmp_path)), logits(model))


def test_a_model_with_compiled_parts(dense, tmp_path):
    model = optimised(dense)
    expected = logits(model)
    torch._dynamo.reset()
    model.model.layers[0] = torch.compile(model.model.layers[0], backend="eager")
    model.model.layers[1].mlp.up_proj = torch.compile(model.model.layers[1].mlp.up_proj, backend="eager")
    torch.compile(model, backend="eager").save_pretrained(tmp_path)
    assert torch.equal(logits(AutoModelForCausalLM.from_pretrained(tmp_path)), expected)


def test_what_zenwoq_loads_transformers_saves(dense, tmp_path):
    model = optimised(dense)
    zenwoq.torch.save(torch.compile(model, backend="eager"), tmp_path / "model.zenwoq")
    with torch.device("meta"):
        empty = LlamaForCausalLM(tiny_llama().config)
    zenwoq.torch.load(empty, tmp_path / "model.zenwoq").eval().save_pretrained(tmp_path / "folder")
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path / "folder", dtype=torch.bfloat16)
    assert torch.equal(logits(loaded), logits(model))


@pytest.mark.parametrize("restore", [zenwoq.torch.restore, lambda model: model.dequantize()])
def test_a_dense_model_again(dense, tmp_path, restore):
    optimised(dense).save_pretrained(tmp_path)
    model = AutoModelForCausalLM.from_pretrained(tmp_path)
    restore(model)
    model.save_pretrained(tmp_path / "dense")
    assert "quantization_config" not in json.loads((tmp_path / "dense" / "config.json").read_text())
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path / "dense")
    assert type(loaded.model.layers[0].mlp.up_proj) is torch.nn.Linear
    assert torch.equal(logits(loaded), logits(model))


def test_a_loaded_model_is_like_any_other(dense, tmp_path):
    optimised(dense).save_pretrained(tmp_path)
    model = AutoModelForCausalLM.from_pretrained(tmp_path, device_map="auto")
    expected = logits(model)
    assert torch.equal(logits(copy.deepcopy(model)), expected)
    assert torch.equal(logits(pickle.loads(pickle.dumps(model))), expected)
    assert model.generate(IDS, max_new_tokens=3, do_sample=False).shape == (1, 19)
    torch._dynamo.reset()
    with torch.no_grad():
        compiled = torch.compile(model, backend="eager", fullgraph=True)
        assert torch.equal(compiled(IDS, use_cache=False).logits, expected)
    assert zenwoq.torch.optimize(model, progress=False).replaced == []  # nothing left to do
    del model, compiled
    gc.collect()


def test_refusals(dense, tmp_path):
    model = optimised(dense)
    model.save_pretrained(tmp_path / "good")

    class Noted(torch.nn.Module):
        def get_extra_state(self) -> dict:
            return {"note": 1}

    model.noted = Noted()
    with pytest.raises(ValueError, match=r"noted\._extra_state is no tensor: only zenwoq\.torch\.save keeps it"):
        model.save_pretrained(tmp_path / "bad")
    del model.noted
    quantize_(model, configs(32)["intx-group"](), lambda _, name: name == "lm_head")
    with pytest.raises(ValueError, match=r"lm_head\.weight is a IntxUnpackedToInt8Tensor"):
        model.save_pretrained(tmp_path / "bad")
    assert list((tmp_path / "bad").iterdir()) == []

    good, config = tmp_path / "good", json.loads((tmp_path / "good" / "config.json").read_text())
    for place in ("cuda", {"": "cuda:0"}, {"model": "cpu", "lm_head": "disk"}):
        with pytest.raises(ValueError, match=r"device_map has (cuda|disk).*zenwoq runs on the CPU"):
            AutoModelForCausalLM.from_pretrained(good, device_map=place)
    from zenwoq.torch._transformers import ZenwoqConfig

    with pytest.raises(ValueError, match="pre-quantized"):
        AutoModelForCausalLM.from_pretrained(dense, quantization_config=ZenwoqConfig())

    def with_weights(change: object, message: str) -> None:
        weights = load_file(good / "model.safetensors")
        change(weights)
        save_file(weights, tmp_path / "changed" / "model.safetensors", {"format": "pt"})
        with pytest.raises(ValueError, match=message):
            AutoModelForCausalLM.from_pretrained(tmp_path / "changed")

    (tmp_path / "changed").mkdir()
    (tmp_path / "changed" / "config.json").write_text(json.dumps(config))
    up, down = (f"model.layers.0.mlp.{name}_proj.weight" for name in ("up", "down"))
    with_weights(lambda w: w[up].add_(1), rf"{up}: .*wrong magic")
    with_weights(lambda w: w.update({up: w[up][:100].clone()}), rf"{up}: .*100 bytes, the header alone")
    with_weights(lambda w: w.update({up: w[down].clone()}), rf"{up}: 256 in and 128 out features")
    norm = "model.layers.0.input_layernorm.weight"
    with_weights(lambda w: w.update({norm: w[up].clone()}), "a packed weight for .*input_layernorm, .*RMSNorm")
    third = "model.layers.2.mlp.up_proj"
    for name in (third, "head"):
        more = {f"{name}.weight": load_file(good / "model.safetensors")[up]}
        with_weights(lambda w, more=more: w.update(more), rf"{name}, which has no place in the model")
    AutoModel.from_pretrained(tmp_path / "changed")  # has no head
    weights = load_file(good / "model.safetensors")
    save_file({**weights, f"{third}.weight": weights[up].clone()}, tmp_path / "changed" / "model.safetensors")
    with pytest.raises(ValueError, match=rf"{third}, which has no place in the model"):
        AutoModel.from_pretrained(tmp_path / "changed")
    query = "model.layers.0.self_attn.q_proj"
    with_weights(lambda w: w.pop(f"{query}.bias"), rf"{query}\.bias, .* is in the model and not in the files")
    more = {"model.layers.0.mlp.up_proj.bias": torch.zeros(256)}
    with_weights(lambda w: w.update(more), r"up_proj\.bias, .* is in the files and not in the model")
    with_weights(
        lambda w: [w.update({name: torch.zeros(2, 2)}) for name in w if w[name].dtype == torch.uint8],
        "no packed weight of zenwoq",
    )
    config["quantization_config"]["version"] = 2
    (tmp_path / "changed" / "config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match="version 2, this zenwoq reads 1"):
        AutoModelForCausalLM.from_pretrained(tmp_path / "changed")


def test_a_gguf_model(smollm2, tmp_path):
    """Weights as the file has them, packed, saved and loaded: the same bits as before."""
    folder, file = smollm2
    with zenwoq.torch.keep_gguf_packed():
        model = AutoModelForCausalLM.from_pretrained(
            folder, gguf_file=file, dtype=torch.bfloat16, attn_implementation="sdpa"
        )
    zenwoq.torch.optimize(model, progress=False)
    model.save_pretrained(tmp_path)
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path)
    assert torch.equal(logits(loaded), logits(model))
    with safe_open(tmp_path / "model.safetensors", framework="pt") as opened:
        assert opened.get_slice("model.layers.0.mlp.up_proj.weight").get_dtype() == "U8"
    assert os.path.getsize(tmp_path / "model.safetensors") < 150e6
    # dense again, with the embedding, transformers takes it for a plain model
    zenwoq.torch.restore(model)
    assert type(model.model.embed_tokens) is torch.nn.Embedding
    model.save_pretrained(tmp_path / "dense")
    assert "quantization_config" not in json.loads((tmp_path / "dense" / "config.json").read_text())
    assert torch.equal(logits(AutoModelForCausalLM.from_pretrained(tmp_path / "dense")), logits(model))
