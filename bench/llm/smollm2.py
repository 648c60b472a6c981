# SPDX-FileCopyrightText: 2026 The zenwoq authors
# SPDX-License-Identifier: Apache-2.0
"""SmolLM2-135M-Instruct, from the GGUF file."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from bench.llm.models import SMOLLM2, SMOLLM2_Q4_0, requantize_to_q4_0, smollm2
from bench.llm.report import Row
from bench.llm.sizes import Sizes
from bench.llm.variants import Variant, error, has, of_model, wrong

IN_PARTS = ("zenwoq gguf eager", "zenwoq apart gguf eager")  # variants that eager_parts looks into


def variants(sizes: Sizes, with_llama_cpp: bool) -> Iterator[Variant]:
    """The file's own weights in zenwoq and llama.cpp, and what TorchAO makes of them in torch.

    Of "zenwoq apart" no block is fused.
    """
    prompt = _prompt(sizes)
    for library, quantize in (
        ("zenwoq", "gguf"),
        ("zenwoq apart", "gguf"),
        ("torch", "bf16"),
        ("TorchAO", "opaque"),
        ("TorchAO", "intx-group"),
        ("TorchAO", "intx-channel"),
    ):
        model = smollm2(quantize, library.startswith("zenwoq"), fuse=library == "zenwoq")
        yield of_model(library, quantize, model, prompt, sizes.smol_steps)
        if library in sizes.smol_compiled:
            yield of_model(library, quantize, model, prompt, sizes.smol_steps, "inductor")
        if library == "zenwoq" and with_llama_cpp and has("llama_cpp"):
            if not SMOLLM2_Q4_0.exists():
                requantize_to_q4_0(SMOLLM2, SMOLLM2_Q4_0)
            yield of_llama_cpp("Q4_1", SMOLLM2, prompt[0].tolist(), sizes.smol_steps)
            yield of_llama_cpp("Q4_0", SMOLLM2_Q4_0, prompt[0].tolist(), sizes.smol_steps)


def zentorch_variants(sizes: Sizes) -> Iterator[Variant]:
    """TorchAO's flows through torch.compile(backend="zentorch")."""
    for quantize in ("opaque", "intx-group", "intx-channel"):
        yield of_model("TorchAO", quantize, smollm2(quantize, False), _prompt(sizes), sizes.smol_steps, "zentorch")


def _prompt(sizes: Sizes) -> torch.Tensor:
    return torch.arange(sizes.smol_prompt)[None] + 1000


def of_llama_cpp(weights: str, file: Path, prompt: list[int], steps: int) -> Variant:
    """llama.cpp on the same tokens and threads; its activations are int8."""
    from llama_cpp import Llama

    threads = torch.get_num_threads()
    model = Llama(
        str(file),
        n_ctx=len(prompt) + steps + 2,
        n_batch=len(prompt),
        n_ubatch=len(prompt),
        n_threads=threads,
        n_threads_batch=threads,
        verbose=False,
    )

    def prefill() -> None:
        model.reset()
        model.eval(prompt)

    def step() -> torch.Tensor:
        model.eval(prompt[:1])
        return torch.empty(0)

    name = f"llama.cpp {weights}"
    return Variant(name, f"{weights}, int8 activations", prefill, step, file.stat().st_size).start()


def rows(measured: list[Variant], prompt: int) -> list[Row]:
    """A row for each variant, in tokens per second."""
    made = []
    for variant in measured:
        values = variant.values(prompt)
        values["error"] = error(variant, measured)
        speeds = f"{values['tokens_per_s']:.1f} tok/s", f"{values['prompt_tokens_per_s']:.0f} tok/s"
        note = f"{values['token_ms']:.2f} ms a token; start {variant.start_s:.1f} s{wrong(values)}"
        made.append(Row("smollm2", variant.name, *speeds, note, values))
    return made


def eager_parts(variant: Variant) -> Row:
    """Where an eager token's time goes: in operators by the profiler, and the rest of the time measured without it."""
    variant.prefill()
    parts, calls = min((_profile(variant) for _ in range(6)), key=lambda each: sum(each[0].values()))
    values: dict[str, Any] = {**parts, "operator_calls": calls, "token_ms": variant.values(1)["token_ms"]}
    values["python_ms"] = values["token_ms"] - sum(parts.values())
    note = ", ".join(f"{name.removesuffix('_ms').replace('_', ' ')} {value:.2f}" for name, value in parts.items())
    note += f" ({calls} calls), Python {values['python_ms']:.2f} ms"
    return Row("smollm2", f"{variant.name}: parts", f"{values['token_ms']:.2f} ms", "", note, values)


def _profile(variant: Variant) -> tuple[dict[str, float], int]:
    """Milliseconds of a token's operators by kind, and how many there are."""
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
        variant.step()
    parts = {"zenwoq_ms": 0.0, "lm_head_ms": 0.0, "attention_ms": 0.0, "other_operators_ms": 0.0}
    kinds = {f"zenwoq::{name}": "zenwoq_ms" for name in ("linear", "linears", "three_linears", "linear_fused", "gated")}
    kinds |= {"aten::mm": "lm_head_ms", "aten::addmm": "lm_head_ms"}
    calls = 0
    for event in profile.key_averages():
        kind = kinds.get(event.key, "attention_ms" if "scaled_dot_product" in event.key else "other_operators_ms")
        parts[kind] += event.self_cpu_time_total / 1e3
        calls += event.count
    return parts, calls
