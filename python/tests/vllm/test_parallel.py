# SPDX-FileCopyrightText: 2026 The zenwoq authors
# SPDX-License-Identifier: Apache-2.0
"""Engines of several processes against those of one. Those of every run of the tests are the server's."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from engines import answers_of, check, check_same, furthest

pytestmark = pytest.mark.long
Folder = Callable[[str], Path]
ROUNDED_SUMS = 0.4  # of logprobs: partial sums are rounded to bfloat16 and added


def several(folder: Path, **options: Any) -> Any:
    return answers_of(folder, distributed_executor_backend="mp", **options)


@pytest.mark.parametrize("name", ["ct-64", "mixtral-gptq"])
def test_pipeline(name: str, folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    # Without a warm-up, as eager models have none, the second process of vLLM 0.32 has no place for its input.
    monkeypatch.setenv("VLLM_CPU_CI_ENV", "0")
    traced = {"mode": 2, "backend": "eager", "custom_ops": ["all"]}
    given = several(folder(name), pipeline_parallel_size=2, enforce_eager=False, compilation_config=traced)
    check_same(given, answers_of(folder(name)))


@pytest.mark.parametrize("name", ["ct-asymmetric", "ct-channel", "gptq", "gptq-asymmetric", "awq", "quark"])
def test_tensor_parallel(name: str, folder: Folder) -> None:
    assert furthest(several(folder(name), tensor_parallel_size=2), answers_of(folder(name))) < ROUNDED_SUMS


@pytest.mark.parametrize("name", ["mixtral-ct", "qwen3-moe-gptq", "gpt-oss"])
@pytest.mark.parametrize("experts", [False, True], ids=["tensor", "expert"])
def test_experts(name: str, experts: bool, folder: Folder) -> None:
    check(several(folder(name), tensor_parallel_size=2, enable_expert_parallel=experts), folder(f"{name}-dense"))
