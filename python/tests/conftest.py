# SPDX-FileCopyrightText: 2026 The zenwoq authors
# SPDX-License-Identifier: Apache-2.0
"""Weights of the real model, quantized as by the flows, and what the results must be."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable
from pathlib import Path

import pytest

os.environ.setdefault("HF_HUB_OFFLINE", "1")
# The tests with vLLM have a conftest of their own, which processes that tests start would find in place of this one.
_vllm = importlib.util.find_spec("vllm")
collect_ignore = [] if _vllm is not None and _vllm.origin is not None else ["vllm"]

ROOT = Path(__file__).resolve().parents[2]
FIXTURES = ROOT / "tests" / "fixtures"
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "zenwoq"
MODEL = "SmolLM2-135M-Instruct.Q4_1.gguf"


@pytest.fixture(scope="session")
def smollm2() -> tuple[str, str]:
    """The folder and file name of the real model."""
    if not (CACHE / MODEL).exists():
        pytest.skip(f"{CACHE / MODEL} is not there: tools/fetch_model.sh fetches it")
    return str(CACHE), MODEL


@pytest.fixture
def some_threads():
    """On few threads, linears that share x gain nothing by it."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(4)
    yield
    torch.set_num_threads(before)


def real_weights() -> dict:
    """Three linears of SmolLM2, as float32 tensors."""
    import gguf
    import torch

    reader = gguf.GGUFReader(FIXTURES / "attention.gguf")
    return {
        t.name.removesuffix(".weight"): torch.from_numpy(gguf.dequantize(t.data, t.tensor_type).copy())
        for t in reader.tensors
        if len(t.shape) == 2
    }


def model_of_real_layers():
    """Three real linears side by side, one with a bias."""
    import torch

    layers = torch.nn.ModuleDict()
    for name, weight in real_weights().items():
        n, k = weight.shape
        layer = torch.nn.Linear(k, n, bias=len(layers) == 0)
        layer.weight = torch.nn.Parameter(weight)
        if layer.bias is not None:
            layer.bias = torch.nn.Parameter(weight.mean(dim=1))
        layers[name.replace(".", "_")] = layer
    return layers.to(torch.bfloat16)


def dense_of(layer):
    """The values that TorchAO computes with, in float32."""
    import torch

    weight = layer.weight
    if hasattr(weight, "dequantize") and type(weight).__name__ != "Int4OpaqueTensor":
        return weight.dequantize().float()
    k = weight.shape[1]
    eye = torch.eye(k, dtype=torch.float32)
    return torch.ops.aten._weight_int4pack_mm_for_cpu(
        eye, weight.qdata, weight.block_size[1], weight.scale_and_zero.float()
    ).T


def configs(group_size: int) -> dict[str, Callable]:
    """The flows by name, as functions that make TorchAO's configuration."""
    import torch
    from quantize_and_run import Int4WeightOnlyOpaqueTensorConfig
    from torchao.quantization import IntxWeightOnlyConfig, MappingType, PerAxis, PerGroup

    def intx(granularity: object, mapping: object, scale: object = torch.bfloat16) -> Callable:
        return lambda: IntxWeightOnlyConfig(
            weight_dtype=torch.int4, mapping_type=mapping, scale_dtype=scale, granularity=granularity
        )

    return {
        "intx-group": intx(PerGroup(group_size), MappingType.SYMMETRIC),
        "intx-channel": intx(PerAxis(0), MappingType.SYMMETRIC),
        "intx-asymmetric": intx(PerGroup(group_size), MappingType.ASYMMETRIC),
        "intx-no-clipping": intx(PerGroup(32), MappingType.SYMMETRIC_NO_CLIPPING_ERR),
        "intx-f32-scales": intx(PerGroup(group_size), MappingType.SYMMETRIC, torch.float32),
        "intx-f16-scales": intx(PerGroup(group_size), MappingType.ASYMMETRIC, torch.float16),
        "opaque": lambda: Int4WeightOnlyOpaqueTensorConfig(group_size=group_size),
    }


FLOWS = (
    "intx-group",
    "intx-channel",
    "intx-asymmetric",
    "intx-no-clipping",
    "intx-f32-scales",
    "intx-f16-scales",
    "opaque",
)


def tiny_llama(dtype: object = None):
    """A whole Llama of two layers, with random weights and tied embeddings."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(1)
    config = LlamaConfig(
        hidden_size=128,
        intermediate_size=256,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        vocab_size=256,
        max_position_embeddings=128,
        tie_word_embeddings=False,
        attention_bias=True,
        attn_implementation="sdpa",
    )
    return LlamaForCausalLM(config).to(dtype or torch.bfloat16).eval()


def random_packed(n: int, k: int, group: int = 32):
    """A packed weight as torch's tensor."""
    import torch
    import zenwoq

    generator = torch.Generator().manual_seed(n * k)
    codes = torch.randint(-8, 8, (n, k), dtype=torch.int8, generator=generator)
    scales = torch.rand((n, k // group), generator=generator).to(torch.bfloat16)
    weight = zenwoq.Weight(codes, scales, layout="s8", table="twos_complement")
    return torch.frombuffer(bytearray(weight.packed), dtype=torch.uint8).clone()


def bound_of(weight: object, x: object):
    """The f64 product of a weight and bf16 rows, and the bound that src/reference/arithmetic.md derives for f32.

    The weight is made from arrays: scales of floats, columns in order.
    """
    import numpy as np
    import torch

    codes, scales, zeros = weight.unpack()
    rows = x.detach().to(torch.bfloat16).double().numpy()
    rows = np.where(np.abs(rows) < 2.0**-126, 0, rows)
    n, k = weight.n, weight.k
    nibbles = np.stack((codes & 15, codes >> 4), axis=-1).reshape(n, -1)[:, :k]
    t = np.asarray(weight.table)[nibbles]
    group = weight.group_size or k
    scale = np.repeat(scales.astype(np.float64), group, axis=1)[:, :k]
    dense, size = scale * t, np.abs(scale) * np.abs(t)
    if zeros is not None and zeros.dtype == np.int8:
        shift = 8.0 - np.repeat(zeros.astype(np.float64), group, axis=1)[:, :k]
        dense, size = dense + scale * shift, size + np.abs(scale * shift)
    elif zeros is not None:
        offset = np.repeat(zeros.astype(np.float64), group, axis=1)[:, :k]
        dense, size = dense + offset, size + np.abs(offset)
    groups = -(-k // group)
    bound = (k + 2 * groups + 8) * 2.0**-24 * (np.abs(rows) @ size.T)
    return torch.from_numpy(rows @ dense.T), torch.from_numpy(bound)


def expected_of(case: str):
    """What a framework computed of a case of fixtures/formats, in float32, and the type that it had rounded it to."""
    import torch
    from safetensors import safe_open

    with safe_open(FIXTURES / "formats" / case / "expected.safetensors", framework="pt") as file:
        rounding = file.metadata()["rounding"]
        dtype = torch.bfloat16 if "bf16" in rounding else torch.float16 if "f16" in rounding else torch.float32
        return {name: file.get_tensor(name) for name in file.keys()}, dtype  # noqa: SIM118
