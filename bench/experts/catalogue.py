# SPDX-FileCopyrightText: 2026 The zenwoq authors
# SPDX-License-Identifier: Apache-2.0
"""The blocks, and the peers: their names, what they need from PyPI, which class runs them."""

from __future__ import annotations

from typing import NamedTuple

from bench.peers.catalogue import ONNXRUNTIME, TORCH, Entry


class Block(NamedTuple):
    """The sizes of a block: each expert has gate and up [intermediate, hidden], and down [hidden, intermediate]."""

    name: str
    experts: int
    slots: int  # experts of each token
    hidden: int
    intermediate: int


BLOCKS = (Block("mixtral-8x7b", 8, 2, 4096, 14336), Block("qwen3-30b-a3b", 128, 8, 2048, 768))

# llama.cpp's own releases have a library for each kind of CPU, as this package has; llama-cpp-python's is built anew.
GGML = ("transcribe-cpp-native==0.4.1",)

BASE = "zenwoq-g32"  # what the others are compared with

ENTRIES = (
    Entry(BASE, "zenwoq", "experts g32", "bf16", "bf16", True, (), "zenwoq_peer", "Experts", {"group": 32}),
    Entry("zenwoq-g128", "zenwoq", "experts g128", "bf16", "bf16", True, (), "zenwoq_peer", "Experts", {"group": 128}),
    Entry(
        "zenwoq-linears",
        "zenwoq",
        "linears g32 in a loop of torch",
        "bf16",
        "bf16",
        True,
        TORCH,
        "linears_peer",
        "Linears",
        {"group": 32},
    ),
    Entry(
        "torch-grouped",
        "torch",
        "grouped_mm dense bf16",
        "bf16",
        "bf16",
        False,
        TORCH,
        "torch_peer",
        "GroupedMm",
        {"group": 32},
    ),
    Entry(
        "onnxruntime-f32",
        "onnxruntime",
        "QMoE b32, f32 activations",
        "f32",
        "f32",
        True,
        ONNXRUNTIME,
        "onnxruntime_peer",
        "QMoE",
        {"group": 32, "accuracy_level": 0},
    ),
    Entry(
        "onnxruntime-int8",
        "onnxruntime",
        "QMoE b32, int8 activations",
        "int8",
        "f32",
        True,
        ONNXRUNTIME,
        "onnxruntime_peer",
        "QMoE",
        {"group": 32, "accuracy_level": 4},
    ),
    Entry(
        "ggml-repack",
        "ggml",
        "mul_mat_id Q4_0 repacked, int8 activations",
        "int8",
        "f32",
        True,
        GGML,
        "ggml_peer",
        "Ggml",
        {"group": 32, "repack": True},
    ),
    Entry(
        "ggml",
        "ggml",
        "mul_mat_id Q4_0, int8 activations",
        "int8",
        "f32",
        True,
        GGML,
        "ggml_peer",
        "Ggml",
        {"group": 32, "repack": False},
    ),
)


def block(text: str) -> Block:
    """The block of this name, or of these sizes: "EXPERTS,SLOTS,HIDDEN,INTERMEDIATE".

    Raises:
        ValueError: neither, or a size that not all peers can run.
    """
    for each in BLOCKS:
        if each.name == text:
            return each
    experts, slots, hidden, intermediate = (int(part) for part in text.split(","))
    if not 1 <= slots <= experts or hidden < 128 or intermediate < 128 or hidden % 128 or intermediate % 128:
        raise ValueError
    return Block(text, experts, slots, hidden, intermediate)
