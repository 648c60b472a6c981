# SPDX-FileCopyrightText: 2026 The zenwoq authors
# SPDX-License-Identifier: Apache-2.0
"""Writes folders of packed weights."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

_WEIGHTS = (".safetensors", ".bin", ".pt", ".pth", ".gguf", ".zwq", ".index.json")


def convert(source: str | os.PathLike[str], folder: str | os.PathLike[str], *, dtype: Any = None) -> None:
    """Writes a 4-bit model as a folder whose packed weights vLLM, with zenwoq beside it, and transformers read.

    For formats that vLLM itself does not load, or not on CPUs. Weights keep their exact values, scales their types, and
    nothing is packed anew when the folder is loaded. ``python -m zenwoq.vllm SOURCE FOLDER`` does the same. The model
    is in memory meanwhile, packed.

    Args:
        source: a folder with safetensors files of any 4-bit format that zenwoq reads (docs/formats.md), or a .gguf
            file.
        folder: where to write; it must not exist, or be empty. It is written whole or not at all.
        dtype: a torch dtype, of everything that is not packed; None is bfloat16.

    Raises:
        FileExistsError: the folder is there and not empty.
        ValueError: as :func:`zenwoq.torch.from_checkpoint`; or the source has no 4-bit weight.
        OSError: a file cannot be read or written, or the folder is a mount point.
        ImportError: transformers or torch is not installed; of a .gguf file also gguf.
    """
    source, folder = Path(source), Path(folder).resolve()  # a link stays, and leads to what is written
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise FileExistsError(f"{folder} is there already: give a folder that does not exist, or is empty")
    if folder.is_mount():
        raise OSError(f"{folder} is a mount point, which cannot be replaced: give a folder that does not exist in it")
    if not source.exists():
        raise FileNotFoundError(f"{source} does not exist: must be a folder with safetensors files, or a .gguf file")
    folder.parent.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        written = partial / folder.name
        written.mkdir()
        model, tokenizer = _of_gguf(source, dtype) if source.suffix == ".gguf" else _of_folder(source, dtype)
        model.save_pretrained(written)
        if tokenizer is not None:
            tokenizer.save_pretrained(written)
        elif source.is_dir():
            _copy_others(source, written)
        mode = written.stat().st_mode & 0o666
        for file in written.iterdir():
            file.chmod(mode)  # safetensors makes files that only their owner reads
        written.replace(folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _of_folder(source: Path, dtype: Any) -> tuple[Any, Any]:
    import torch

    import zenwoq.torch

    model = zenwoq.torch.from_checkpoint(source, dtype=dtype or torch.bfloat16, fuse=False)
    _check(model.zenwoq_report, source)
    return model, None


def _of_gguf(source: Path, dtype: Any) -> tuple[Any, Any]:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    import zenwoq.torch

    with zenwoq.torch.keep_gguf_packed():
        model = AutoModelForCausalLM.from_pretrained(
            source.parent, gguf_file=source.name, dtype=dtype or torch.bfloat16
        )
    _check(zenwoq.torch.optimize(model, fuse=False), source)
    return model, AutoTokenizer.from_pretrained(source.parent, gguf_file=source.name)


def _check(report: Any, source: Path) -> None:
    if not any(layer.replaced for layer in report.layers):
        raise ValueError(f"{source} has no 4-bit weight that zenwoq reads:\n{report}")


def _copy_others(source: Path, folder: Path) -> None:
    """The files beside the weights: of the tokenizer, the chat template, how to generate, the model's code."""
    for file in sorted(source.iterdir()):
        is_there = (folder / file.name).exists()
        is_config = file.suffix == ".json" and "quant" in file.name  # of the quantization that it had
        if file.is_file() and not is_there and not file.name.endswith(_WEIGHTS) and not is_config:
            shutil.copyfile(file, folder / file.name)
