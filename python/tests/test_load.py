# SPDX-FileCopyrightText: 2026 The zenwoq authors
# SPDX-License-Identifier: Apache-2.0
"""zenwoq.load: the fixtures of every format as frameworks dequantize them, and what a mapping owes its users."""

from __future__ import annotations

import gc
import json
import pickle
import threading
import weakref
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
import torch
import zenwoq
import zenwoq.torch
from conftest import FIXTURES, expected_of
from safetensors.numpy import save_file
from safetensors.torch import load_file

CASES = FIXTURES / "formats"


@pytest.mark.parametrize(
    "case",
    [
        "gptq/v1_act_order_g32",
        "gptq/v2_asym_g32",
        "awq/gemm_g64",
        "bitsandbytes/nf4_nested",
        "compressed_tensors_act_order/pack_sym_act_order_g32",
        "gguf/q4_k",
        "mxfp4/gpt_oss",
        "modelopt/nvfp4",
        "torchao/intx_bf16",
    ],
)
def test_values_are_the_frameworks(case):
    expected, rounding = expected_of(case)
    compared = 0
    for name, layer in zenwoq.load(CASES / case).items():
        if name in expected:
            values = torch.from_numpy(layer.dequantize()).to(rounding).float()
            assert torch.equal(values, expected[name]), name
            compared += 1
    assert compared > 0


def test_a_mapping():
    checkpoint = zenwoq.load(str(FIXTURES / "torchao_intx.safetensors"))
    assert len(checkpoint) == 3 and list(checkpoint) == sorted(checkpoint.keys())
    name = "asym_group64.down_proj"
    assert name in checkpoint and f"{name}.weight" in checkpoint and "nothing" not in checkpoint
    layer = checkpoint[name]
    assert checkpoint[f"{name}.weight"].name == layer.name == name
    assert (layer.format, layer.text) == ("torchao intx", "int4 asym per-group 64, scale bf16")
    n, k = layer.shape
    weight = layer.weight()
    assert (weight.n, weight.k, weight.nbytes, weight.text) == (n, k, layer.nbytes, layer.text)
    assert layer.source_nbytes == n * k + 3 * n * k // 64
    bias = layer.bias()
    assert layer.has_bias and bias.shape == (n,) and bias.dtype == np.float32 and bias.any()
    assert checkpoint["sym_channel.down_proj"].bias() is None
    (left,) = checkpoint.left_alone
    assert (left.name, left.reason, left.is_dense) == ("norm.weight", "1-D bf16", True)
    with pytest.raises(KeyError, match=r"norm\.weight is no 4-bit layer: 1-D bf16"):
        checkpoint["norm.weight"]
    with pytest.raises(KeyError, match="no layer nothing"):
        checkpoint["nothing"]
    with pytest.raises(ValueError, match=r"expert 1 of asym_group64\.down_proj, which has 1"):
        layer.weight(1)
    assert "3 layers, 1 other tensors" in repr(checkpoint) and "torchao intx" in repr(layer)


def test_experts():
    checkpoint = zenwoq.load(CASES / "mxfp4" / "gpt_oss")
    layer = checkpoint["model.layers.0.mlp.experts.down_proj"]
    all_of_them = layer.dequantize()
    assert all_of_them.shape == (layer.experts, *layer.shape) and layer.experts == 3
    assert np.array_equal(all_of_them[2], layer.dequantize(2))
    assert np.array_equal(all_of_them[1], layer.weight(1).dequantize())
    assert layer.bias(2).shape == layer.shape[:1]


def test_columns_in_act_order():
    layer = next(iter(zenwoq.load(CASES / "gptq" / "v1_act_order_g32").values()))
    weight = layer.weight()
    order = weight.permutation
    assert sorted(order) == list(range(weight.k)) and list(order) != list(range(weight.k))
    assert weight.x_scale is None and weight.super_scales is None
    x = np.random.default_rng(1).standard_normal((5, weight.k)).astype(np.float32)
    x = torch.from_numpy(x).bfloat16()
    y = zenwoq.linear(x, weight)
    expected = x.double() @ torch.from_numpy(layer.dequantize()).double().T
    assert torch.allclose(y.double(), expected, rtol=1e-4, atol=1e-3)
    again = pickle.loads(pickle.dumps(weight))
    assert torch.equal(zenwoq.linear(x, again), y)
    module = zenwoq.torch.Linear(torch.frombuffer(bytearray(weight.packed), dtype=torch.uint8), None)
    assert torch.equal(module(x), y.bfloat16())
    assert torch.equal(torch.compile(module, fullgraph=True)(x), y.bfloat16())


