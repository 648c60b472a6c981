# SPDX-FileCopyrightText: 2026 The zenwoq authors
# SPDX-License-Identifier: Apache-2.0
"""Odd layers and configurations, without an engine: what is left to vLLM, what is refused, what layers answer."""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import zenwoq
import zenwoq.vllm

K, GROUP = 256, 64
pytestmark = pytest.mark.filterwarnings("error:The given buffer is not writable")  # of torch, once a process
GPTQ = {"quant_method": "gptq", "bits": 4, "group_size": 64, "desc_act": False, "sym": True}


@pytest.fixture(scope="module", autouse=True)
def one_process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What layers of vLLM ask for: a configuration and groups of one process."""
    from vllm.config import DeviceConfig, VllmConfig, set_current_vllm_config
    from vllm.distributed import (
        cleanup_dist_env_and_memory,
        ensure_model_parallel_initialized,
        init_distributed_environment,
    )

    zenwoq.vllm.register()
    with set_current_vllm_config(VllmConfig(device_config=DeviceConfig("cpu"))):
        init_distributed_environment(1, 0, f"file://{tmp_path_factory.mktemp('group') / 'store'}", 0, "gloo")
        ensure_model_parallel_initialized(1, 1)
        yield
        cleanup_dist_env_and_memory()


def weight_of(n: int, k: int = K, seed: int = 0) -> zenwoq.Weight:
    drawn = torch.Generator().manual_seed(seed)
    codes = torch.randint(0, 256, (n, k // 2), generator=drawn, dtype=torch.uint8)
    return zenwoq.Weight(codes, torch.rand(n, k // GROUP, generator=drawn).bfloat16())


def packed(weight: zenwoq.Weight) -> torch.Tensor:
    return torch.frombuffer(bytearray(weight.packed), dtype=torch.uint8)


def rows(count: int, k: int = K) -> torch.Tensor:
    return torch.randn(count, k, generator=torch.Generator().manual_seed(1)).bfloat16()


def product(x: torch.Tensor, weight: zenwoq.Weight) -> torch.Tensor:
    return zenwoq.linear(x, weight, out_dtype="bfloat16")


def config_of(*names: str) -> Any:
    """Of a folder that zenwoq wrote, with packed weights of these names."""
    from zenwoq.vllm._configs import Packed

    made = Packed()
    made.packed_names = set(names)
    return made


def replicated(prefix: str = "layer") -> Any:
    from vllm.model_executor.layers.linear import ReplicatedLinear

    return ReplicatedLinear(
        K, 128, bias=False, params_dtype=torch.bfloat16, quant_config=config_of(f"{prefix}.weight"), prefix=prefix
    )


def load(layer: Any, weight: zenwoq.Weight, *shard: Any) -> None:
    layer.weight.weight_loader(layer.weight, packed(weight), *shard)


def processes(monkeypatch: pytest.MonkeyPatch, module: Any, rank: int, size: int) -> None:
    monkeypatch.setattr(module, "get_tensor_model_parallel_rank", lambda: rank)
    monkeypatch.setattr(module, "get_tensor_model_parallel_world_size", lambda: size)


@pytest.mark.parametrize(("rank", "size"), [(0, 1), (0, 2), (1, 2)])
def test_head_whose_vocabulary_is_padded(rank: int, size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    from vllm.model_executor.layers import vocab_parallel_embedding

    processes(monkeypatch, vocab_parallel_embedding, rank, size)
    head = vocab_parallel_embedding.ParallelLMHead(
        500, K, bias=True, params_dtype=torch.bfloat16, quant_config=config_of("lm_head.weight"), prefix="lm_head"
    )
    weight = weight_of(500)
    load(head, weight)
    head.quant_method.process_weights_after_loading(head)
    x, bias, each = rows(3), torch.ones(512 // size, dtype=torch.bfloat16), 512 // size
    begin, end = rank * each, min(500, (rank + 1) * each)
    got = head.quant_method.apply(head, x, bias=bias)
    expected = zenwoq.linear(x, weight, bias=torch.ones(500), out_dtype="bfloat16")[:, begin:end]
    assert got.shape == (3, each)
    assert torch.equal(got[:, : end - begin], expected)
    assert not got[:, end - begin :].any()


@pytest.mark.parametrize("rank", range(4))
def test_fewer_heads_of_k_and_v_than_processes(rank: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """And heads of v that have another size."""
    from vllm.model_executor.layers import linear

    processes(monkeypatch, linear, rank, 4)
    layer = linear.QKVParallelLinear(
        K, 64, 8, 2, bias=False, params_dtype=torch.bfloat16, quant_config=config_of(), prefix="qkv", v_head_size=128
    )
    parts = {"q": weight_of(512, seed=1), "k": weight_of(128, seed=2), "v": weight_of(256, seed=3)}
    for shard, weight in parts.items():
        load(layer, weight, shard)
    layer.quant_method.process_weights_after_loading(layer)
    x, pair = rows(2), rank // 2
    expected = [
        product(x, parts["q"])[:, 128 * rank : 128 * (rank + 1)],
        product(x, parts["k"])[:, 64 * pair : 64 * (pair + 1)],
        product(x, parts["v"])[:, 128 * pair : 128 * (pair + 1)],
    ]
    assert torch.equal(layer(x)[0], torch.cat(expected, 1))


def test_attention_and_lora_find_a_parameter() -> None:
    from vllm.lora.layers.utils import _get_lora_device
    from vllm.model_executor.layers.quantization.utils.quant_utils import get_and_maybe_dequant_weights

    layer = replicated()
    layer.input_size_per_partition = K  # as kv_b_proj has it, which is split by columns
    weight = weight_of(128)
    load(layer, weight)
    layer.quant_method.process_weights_after_loading(layer)
    assert _get_lora_device(layer) == torch.device("cpu")
    dense = get_and_maybe_dequant_weights(layer, out_dtype=torch.bfloat16)
    assert torch.equal(dense, product(torch.eye(K).bfloat16(), weight).t())


def test_dense_tensors_of_the_file_are_let_go() -> None:
    layer = replicated()
    loader = layer.weight.weight_loader  # vLLM keeps it, to load weights anew
    tensor = torch.ones(128, K, dtype=torch.bfloat16)
    gone = weakref.ref(tensor)
    loader(layer.weight, tensor)
    del tensor
    layer.quant_method.process_weights_after_loading(layer)
    assert gone() is None


def test_layer_that_loads_in_a_way_of_its_own_is_left() -> None:
    from vllm.model_executor.layers.linear import ReplicatedLinear, UnquantizedLinearMethod

    class Odd(ReplicatedLinear):
        def weight_loader(self, param: Any, loaded_weight: torch.Tensor) -> None: ...

    config = config_of()
    layer = Odd(K, 128, bias=False, quant_config=config, prefix="layer")
    assert isinstance(layer.quant_method, UnquantizedLinearMethod)
    assert "Odd loads its weights in a way of its own" in config._report.text()


@pytest.mark.parametrize("dimension", ["output_dim", "input_dim"])
def test_model_that_cuts_or_sorts_rows_itself_is_refused(dimension: str) -> None:
    """Step3 asks so, and Falcon, which would go on without an answer, with rows in the wrong order."""
    layer = replicated()
    for name in layer.quant_method._format.parts:
        with pytest.raises(ValueError, match=r"layer: the code of its model in vLLM cuts or sorts the rows"):
            getattr(getattr(layer, name), dimension, None)


def test_adapters_are_not_for_experts(monkeypatch: pytest.MonkeyPatch) -> None:
    """vLLM would make places for them in all layers that it knows, unless it is told which."""
    from zenwoq.vllm import _experts, _formats
    from zenwoq.vllm._report import Report

    def create(target_modules: list[str] | None) -> None:
        lora = SimpleNamespace(lora_config=SimpleNamespace(target_modules=target_modules))
        monkeypatch.setattr(_experts, "get_current_vllm_config_or_none", lambda: lora)
        moe = SimpleNamespace(has_bias=False)
        method = _experts.ExpertsMethod(_formats.awq(64), "experts", moe, Report())
        method.create_weights(torch.nn.Module(), 2, 64, 64, torch.bfloat16)

    create(["q_proj"])
    with pytest.raises(ValueError, match=r"experts: adapters of LoRA .* as --lora-target-modules q_proj"):
        create(None)


def test_mamba_of_one_group_is_refused_for_several_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    from vllm.model_executor.layers import linear

    processes(monkeypatch, linear, 0, 2)
    with pytest.raises(ValueError, match=r"mixer.in_proj: its parts are cut apart for 2 processes"):
        linear.ColumnParallelLinear(K, 128, bias=False, quant_config=config_of(), prefix="mixer.in_proj")


def gptq(**changes: Any) -> Any:
    from zenwoq.vllm._configs import Gptq

    return Gptq.from_config({**GPTQ, **changes})


def has_g_idx(config: Any) -> bool:
    return bool(list(config.get_checkpoint_weight_mapper().apply([("layer.g_idx", torch.zeros(1))])))


def test_act_order_is_read_by_zenwoq_only() -> None:
    from vllm.model_executor.layers.linear import ReplicatedLinear

    config = gptq()
    assert not has_g_idx(config)
    ReplicatedLinear(K, 128, bias=False, quant_config=config, prefix="layer")
    assert has_g_idx(config)


@pytest.mark.parametrize("changes", [{"desc_act": True}, {"sym": False}])
def test_gptq_that_vllm_refuses_is_not_left_to_it(changes: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match=r"experts: GPTQ with .* and not for zenwoq: a reason"):
        gptq(**changes).check_left("experts", "a reason")
    monkeypatch.setenv("VLLM_CPU_INT4_W4A8", "1")
    with pytest.raises(ValueError, match=r"no longer supported|Unsupported quantization config"):
        gptq(**changes)


def test_another_interface_of_a_config_leaves_its_layers(monkeypatch: pytest.MonkeyPatch, lines: list[str]) -> None:
    from vllm.model_executor.layers.linear import ReplicatedLinear
    from zenwoq.vllm._configs import Awq

    def format_of(self: Any, layer: Any, prefix: str) -> Any:
        raise AttributeError("no such thing")

    monkeypatch.setattr(Awq, "format_of", format_of)
    config = Awq.from_config({"bits": 4, "group_size": 64, "zero_point": True})
    layer = ReplicatedLinear(K, 128, bias=False, quant_config=config, prefix="layer")
    assert not type(layer.quant_method).__module__.startswith("zenwoq")
    assert lines == ["zenwoq leaves layer, and layers like it, to vLLM: AttributeError: no such thing"]


def test_activations_that_are_quantized_after_a_layer() -> None:
    from compressed_tensors.quantization import QuantizationArgs
    from zenwoq.vllm._configs import CompressedTensors

    weights = QuantizationArgs(num_bits=4, group_size=64, strategy="group")
    scheme = {"weights": weights, "output_activations": QuantizationArgs(), "format": "pack-quantized"}
    config = CompressedTensors({}, [], "pack-quantized")
    assert config._format(scheme) == "its activations are quantized too (output_activations)"


@pytest.mark.parametrize(("kind", "zeros"), [("uint4", False), ("uint4b8", True)])
def test_kernel_refuses_codes_with_other_zero_points(kind: str, zeros: bool) -> None:
    from vllm.model_executor.kernels.linear import MPLinearLayerConfig
    from vllm.scalar_type import scalar_types
    from zenwoq.vllm._kernel import ZenwoqLinearKernel

    shape = (K, 128)
    config = MPLinearLayerConfig(shape, shape, getattr(scalar_types, kind), torch.bfloat16, 64, zeros)
    can, reason = ZenwoqLinearKernel.can_implement(config)
    assert not can
    assert f"{'with' if zeros else 'without'} zero points" in str(reason)


def test_tensors_of_all_experts_are_refused() -> None:
    from zenwoq.vllm import _formats
    from zenwoq.vllm._experts import ExpertsMethod
    from zenwoq.vllm._report import Report

    method = ExpertsMethod(_formats.awq(64), "experts", SimpleNamespace(has_bias=False), Report())
    layer = torch.nn.Module()
    method.create_weights(layer, 2, K, 128, torch.bfloat16)
    place: Any = layer.w13_qweight
    with pytest.raises(ValueError, match=r"experts: w13_qweight is of all experts, must be of one each"):
        place.weight_loader(place, torch.zeros(2, 1, 1), "w13_qweight", "w1", None)


def written(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets convert write a model without weights."""
    from zenwoq.vllm import _convert

    def save_pretrained(folder: Path) -> None:
        (folder / "config.json").write_text("{}")

    model = SimpleNamespace(save_pretrained=save_pretrained)
    monkeypatch.setattr(_convert, "_of_folder", lambda source, dtype: (model, None))


