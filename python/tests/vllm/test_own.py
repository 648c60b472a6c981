# SPDX-FileCopyrightText: 2026 The zenwoq authors
# SPDX-License-Identifier: Apache-2.0
"""Folders of packed weights that convert writes, in vLLM; and the plugin's switches."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import zenwoq.vllm
from engines import answers_of, check_same, engine

Folder = Callable[[str], Path]


@pytest.mark.parametrize("name", ["awq", "gptq-act-order", "mixtral-ct-asymmetric", "qwen3-moe-gptq", "gpt-oss"])
def test_converted(name: str, folder: Folder, tmp_path: Path, lines: list[str]) -> None:
    source = folder(name)
    zenwoq.vllm.convert(source, tmp_path / "own")
    assert json.loads((tmp_path / "own/config.json").read_text())["quantization_config"]["quant_method"] == "zenwoq"
    assert (tmp_path / "own/tokenizer.json").read_bytes() == (source / "tokenizer.json").read_bytes()
    check_same(answers_of(tmp_path / "own"), answers_of(source))
    taken = [line for line in lines if " took " in line]
    assert "zenwoq layers of experts" in taken[0] or "8 zenwoq linears" in taken[0]


def test_some_layers_are_dense(folder: Folder, tmp_path: Path, lines: list[str]) -> None:
    """Linears that are not packed in the files are vLLM's own, also where it makes one linear of several."""
    import safetensors.torch

    zenwoq.vllm.convert(folder("ct-64"), tmp_path / "own")
    file = tmp_path / "own/model.safetensors"
    tensors = safetensors.torch.load_file(file)
    dense = safetensors.torch.load_file(folder("ct-64-dense") / "model.safetensors")
    for name in ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "mlp.down_proj"):
        tensors[f"model.layers.0.{name}.weight"] = dense[f"model.layers.0.{name}.weight"]
    safetensors.torch.save_file(tensors, file, {"format": "pt"})
    with engine(tmp_path / "own"):
        pass
    (line,) = [line for line in lines if " took " in line]
    assert "took 6 zenwoq linears; left to vLLM 3" in line
    assert "model.layers.0.self_attn.qkv_proj" in line and "model.layers.0.mlp.down_proj" in line
    tensors["model.layers.1.self_attn.q_proj.weight"] = dense["model.layers.1.self_attn.q_proj.weight"]
    safetensors.torch.save_file(tensors, file, {"format": "pt"})
    with pytest.raises(ValueError, match=r"self_attn.qkv_proj: some of its weights are packed .* and some are dense"):
        answers_of(tmp_path / "own")


def test_damaged(folder: Folder, tmp_path: Path) -> None:
    import safetensors.torch

    zenwoq.vllm.convert(folder("ct-64"), tmp_path / "own")
    file = tmp_path / "own/model.safetensors"
    tensors = safetensors.torch.load_file(file)
    tensors["model.layers.0.mlp.down_proj.weight"] = tensors["model.layers.0.mlp.down_proj.weight"][:1000].clone()
    safetensors.torch.save_file(tensors, file, {"format": "pt"})
    with pytest.raises(ValueError, match=r"model.layers.0.mlp.down_proj: .*packed"):
        answers_of(tmp_path / "own")


def test_dummy_weights(folder: Folder) -> None:
    with pytest.raises(ValueError, match=r"not in the checkpoint .--load-format dummy has no 4-bit weights."):
        answers_of(folder("ct-64"), load_format="dummy")


def test_convert_refuses(folder: Folder, tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full/file").touch()
    with pytest.raises(FileExistsError, match="full is there already"):
        zenwoq.vllm.convert(folder("ct-64"), tmp_path / "full")
    with pytest.raises(FileNotFoundError, match="none does not exist"):
        zenwoq.vllm.convert(tmp_path / "none", tmp_path / "own")
    with pytest.raises(ValueError, match="4-bit"):
        zenwoq.vllm.convert(folder("ct-64-dense"), tmp_path / "own")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["full"]


def test_converts_by_command(folder: Folder, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "zenwoq.vllm", str(folder("ct-64")), str(tmp_path / "own")]
    subprocess.run(command, check=True, timeout=120)
    assert (tmp_path / "own/model.safetensors").stat().st_mode & 0o777 == 0o666 & ~_umask()
    refused = subprocess.run(command, check=False, timeout=120, capture_output=True, text=True)
    assert refused.returncode == 1
    last = refused.stderr.splitlines()[-1]
    assert last.startswith("python -m zenwoq.vllm: ")
    assert last.endswith("give a folder that does not exist, or is empty")
    assert "Traceback" not in refused.stderr


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


REGISTERED = """
from vllm.plugins import load_general_plugins
load_general_plugins()
from vllm.model_executor.layers import quantization
print("zenwoq" in quantization.QUANTIZATION_METHODS)
"""


@pytest.mark.parametrize(
    ("environment", "expected"), [({}, "True"), ({"ZENWOQ_VLLM": "0"}, "False"), ({"VLLM_PLUGINS": ""}, "False")]
)
def test_found_by_its_entry_point(environment: dict[str, str], expected: str) -> None:
    command = [sys.executable, "-c", REGISTERED]
    given = subprocess.run(
        command, env=os.environ | environment, stdout=subprocess.PIPE, text=True, check=True, timeout=120
    )
    assert given.stdout.split()[-1] == expected


def test_scales_of_any_dtype(folder: Folder, lines: list[str]) -> None:
    with engine(folder("gptq"), dtype="float16"):
        pass
    (line,) = [line for line in lines if " took " in line]
    assert line.endswith("activations of float16 are rounded to bfloat16")
    assert torch.get_default_dtype() == torch.float32
