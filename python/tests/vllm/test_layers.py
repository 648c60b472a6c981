# SPDX-FileCopyrightText: 2026 The zenwoq authors
# SPDX-License-Identifier: Apache-2.0
"""Single layers as vLLM makes and loads them, without an engine, and what is registered."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import models
import pytest
import torch
import zenwoq
import zenwoq.vllm
from models import HEAD, HEADS, HIDDEN, KV_HEADS, Linear
from safetensors import safe_open
from zenwoq.vllm._kernel import ZenwoqLinearKernel

NAMES = {"gptq": "auto_gptq", "awq": "auto_awq", "auto-round": "inc"}  # vLLM's of the files'
ROWS = (1, 7, 33)
DOWN = "model.layers.0.mlp.down_proj"
ATTENTION = "model.layers.0.self_attn"
EVERY = [name for name in models.FORMATS if name != "ct-int8-activations"]
Folder = Callable[[str], Path]


@pytest.fixture(scope="module", autouse=True)
def one_process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What layers of vLLM ask for: a configuration and groups of one process."""
    from vllm.config import DeviceConfig, VllmConfig, set_current_vllm_config
    from vllm.distributed import (
        cleanup_dist_env_and_memory,
        ensure_model_parallel_initialized,
        init_distributed_environment,
    )
    from vllm.plugins import load_general_plugins

    load_general_plugins()
    with set_current_vllm_config(VllmConfig(device_config=DeviceConfig("cpu"))):
        place = tmp_path_factory.mktemp("group") / "store"
        init_distributed_environment(1, 0, f"file://{place}", 0, "gloo")
        ensure_model_parallel_initialized(1, 1)
        yield
        cleanup_dist_env_and_memory()


def quantization(folder: Path) -> Any:
    """vLLM's quantization of a model."""
    from vllm.model_executor.layers.quantization import get_quantization_config

    config = json.loads((folder / "config.json").read_text())["quantization_config"]
    made = get_quantization_config(NAMES.get(config["quant_method"], config["quant_method"])).from_config(config)
    made.packed_modules_mapping = {"qkv_proj": ["q_proj", "k_proj", "v_proj"]}
    made.maybe_update_config(str(folder))
    return made


def load(layer: Any, folder: Path, name: str, *shard: str) -> None:
    with safe_open(folder / "model.safetensors", framework="pt") as file:
        for key in file.keys():  # noqa: SIM118
            if key.startswith(f"{name}."):
                place = getattr(layer, key.rpartition(".")[2], None)
                if place is not None:
                    place.weight_loader(place, file.get_tensor(key), *shard)


def made_down(folder: Path) -> Any:
    from vllm.model_executor.layers.linear import RowParallelLinear

    layer = RowParallelLinear(
        512, HIDDEN, bias=False, params_dtype=torch.bfloat16, quant_config=quantization(folder), prefix=DOWN
    )
    load(layer, folder, DOWN)
    layer.quant_method.process_weights_after_loading(layer)
    return layer


def weight_of(linear: Linear) -> tuple[zenwoq.Weight, torch.Tensor]:
    """The weight, and the order of x that sorts its groups."""
    order = linear.groups.argsort(stable=True)
    zeros = None if bool((linear.zeros == 8).all()) else linear.zeros.to(torch.int8)
    codes = linear.codes[:, order].to(torch.uint8)
    return zenwoq.Weight(codes[:, 0::2] | codes[:, 1::2] << 4, linear.scales, zeros), order


def rows(count: int, k: int) -> torch.Tensor:
    return torch.randn(count, k, generator=torch.Generator().manual_seed(count)).bfloat16()


def product(x: torch.Tensor, linear: Linear) -> torch.Tensor:
    weight, order = weight_of(linear)
    return zenwoq.linear(x[:, order].contiguous(), weight, out_dtype="bfloat16")


@pytest.mark.parametrize("name", EVERY)
def test_linear(name: str, folder: Folder) -> None:
    layer = made_down(folder(name))
    linear = models.drawn(name).linears[DOWN]
    for count in ROWS:
        x = rows(count, 512)
        assert torch.equal(layer(x)[0], product(x, linear))


