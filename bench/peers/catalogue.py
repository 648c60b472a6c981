# SPDX-FileCopyrightText: 2026 The zenwoq authors
# SPDX-License-Identifier: Apache-2.0
"""The peers: their names, what they need from PyPI, and which class runs them. Imports none of their libraries."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple


class Entry(NamedTuple):
    """One peer in one mode."""

    key: str  # its name for --only
    implementation: str  # this and the mode are its names in tables and pictures
    mode: str  # "int8" in it means int8 activations
    activations: str  # the type that the dot products read
    output: str  # the type of y
    four_bit: bool  # weights stay in 4 bits
    requirements: tuple[str, ...]  # exact versions
    module: str
    class_name: str
    settings: dict[str, Any]  # for the class


OPERANDS = ("numpy==2.4.6",)  # what every worker needs
TORCH = ("torch==2.13.0",)  # never a range: the newest may be a build of several GB for other devices
ZENTORCH = (*TORCH, "zentorch==2.13.0.2")
ONNXRUNTIME = ("onnx==1.23.2", "onnxruntime==1.32.0")  # onnx only writes the model
OPENVINO = ("openvino==2026.4.1",)

ENTRIES = (
    Entry("zenwoq", "zenwoq", "bf16 activations", "bf16", "f32", True, (), "zenwoq_peer", "Zenwoq", {}),
    Entry("torch-dense", "torch", "dense bf16", "bf16", "bf16", False, TORCH, "torch_peer", "TorchDense", {}),
    Entry("torch-int4pack", "torch", "int4pack", "bf16", "bf16", True, TORCH, "torch_peer", "TorchInt4Pack", {}),
    Entry("zentorch", "zentorch", "woq_linear", "bf16", "bf16", True, ZENTORCH, "zentorch_peer", "Zentorch", {}),
    Entry(
        "onnxruntime-f32",
        "onnxruntime",
        "f32 activations",
        "f32",
        "f32",
        True,
        ONNXRUNTIME,
        "onnxruntime_peer",
        "OnnxRuntime",
        {"accuracy_level": 1},
    ),
    Entry(
        "onnxruntime-int8",
        "onnxruntime",
        "int8 activations",
        "int8",
        "f32",
        True,
        ONNXRUNTIME,
        "onnxruntime_peer",
        "OnnxRuntime",
        {"accuracy_level": 4},
    ),
    Entry(
        "openvino-bf16",
        "openvino",
        "bf16 activations",
        "bf16",
        "f32",
        True,
        OPENVINO,
        "openvino_peer",
        "OpenVino",
        {"dynamic_quantization": 0, "precision": "bf16"},
    ),
    Entry(
        "openvino-int8", "openvino", "int8 activations", "int8", "f32", True, OPENVINO, "openvino_peer", "OpenVino", {}
    ),
    Entry(
        "openvino-int8-group",
        "openvino",
        "int8 activations, weight's groups",
        "int8",
        "f32",
        True,
        OPENVINO,
        "openvino_peer",
        "OpenVino",
        {"dynamic_quantization": "weight"},
    ),
)


BASE = "zenwoq"  # what the others are compared with


def choose(names: Sequence[str], known: Sequence[Entry] = ENTRIES, base: str = BASE) -> list[Entry]:
    """Those with these keys or implementations ("torch" is both of torch's), and the base; all if none is named.

    Raises:
        ValueError: there is no such name; the message lists the names.
    """
    words = {entry.key for entry in known} | {entry.implementation for entry in known}
    for name in names:
        if name not in words:
            raise ValueError(f"no peer {name!r}; there are {', '.join(entry.key for entry in known)}")
    wanted = {*names, base} if names else words
    return [entry for entry in known if wanted & {entry.key, entry.implementation}]
