# SPDX-FileCopyrightText: 2026 The zenwoq authors
# SPDX-License-Identifier: Apache-2.0
"""Writes a model's checkpoints: FOLDER/dense in bf16, and FOLDER/w4 with the same weights rounded to 4 bits.

The latter is compressed-tensors' pack-quantized format, symmetric, with bf16 scales: the one that all engines serve.

    python3 -m bench.serve.checkpoints MODEL FOLDER SOURCE      # which is SmolLM2: a GGUF file, or a folder in bf16
"""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig, PreTrainedTokenizerFast

from bench.serve.engines import MODELS, Model, Sizes

WEIGHTS = "model.safetensors"
LINEAR = "_proj.weight"  # the end of the names of all linears but lm_head


def write(model: Model, folder: Path, source: Path) -> None:
    """Writes both. The folder is there whole or not at all."""
    partial = folder.with_name(f"{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    if model.sizes:
        write_llama(model.sizes, partial / "dense")
    elif source.is_dir():
        shutil.copytree(source, partial / "dense")
    else:
        write_gguf(source, partial / "dense")
    write_quantized(partial / "dense", partial / "w4", model.group)
    partial.rename(folder)


def write_gguf(source: Path, folder: Path) -> None:
    """A GGUF file's model, unpacked to bf16."""
    from transformers import GgufConfig

    where: dict[str, Any] = {"pretrained_model_name_or_path": source.parent, "gguf_file": source.name}
    model = AutoModelForCausalLM.from_pretrained(
        **where, dtype=torch.bfloat16, quantization_config=GgufConfig(dequantize=True)
    )
    # What is left of the file's quantization would be written, too.
    for owner, name in ((model, "hf_quantizer"), (model.config, "quantization_config")):
        if hasattr(owner, name):
            delattr(owner, name)
    model.save_pretrained(folder)
    AutoTokenizer.from_pretrained(**where).save_pretrained(folder)


def write_llama(sizes: Sizes, folder: Path) -> None:
    """A Llama with random weights, as bench/llm has it, and a tokenizer whose words are w0, w1, ..."""
    from tokenizers import Tokenizer, models, pre_tokenizers

    heads = sizes.hidden // 64
    config = LlamaConfig(
        num_hidden_layers=sizes.layers,
        hidden_size=sizes.hidden,
        intermediate_size=sizes.hidden * 11 // 4,
        num_attention_heads=heads,
        num_key_value_heads=max(1, heads // 8),
        vocab_size=sizes.vocabulary,
    )
    torch.manual_seed(0)
    AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16).save_pretrained(folder)
    words = {f"w{i}": i for i in range(sizes.vocabulary)}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="w0"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    PreTrainedTokenizerFast(tokenizer_object=tokenizer).save_pretrained(folder)


def write_quantized(dense: Path, folder: Path, group: int) -> None:
    """Rounds the linears of a checkpoint, and copies the rest."""
    shutil.copytree(dense, folder, ignore=shutil.ignore_patterns("*.safetensors"))
    written: dict[str, torch.Tensor] = {}
    for name, weight in load_file(dense / WEIGHTS).items():
        if name.endswith(LINEAR):
            written |= quantized(name.removesuffix(".weight"), weight, group)
        else:
            written[name] = weight
    save_file(written, folder / WEIGHTS, metadata={"format": "pt"})
    config = json.loads((dense / "config.json").read_text())
    weights = {"num_bits": 4, "type": "int", "symmetric": True, "strategy": "group", "group_size": group}
    config["quantization_config"] = {
        "quant_method": "compressed-tensors",
        "format": "pack-quantized",
        "quantization_status": "compressed",
        "ignore": ["lm_head"],
        "config_groups": {"group_0": {"targets": ["Linear"], "weights": weights}},
    }
    (folder / "config.json").write_text(json.dumps(config, indent=1))


def quantized(name: str, weight: torch.Tensor, group: int) -> dict[str, torch.Tensor]:
    """The tensors of a weight ``[N, K]``: codes -8 to 7, eight to an int32 with the first lowest, and scales."""
    n, k = weight.shape
    values = weight.float().view(n, k // group, group)
    scales = (values.abs().amax(2) / 7.5).clamp(min=1e-8).bfloat16()
    codes = (values / scales.float()[..., None]).round().clamp(-8, 7).view(n, k // 8, 8).long() + 8
    packed = (codes << torch.arange(0, 32, 4)).sum(2).to(torch.int32)  # modulo 2**32
    return {
        f"{name}.weight_packed": packed,
        f"{name}.weight_scale": scales,
        f"{name}.weight_shape": torch.tensor([n, k]),
    }


if __name__ == "__main__":
    key, target, origin = sys.argv[1:]
    write(next(model for model in MODELS if model.key == key), Path(target), Path(origin))
