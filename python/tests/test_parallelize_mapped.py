# SPDX-FileCopyrightText: 2026 The zenwoq authors
# SPDX-License-Identifier: Apache-2.0
"""zenwoq.torch.parallelize of a model that is mapped from its file: cut where it lies."""

from __future__ import annotations

import json
import mmap
from pathlib import Path

import pytest
import torch
import transformers
import zenwoq
import zenwoq.torch
from process_group import in_processes
from safetensors.torch import save_file
from split_models import SIZES, logits, mesh_of, model_of


def private_bytes(path: str) -> int:
    """Of the process's mappings of a file: what it has written, which are copies of pages."""
    total, inside = 0, False
    for line in Path("/proc/self/smaps").read_text().splitlines():
        if "-" in line.split(" ")[0]:
            inside = line.endswith(path)
        elif inside and line.startswith("Anonymous:"):
            total += int(line.split()[1]) * 1024
    return total


def as_gptq(model: torch.nn.Module, folder: Path) -> None:
    """The model in GPTQ's files: eight codes along K in a word, 8 as the zero point."""
    state = {name: tensor.contiguous() for name, tensor in model.state_dict().items() if "packed" not in name}
    for name, layer in model.named_modules():
        if isinstance(layer, zenwoq.torch.Linear):
            codes, scales, _ = layer.weight_view().unpack()
            codes = torch.from_numpy(codes) ^ 0x88
            nibbles = torch.stack((codes & 15, codes >> 4), dim=-1).flatten(1).long().t()
            words = (nibbles.unflatten(0, (-1, 8)) << (4 * torch.arange(8))[None, :, None]).sum(1)
            state[f"{name}.qweight"] = torch.where(words >= 2**31, words - 2**32, words).int()
            state[f"{name}.qzeros"] = torch.full((scales.shape[1], len(codes) // 8), 0x77777777, dtype=torch.int32)
            state[f"{name}.scales"] = torch.from_numpy(scales.astype("float32")).half().t().contiguous()
            state[f"{name}.g_idx"] = (torch.arange(layer.in_features) // 32).int()
    folder.mkdir()
    save_file(state, folder / "model.safetensors", {"format": "pt"})
    about = {"quant_method": "gptq", "bits": 4, "group_size": 32, "sym": True, "desc_act": False}
    config = json.loads(model.config.to_json_string()) | {"quantization_config": about}
    (folder / "config.json").write_text(json.dumps(config))


def mapped(rank: int, size: int, folder: str, kind: str) -> tuple:
    if kind == "save":
        path = f"{folder}/model.zenwoq"
        config = transformers.LlamaConfig(**SIZES, attention_bias=True, mlp_bias=True)
        with torch.device("meta"):
            model = transformers.LlamaForCausalLM._from_config(config, dtype=torch.bfloat16).eval()
        zenwoq.torch.load(model, path, mmap=True)
    elif kind == "save_pretrained":
        path = f"{folder}/model.safetensors"
        model = transformers.LlamaForCausalLM.from_pretrained(folder, dtype=torch.bfloat16)
    else:
        path = f"{folder}/model.zwq" if kind == "zwq" else f"{folder}/gptq"
        model = zenwoq.torch.from_checkpoint(path, progress=False)
    whole = sum(m.packed.nbytes for m in model.modules() if isinstance(m, zenwoq.torch.Linear))
    before = private_bytes(path)
    by_rows = sum(
        type(m) is zenwoq.torch.Linear and "o_proj" not in name and "down" not in name
        for name, m in model.named_modules()
    )
    zenwoq.torch.parallelize(model, mesh_of(size))
    return whole, private_bytes(path) - before, by_rows, logits(model)


def with_shared_weights() -> torch.nn.Module:
    """A model in which two pairs of layers have one weight: both by rows, and one of them by columns."""
    model = model_of()
    model.model.layers[1].mlp.up_proj.packed = model.model.layers[1].mlp.gate_proj.packed
    model.model.layers[1].self_attn.o_proj.packed = model.model.layers[1].self_attn.q_proj.packed
    return model


def in_memory(rank: int, size: int) -> tuple:
    return (logits(zenwoq.torch.parallelize(with_shared_weights(), mesh_of(size))),)


@pytest.mark.parametrize("kind", ["save", "save_pretrained", "zwq"])
def test_a_mapped_model_is_cut_in_its_pages(kind, tmp_path):
    model = with_shared_weights()
    if kind == "save":
        zenwoq.torch.save(model, tmp_path / "model.zenwoq")
    elif kind == "save_pretrained":
        model.save_pretrained(tmp_path)
    else:
        as_gptq(model, tmp_path / "gptq")
        zenwoq.load(tmp_path / "gptq").convert(tmp_path / "model.zwq")
    files = [file for file in tmp_path.rglob("*") if file.is_file()]
    on_disk = [file.read_bytes() for file in files]
    results = in_processes(mapped, 2, str(tmp_path), kind)
    for whole, written, by_rows, _ in results:
        assert by_rows == 10
        assert 0 < written <= by_rows * 3 * mmap.PAGESIZE < whole / 4, (written, whole)
    again = in_processes(mapped, 2, str(tmp_path), "gptq") if kind == "zwq" else in_processes(in_memory, 2)
    expected = again[0][-1]
    assert torch.equal(results[0][3], expected) and torch.equal(results[1][3], expected), "as of weights in memory"
    assert [file.read_bytes() for file in files] == on_disk
