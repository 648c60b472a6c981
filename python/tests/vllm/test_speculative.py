# SPDX-FileCopyrightText: 2026 The zenwoq authors
# SPDX-License-Identifier: Apache-2.0
"""Speculative decoding: a packed draft model changes no answer."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from engines import answers, answers_of, check_same, engine
from zenwoq.vllm._linear import LinearMethod

Folder = Callable[[str], Path]


@pytest.mark.parametrize("draft", ["ct-64", "gptq"])
def test_answers_are_those_without(draft: str, folder: Folder) -> None:
    how: dict[str, Any] = {"method": "draft_model", "model": str(folder(draft)), "num_speculative_tokens": 3}
    with engine(folder("ct-64"), speculative_config=how, disable_log_stats=False) as llm:
        given = answers(llm)
        proposed = sum(m.value for m in llm.get_metrics() if m.name == "vllm:spec_decode_num_draft_tokens")
        model = llm.llm_engine.model_executor.driver_worker.worker.model_runner.drafter.model
    taken = [m for m in model.modules() if isinstance(getattr(m, "quant_method", None), LinearMethod)]
    assert len(taken) == 8 and proposed > 0
    check_same(given, answers_of(folder("ct-64")))
