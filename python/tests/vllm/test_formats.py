# SPDX-FileCopyrightText: 2026 The zenwoq authors
# SPDX-License-Identifier: Apache-2.0
"""Models of every format in vLLM, eager, in this process."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import engines
import pytest
from engines import Answer, answers_of, check, check_same, furthest, tokens_of

# Formats that hold the same values: their answers are the same in every bit.
SYMMETRIC = ["gptq", "auto-round", "quark", "torchao"]
ASYMMETRIC = ["awq", "gptq-asymmetric", "gptq-v2", "auto-round-awq", "quark-asymmetric"]
OTHERS = [
    "ct-32", "ct-channel", "gptq-fine", "gptq-act-order", "mixtral-ct", "mixtral-ct-asymmetric", "mixtral-gptq",
    "mixtral-awq", "qwen3-moe-ct", "qwen3-moe-ct-asymmetric", "qwen3-moe-gptq", "qwen3-moe-awq", "gpt-oss",
]  # fmt: skip
DENSE_BOUND = 0.1  # of logprobs: vLLM's dense bfloat16 layers sum in another order

Folder = Callable[[str], Path]


@pytest.fixture(scope="module")
def symmetric(folder: Folder) -> list[Answer]:
    return answers_of(folder("ct-64"))


@pytest.fixture(scope="module")
def asymmetric(folder: Folder) -> list[Answer]:
    return answers_of(folder("ct-asymmetric"))


def test_symmetric(symmetric: list[Answer], folder: Folder) -> None:
    check(symmetric, folder("ct-64-dense"))
    assert len({tuple(tokens) for tokens in tokens_of(symmetric)}) == len(symmetric)


def test_asymmetric(asymmetric: list[Answer], folder: Folder) -> None:
    check(asymmetric, folder("ct-asymmetric-dense"))


def test_dense_in_vllm(symmetric: list[Answer], folder: Folder) -> None:
    dense = answers_of(folder("ct-64-dense"))
    check(dense, folder("ct-64-dense"))
    assert furthest(symmetric, dense) < DENSE_BOUND


@pytest.mark.parametrize("name", SYMMETRIC)
def test_same_values(name: str, symmetric: list[Answer], folder: Folder) -> None:
    check_same(answers_of(folder(name)), symmetric)


@pytest.mark.parametrize("name", ASYMMETRIC)
def test_same_asymmetric_values(name: str, asymmetric: list[Answer], folder: Folder) -> None:
    check_same(answers_of(folder(name)), asymmetric)


@pytest.mark.parametrize("name", OTHERS)
def test_format(name: str, folder: Folder) -> None:
    check(answers_of(folder(name)), folder(f"{name}-dense"))


def test_log(folder: Folder, lines: list[str]) -> None:
    import zenwoq

    with engines.engine(folder("ct-64")):
        pass
    (line,) = [line for line in lines if " took " in line]
    assert f"zenwoq {zenwoq.__version__}" in line
    assert f"tier {zenwoq.cpu_info().tier}" in line
    assert "took 8 compressed-tensors linears; left to vLLM 1 (lm_head: not quantized)" in line


# Norms and activations by vLLM's own operators, which eager models use: torch's round elsewhere.
COMPILED = {"enforce_eager": False, "compilation_config": {"custom_ops": ["all"]}}


@pytest.mark.parametrize("name", ["ct-64", "mixtral-ct"])
def test_compiled(name: str, folder: Folder, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("VLLM_CACHE_ROOT", str(tmp_path))  # nothing that was compiled before
    check_same(answers_of(folder(name), **COMPILED), answers_of(folder(name)))


@pytest.mark.long
@pytest.mark.parametrize("name", ["ct-64", "gptq-act-order", "mixtral-ct", "gpt-oss"])
def test_inductor(name: str, folder: Folder, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("VLLM_CACHE_ROOT", str(tmp_path))
    monkeypatch.setenv("VLLM_CPU_CI_ENV", "0")
    # In a process of its own: in one that has compiled, no second engine of vLLM's does.
    given = answers_of(folder(name), enforce_eager=False, distributed_executor_backend="mp")
    check(given, folder(f"{name}-dense"))
