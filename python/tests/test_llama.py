# SPDX-FileCopyrightText: 2026 The zenwoq authors
# SPDX-License-Identifier: Apache-2.0
"""Whole Llamas: every flow against TorchAO in float32, compiling without graph breaks, and the real model's words."""

from __future__ import annotations

import copy
import os

import pytest
import torch
import zenwoq.torch
from conftest import FLOWS, configs, tiny_llama
from torchao.quantization import quantize_


def quantized(flow: str, dtype: torch.dtype) -> torch.nn.Module:
    model = tiny_llama(dtype)
    quantize_(model, configs(32)[flow]())
    return model


@pytest.mark.parametrize("flow", FLOWS)
def test_logits_are_torchaos(flow):
    """TorchAO computes in float32 here, so what differs is the rounding of activations to bf16, 2^-9 each."""
    model = quantized(flow, torch.float32)
    ids = torch.arange(48).view(2, 24)
    with torch.no_grad():
        expected = model(ids).logits
        report = zenwoq.torch.optimize(model, progress=False)
        assert len(report.replaced) == 15, report
        logits = model(ids).logits
    error = (logits - expected).norm() / expected.norm()
    assert error < 2**-7, f"relative error {error:.2e}"
    assert logits.dtype == torch.float32


def test_bits_of_a_sequence_do_not_depend_on_its_batch():
    model = quantized("intx-group", torch.bfloat16)
    zenwoq.torch.optimize(model, progress=False)
    hidden = torch.randn(3, 9, 128, dtype=torch.bfloat16)
    mlp = model.model.layers[0].mlp
    with torch.no_grad():
        whole = mlp(hidden)
        for i in range(3):
            assert torch.equal(mlp(hidden[i : i + 1]), whole[i : i + 1])


@pytest.mark.parametrize("backend", ["eager", "inductor"])
def test_compiled_without_graph_breaks(backend):
    torch._dynamo.reset()
    model = quantized("intx-group", torch.bfloat16)
    zenwoq.torch.optimize(model, progress=False)
    wide = copy.deepcopy(model).float()
    compiled = torch.compile(model, backend=backend, fullgraph=True, dynamic=True)
    with torch.no_grad():
        for shape in ((1, 7), (2, 12), (3, 5)):
            ids = torch.randint(0, 256, shape)
            expected = model(ids, use_cache=False).logits
            logits = compiled(ids, use_cache=False).logits
            if backend == "eager":
                assert torch.equal(logits, expected)
            else:  # inductor rounds to bf16 less often than eager torch does, so it is nearer to float32
                exact = wide(ids, use_cache=False).logits
                assert (logits - exact).norm() <= 1.1 * (expected - exact).norm()


def test_exported():
    model = quantized("opaque", torch.bfloat16)
    zenwoq.torch.optimize(model, progress=False)
    mlp = model.model.layers[0].mlp
    length = torch.export.Dim("length", max=512)
    program = torch.export.export(mlp, (torch.randn(1, 4, 128, dtype=torch.bfloat16),), dynamic_shapes=({1: length},))
    x = torch.randn(1, 11, 128, dtype=torch.bfloat16)
    with torch.no_grad():
        assert torch.equal(program.module()(x), mlp(x))


# "Name three colours." in the model's chat template. Reading the tokenizer from the GGUF file would take the longest.
PROMPT = (1, 9690, 198, 2683, 359, 253, 5356, 5646, 11173, 3365, 3511, 308, 34519, 28, 7018, 411, 407, 19712, 8182, 2)
PROMPT += (198, 1, 4093, 198, 5820, 1296, 14797, 30, 2, 198, 1, 520, 9531, 198)


def test_real_model_says_the_same_words(smollm2):
    """20 greedy tokens from the Q4_1 file equal those of the same weights in float32, or first differ at a near tie."""
    from transformers import AutoConfig, AutoModelForCausalLM

    folder, file = smollm2
    config = AutoConfig.from_pretrained(folder, gguf_file=file)
    options = {"config": config, "gguf_file": file, "attn_implementation": "sdpa", "dtype": torch.float32}
    with zenwoq.torch.keep_gguf_packed():
        model = AutoModelForCausalLM.from_pretrained(folder, **options)
    report = zenwoq.torch.optimize(model, progress=False)
    assert len(report.replaced) == 210 and [layer.name for layer in report.left] == ["lm_head"], report
    assert {layer.quantization for layer in report.replaced} == {"gguf q4_1"}
    dense = AutoModelForCausalLM.from_pretrained(folder, **options)
    for name, layer in model.named_modules():
        if isinstance(layer, zenwoq.torch.Linear):
            assert torch.equal(layer.dequantize(torch.float32), dense.get_submodule(name).weight), name
    ids = torch.tensor([PROMPT])
    ours = model.generate(ids, max_new_tokens=20, do_sample=False)
    theirs = dense.generate(ids, max_new_tokens=20, do_sample=False)
    if torch.equal(ours, theirs):
        return
    at = int((ours != theirs).int().argmax())
    with torch.no_grad():
        logits = dense(theirs[:, :at]).logits[0, -1]
    gap = (logits[theirs[0, at]] - logits[ours[0, at]]).item()
    assert gap <= 2**-8 * logits.abs().max().item(), f"token {at} differs by {gap} in its logits"


@pytest.mark.skipif(
    not os.environ.get("ZENWOQ_SLOW_TESTS"), reason="set ZENWOQ_SLOW_TESTS for the real model in each flow"
)
@pytest.mark.parametrize("flow", ["intx-group", "intx-channel", "opaque"])
def test_real_model_in_each_flow(smollm2, flow):
    from transformers import AutoModelForCausalLM

    folder, file = smollm2
    model = AutoModelForCausalLM.from_pretrained(
        folder, gguf_file=file, attn_implementation="sdpa", dtype=torch.bfloat16
    )
    quantize_(
        model, configs(64)[flow](), lambda module, name: isinstance(module, torch.nn.Linear) and "lm_head" not in name
    )
    ids = torch.arange(100, 116)[None]
    with torch.no_grad():
        expected = model(ids).logits.float()
        report = zenwoq.torch.optimize(model, progress=False)
        logits = model(ids).logits.float()
    assert len(report.replaced) == 210
    assert (logits - expected).norm() / expected.norm() < 0.05