def test_convert_into_a_link(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written(monkeypatch)
    for name in ("source", "place"):
        (tmp_path / name).mkdir()
    (tmp_path / "link").symlink_to("place")
    (tmp_path / "broken").symlink_to("made")
    for name in ("link", "broken"):
        zenwoq.vllm.convert(tmp_path / "source", tmp_path / name)
        assert (tmp_path / name).is_symlink()
        assert (tmp_path / name / "config.json").exists()


def test_convert_into_a_mount_point(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written(monkeypatch)
    monkeypatch.setattr(Path, "is_mount", lambda self: True)
    with pytest.raises(OSError, match=r"place is a mount point"):
        zenwoq.vllm.convert(tmp_path, tmp_path / "place")
    assert not list(tmp_path.iterdir())


def test_convert_copies_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written(monkeypatch)
    source = tmp_path / "source"
    source.mkdir()
    for name in ("quantize_config.json", "quantization.py", "tokenizer.model", "model.safetensors", "config.json"):
        (source / name).write_text(name)
    zenwoq.vllm.convert(source, tmp_path / "place")
    assert sorted(file.name for file in (tmp_path / "place").iterdir()) == [
        "config.json", "quantization.py", "tokenizer.model",
    ]  # fmt: skip
    assert (tmp_path / "place" / "config.json").read_text() == "{}"