def test_what_is_unpacked_of_scales_of_two_levels():
    layer = next(iter(zenwoq.load(CASES / "gguf" / "q4_k").values()))
    weight = layer.weight()
    codes, scales, zeros = weight.unpack()
    assert weight.scale_dtype == "u8_f16" and scales.dtype == zeros.dtype == np.uint8
    supers, offsets = (
        np.repeat(part.astype(np.float32), 8, axis=1)[:, : scales.shape[1]]
        for part in (weight.super_scales, weight.super_offsets)
    )
    nibbles = np.stack((codes & 15, codes >> 4), axis=-1).reshape(weight.n, -1)
    scale, offset = (np.repeat(part, 32, axis=1) for part in (supers * scales, offsets * zeros))
    values = np.asarray(weight.table, dtype=np.float32)[nibbles].astype(np.float64) * scale + offset
    assert np.array_equal(values.astype(np.float32), layer.dequantize())
    e8m0 = next(iter(zenwoq.load(CASES / "gguf" / "mxfp4").values())).weight()
    assert e8m0.unpack()[1].dtype == np.uint8 and e8m0.scale_dtype == "e8m0"


def test_tensors_of_plain_numbers(tmp_path):
    checkpoint = zenwoq.load(FIXTURES / "torchao_intx.safetensors")
    expected = load_file(FIXTURES / "torchao_intx.safetensors")["norm.weight"]
    values = checkpoint.tensor("norm.weight")
    assert values.dtype == ml_dtypes.bfloat16 and np.array_equal(values.astype(np.float32), expected.float().numpy())
    assert np.array_equal(checkpoint.tensor("norm.weight", dtype="float32"), expected.float().numpy())
    out = torch.empty(expected.shape, dtype=torch.bfloat16)
    assert checkpoint.tensor("norm.weight", out=out) is out and torch.equal(out, expected)
    (left,) = checkpoint.left_alone
    assert (left.type, left.shape, left.nbytes) == ("BF16", tuple(expected.shape), expected.nbytes)
    for wrong in (torch.empty(3, dtype=torch.bfloat16), torch.empty(expected.shape, dtype=torch.float16)):
        with pytest.raises(ValueError, match=r"out (has shape|holds)"):
            checkpoint.tensor("norm.weight", out=wrong)
    for wrong_type in ("float16", "float64"):
        with pytest.raises(ValueError, match="must be 'float32' or 'bfloat16'"):
            checkpoint.tensor("norm.weight", dtype=wrong_type)
    with pytest.raises(KeyError, match="nothing is no tensor"):
        checkpoint.tensor("nothing")
    (q6, *_) = (t for t in zenwoq.load(CASES / "gguf" / "mixed_q4_k_m").left_alone if t.type == "q6_k")
    unpacked = zenwoq.load(CASES / "gguf" / "mixed_q4_k_m").tensor(q6.name)
    assert unpacked.dtype == np.float32 and unpacked.shape == q6.shape and unpacked.any()