@pytest.mark.parametrize("name", EVERY)
def test_fused_linear(name: str, folder: Folder) -> None:
    from vllm.model_executor.layers.linear import QKVParallelLinear

    layer = QKVParallelLinear(
        HIDDEN, HEAD, HEADS, KV_HEADS, bias=False, params_dtype=torch.bfloat16,
        quant_config=quantization(folder(name)), prefix=f"{ATTENTION}.qkv_proj",
    )  # fmt: skip
    for shard in "qkv":
        load(layer, folder(name), f"{ATTENTION}.{shard}_proj", shard)
    layer.quant_method.process_weights_after_loading(layer)
    x = rows(5, HIDDEN)
    linears = models.drawn(name).linears
    expected = torch.cat([product(x, linears[f"{ATTENTION}.{shard}_proj"]) for shard in "qkv"], 1)
    assert torch.equal(layer(x)[0], expected)


@pytest.mark.parametrize(("name", "scales"), [("ct-64", "bfloat16"), ("gptq-fine", "float16"), ("awq", "float16")])
def test_nothing_but_the_packed_weight_stays(name: str, scales: str, folder: Folder) -> None:
    (held,) = made_down(folder(name)).parameters()
    weight = zenwoq.Weight.from_packed(held)
    assert weight.scale_dtype == scales
    assert held.nbytes == len(weight.packed)


def config_of(k: int, n: int, group: int) -> Any:
    from vllm.model_executor.kernels.linear import MPLinearLayerConfig
    from vllm.scalar_type import scalar_types

    return MPLinearLayerConfig((k, n), (k, n), scalar_types.uint4b8, torch.bfloat16, group, zero_points=False)


def test_kernel_is_first() -> None:
    from vllm.model_executor.kernels import linear as kernels
    from vllm.platforms import PlatformEnum

    zenwoq.vllm.register()
    zenwoq.vllm.register()
    possible = [kernel.__name__ for kernel in kernels._POSSIBLE_KERNELS[PlatformEnum.CPU]]
    assert possible.index("ZenwoqLinearKernel") == 0
    assert possible.count("ZenwoqLinearKernel") == 1
    assert kernels.choose_mp_linear_kernel(config_of(512, 256, 64)) is ZenwoqLinearKernel


def test_odd_group_falls_through() -> None:
    from vllm.model_executor.kernels.linear import choose_mp_linear_kernel

    can, reason = ZenwoqLinearKernel.can_implement(config_of(96, 64, 12))
    assert not can
    assert reason == "groups of 12 of K = 96: must divide it and be multiples of 8"
    assert choose_mp_linear_kernel(config_of(96, 64, 12)) is not ZenwoqLinearKernel


@pytest.mark.parametrize(("variable", "calls"), [("0", 0), ("1", 1)])
def test_switch(variable: str, calls: int, monkeypatch: pytest.MonkeyPatch) -> None:
    from zenwoq.vllm import _register

    register = Mock(return_value="")
    monkeypatch.setattr(_register, "register", register)
    monkeypatch.setenv("ZENWOQ_VLLM", variable)
    zenwoq.vllm.register()
    assert register.call_count == calls


def test_other_interfaces(monkeypatch: pytest.MonkeyPatch, lines: list[str]) -> None:
    from vllm.model_executor.layers.linear import LinearMethodBase
    from zenwoq.vllm import _register

    def create_weights(self: Any, layer: Any, sizes: Any) -> None: ...

    monkeypatch.setattr(LinearMethodBase, "create_weights", create_weights)
    taken = ((create_weights, "layer output_partition_sizes"), *copy.copy(_register._INTERFACES))
    monkeypatch.setattr(_register, "_INTERFACES", taken)
    monkeypatch.setattr(_register, "_registered", False)
    zenwoq.vllm.register()
    (line,) = lines
    assert "zenwoq steps aside" in line
    assert "does not take output_partition_sizes, but layer, sizes" in line


def test_activations_of_8_bits_are_left(folder: Folder) -> None:
    from vllm.model_executor.layers.linear import RowParallelLinear

    config = quantization(folder("ct-int8-activations"))
    layer = RowParallelLinear(512, HIDDEN, bias=False, params_dtype=torch.bfloat16, prefix=DOWN)
    reason = config.format_of(layer, DOWN)
    assert reason == "its activations are quantized too (input_activations)"


def test_asking_for_activations_of_8_bits(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    from vllm.model_executor.layers.linear import RowParallelLinear

    config = quantization(folder("ct-64"))
    layer = RowParallelLinear(512, HIDDEN, bias=False, params_dtype=torch.bfloat16, prefix=DOWN)
    assert type(config.get_quant_method(layer, DOWN)).__module__.startswith("zenwoq")
    monkeypatch.setenv("VLLM_CPU_INT4_W4A8", "1")
    assert not ZenwoqLinearKernel.can_implement(config_of(512, 256, 64))[0]
    assert not type(config.get_quant_method(layer, DOWN)).__module__.startswith("zenwoq")
