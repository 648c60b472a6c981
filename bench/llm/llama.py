# SPDX-FileCopyrightText: 2026 The zenwoq authors
# SPDX-License-Identifier: Apache-2.0
"""A Llama of 8 layers with random weights."""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from typing import Any

import torch
import zenwoq.torch

from bench.llm import models
from bench.llm.report import Row
from bench.llm.sizes import Sizes
from bench.llm.variants import Variant, error, of_model, wrong


def quantized(sizes: Sizes, weights: str) -> Any:
    """The model in bf16, or with TorchAO's ``"intx"`` or ``"opaque"`` weights; lm_head stays in bf16."""
    model = models.llama(sizes.layers, sizes.hidden)
    if weights != "bf16":
        models.quantize(model, {"intx": "intx-group", "opaque": "opaque"}[weights], 128)
    return model


def variants(sizes: Sizes) -> Iterator[Variant]:
    """All variants, each model made when its turn comes. Of "zenwoq apart" no block is fused."""
    for library, quantize in (
        ("torch", "bf16"),
        ("TorchAO", "intx"),
        ("TorchAO", "opaque"),
        ("zenwoq", "intx"),
        ("zenwoq apart", "intx"),
    ):
        model = quantized(sizes, quantize)
        if library.startswith("zenwoq"):
            zenwoq.torch.optimize(model, fuse=library == "zenwoq", progress=False)
        for backend in (None, "inductor"):
            if backend is None or library in sizes.compiled:
                yield of_model(library, quantize, model, _prompt(sizes), sizes.llama_steps, backend)


def zentorch_variants(sizes: Sizes) -> Iterator[Variant]:
    """TorchAO's flows through torch.compile(backend="zentorch"), as in AMD's guide."""
    for quantize in ("intx", "opaque"):
        yield of_model("TorchAO", quantize, quantized(sizes, quantize), _prompt(sizes), sizes.llama_steps, "zentorch")


def _prompt(sizes: Sizes) -> torch.Tensor:
    return torch.arange(sizes.llama_prompt)[None]


def rows(measured: list[Variant], prompt: int) -> list[Row]:
    """A row for each variant. A token's time is also a multiple of the roof, always that of zenwoq's weights."""
    roof_bytes = next(variant.weight_bytes for variant in measured if variant.name.startswith("zenwoq"))
    made = []
    for variant in measured:
        ratios = variant.over_roof(roof_bytes)
        values = variant.values(prompt)
        values |= {"over_roof": statistics.median(ratios), "roof_bytes": roof_bytes, "all_over_roof": ratios}
        values["error"] = error(variant, measured)
        times = f"{values['token_ms']:.2f} ms", f"{values['prompt_ms']:.1f} ms"
        spread = f"{values['over_roof']:.2f} x roof ({min(ratios):.2f}-{max(ratios):.2f})"
        note = f"{spread}; best {values['token_best_ms']:.2f} ms; start {variant.start_s:.1f} s{wrong(values)}"
        made.append(Row("llama", variant.name, *times, note, values))
    return made