def test_a_zwq_file(tmp_path):
    path = tmp_path / "model.zwq"
    source = zenwoq.load(CASES / "gptq" / "v1_act_order_g32")
    source.convert(path)
    assert source.config["model_type"] == "llama"
    with pytest.raises(zenwoq.Error) as caught:
        source.verify()
    assert caught.value.status == "ZENWOQ_ERROR_UNSUPPORTED"
    checkpoint = zenwoq.load(path)
    checkpoint.verify()
    assert checkpoint.config == source.config and list(checkpoint) == list(source)
    for name, layer in checkpoint.items():
        assert layer.format == f"zwq of {source[name].format}"
        weight = layer.mapped()
        assert weight.packed == layer.weight().packed == source[name].weight().packed
    assert np.array_equal(checkpoint.tensor("model.norm.weight"), source.tensor("model.norm.weight"))
    mapped = [line for line in Path("/proc/self/maps").read_text().splitlines() if line.endswith(str(path))]
    assert mapped
    expected = layer.dequantize()
    checkpoint.close()
    del checkpoint, layer
    assert np.array_equal(weight.dequantize(), expected)  # the file stays mapped
    damaged = bytearray(path.read_bytes())
    damaged[-70] ^= 1
    path.with_name("damaged.zwq").write_bytes(damaged)
    with pytest.raises(ValueError, match="damaged"):
        zenwoq.load(path.with_name("damaged.zwq")).verify()
    with pytest.raises(ValueError, match="nowhere"):
        source.convert(tmp_path / "nowhere" / "x.zwq")
    with pytest.raises(zenwoq.Error) as caught:
        next(iter(source.values())).mapped()
    assert caught.value.status == "ZENWOQ_ERROR_UNSUPPORTED"


def test_weights_outlive_their_checkpoint_and_memory_goes_with_the_last():
    checkpoint = zenwoq.load(FIXTURES / "torchao_intx.safetensors")
    gone = weakref.ref(checkpoint)
    layer = next(iter(checkpoint.values()))
    with checkpoint:
        weight = layer.weight()
        expected = layer.dequantize()
    with pytest.raises(ValueError, match="the checkpoint is closed"):
        layer.weight()
    assert np.array_equal(weight.dequantize(), expected)
    checkpoint.close()
    gc.disable()  # what lies in a cycle would wait for it
    try:
        del checkpoint, layer
        assert gone() is None
    finally:
        gc.enable()


def test_any_number_of_threads():
    checkpoint = zenwoq.load(FIXTURES / "torchao_intx.safetensors")
    expected = {name: layer.dequantize() for name, layer in checkpoint.items()}
    wrong: list[str] = []

    def load() -> None:
        for name, layer in checkpoint.items():
            if not np.array_equal(layer.dequantize(), expected[name]):
                wrong.append(name)

    threads = [threading.Thread(target=load) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_closing_while_threads_load():
    for _ in range(20):
        with zenwoq.load(FIXTURES / "torchao_intx.safetensors") as checkpoint, ThreadPoolExecutor(4) as pool:
            tasks = [pool.submit(layer.weight) for layer in checkpoint.values() for _ in range(4)]
            checkpoint.close()
        for task in tasks:
            assert task.exception() is None or "the checkpoint is closed" in str(task.exception())


def test_errors(tmp_path):
    with pytest.raises(ValueError, match=r"nowhere: cannot be opened: No such file"):
        zenwoq.load(tmp_path / "nowhere")
    (tmp_path / "model.bin").write_bytes(b"PK\x03\x04")
    with pytest.raises(ValueError, match="is a zip file"):
        zenwoq.load(tmp_path / "model.bin")
    with pytest.raises(zenwoq.Error) as caught:
        zenwoq.load(tmp_path)
    assert caught.value.status == "ZENWOQ_ERROR_BAD_FILE"
    with pytest.raises(ValueError, match="opaque_layout 'vsx'"):
        zenwoq.load(tmp_path, opaque_layout="vsx")


def test_the_layout_of_opaque_weights():
    path = FIXTURES / "opaque_avx2.safetensors"
    right = zenwoq.load(path, opaque_layout="avx2")
    assert all(np.isfinite(layer.dequantize()).all() for layer in right.values())


def test_the_config_beside_the_file_is_read(tmp_path):
    words = np.full((8, 8), 0x77777777, dtype=np.int32)
    zeros = np.full((1, 1), 0x77777777, dtype=np.int32)
    scales = np.full((1, 8), 0.5, dtype=np.float16)
    save_file({"q.qweight": words, "q.qzeros": zeros, "q.scales": scales}, tmp_path / "model.safetensors")
    for form, zero in (("gptq", 8), ("gptq_v2", 7)):
        config = {"quant_method": "gptq", "bits": 4, "group_size": -1, "checkpoint_format": form}
        (tmp_path / "config.json").write_text(json.dumps({"quantization_config": config}))
        assert (zenwoq.load(Path(tmp_path))["q"].dequantize() == 0.5 * (7 - zero)).all()
