# SPDX-FileCopyrightText: 2026 The zenwoq authors
# SPDX-License-Identifier: Apache-2.0
"""Models of transformers straight from 4-bit checkpoints: what needs no transformers to be imported."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import torch


def from_checkpoint(
    path: str | os.PathLike[str],
    *,
    dtype: torch.dtype = torch.bfloat16,
    model_class: Any = None,
    progress: bool | None = None,
    fuse: bool = True,
    opaque_layout: str = "avx512",
    **kwargs: Any,
) -> Any:
    """Makes a model of transformers from a 4-bit checkpoint: a folder with safetensors files, or a .zwq file.

    For formats whose own loaders need a GPU or packages that are not there: GPTQ, AWQ, compressed-tensors,
    bitsandbytes, AutoRound, ModelOpt, MLX, TorchAO (docs/formats.md). Only config.json and the files are read: no code
    of the folder runs. Weights keep their exact values in packed layers, scales in the files' own types. So do the
    experts of a mixture of experts, whose linears are put together, and those of gpt-oss, as :func:`optimize` has them,
    if all experts of a module are quantized alike. Quantized weights that are no linear of the model otherwise are
    unpacked, and the report names them with the reason.
    No other thread should load a model meanwhile.

    Args:
        path: the folder, or the file; of a .zwq file packed weights are mapped, in pages that processes share.
        dtype: of everything that is not packed.
        model_class: a class of transformers; None is the one that config.json names.
        progress, fuse: as :func:`optimize` has them.
        opaque_layout: as :func:`zenwoq.load` has it.
        kwargs: what else ``from_pretrained`` takes, as ``attn_implementation``.

    Returns:
        The model, in evaluation mode; ``model.zenwoq_report`` is the :class:`Report`.

    Raises:
        ValueError: a file is damaged; a weight is in a format that is not read; a tensor of the model is not in the
            files, or one of the files has no place in the model; all are named.
        MemoryError: there is no memory for it.
    """
    from zenwoq.torch._checkpoint_model import make_model

    return make_model(
        Path(path),
        dtype=dtype,
        model_class=model_class,
        progress=progress,
        fuse=fuse,
        opaque_layout=opaque_layout,
        **kwargs,
    )
