# SPDX-FileCopyrightText: 2026 The zenwoq authors
# SPDX-License-Identifier: Apache-2.0
"""Engines of vLLM, what they answer, and what a dense model of the same values says of the answers."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import torch

LENGTHS = (5, 17, 64, 100)
TOKENS = 8
# Differences of logprobs (whose deviation is about 4) between bfloat16 in vLLM and float32 in transformers. One in ten
# may be larger, where a rounding decides which experts are chosen.
MEDIAN, MOST = 0.1, 0.4
NEAR_TIE = 0.3


def prompts() -> list[list[int]]:
    """Random tokens."""
    generator = torch.Generator().manual_seed(5)
    return [torch.randint(6, 512, (length,), generator=generator).tolist() for length in LENGTHS]


@contextlib.contextmanager
def engine(folder: Path, **options: Any) -> Iterator[Any]:
    """An LLM, and in the end nothing of it."""
    from vllm import LLM
    from vllm.distributed import cleanup_dist_env_and_memory

    given = {
        "dtype": "bfloat16", "max_model_len": 256, "max_num_seqs": 8, "max_num_batched_tokens": 256,
        "enable_prefix_caching": False, "kv_cache_memory_bytes": 32 << 20, "enforce_eager": True, "seed": 0,
    } | options  # fmt: skip
    # vLLM collects garbage nine times an engine, half a second each: of all that is imported.
    with mock.patch("gc.collect"):
        llm = LLM(model=str(folder), **given)
        try:
            yield llm
        finally:
            llm.llm_engine.engine_core.shutdown()
            del llm
            cleanup_dist_env_and_memory()


@dataclasses.dataclass
class Answer:
    """What was asked and answered.

    Attributes:
        logprobs: of all tokens but the first.
        leads: how far each token of the answer is before the second best, in logprobs.
    """

    prompt: list[int]
    tokens: list[int]
    logprobs: torch.Tensor
    leads: list[float]

    @property
    def ids(self) -> list[int]:
        return self.prompt + self.tokens


def answers(llm: Any) -> list[Answer]:
    """Greedy answers to the prompts."""
    from vllm import SamplingParams

    how = SamplingParams(temperature=0, max_tokens=TOKENS, prompt_logprobs=0, logprobs=2, ignore_eos=True)
    asked = prompts()
    given = llm.generate([{"prompt_token_ids": prompt} for prompt in asked], how, use_tqdm=False)
    made = []
    for prompt, output in zip(asked, given, strict=True):
        tokens = list(output.outputs[0].token_ids)
        assert len(tokens) == TOKENS
        steps = output.prompt_logprobs[1:] + output.outputs[0].logprobs
        logprobs = [step[i].logprob for step, i in zip(steps, prompt[1:] + tokens, strict=True)]
        best = [sorted((one.logprob for one in step.values()), reverse=True) for step in output.outputs[0].logprobs]
        made.append(Answer(prompt, tokens, torch.tensor(logprobs), [first - second for first, second, *_ in best]))
    return made


def answers_of(folder: Path, **options: Any) -> list[Answer]:
    with engine(folder, **options) as llm:
        return answers(llm)


@functools.cache
def dense(folder: Path) -> Any:
    """A dense model in float32."""
    import transformers

    model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    if hasattr(model, "set_experts_implementation"):
        model.set_experts_implementation("eager")
    return model.eval()


def check(given: list[Answer], dense_folder: Path) -> None:
    """Answers are a dense model's, but for the roundings of bfloat16."""
    differences, lags = [], []
    for answer in given:
        with torch.no_grad():
            logprobs = dense(dense_folder)(torch.tensor([answer.ids])).logits[0, :-1].log_softmax(-1)
        expected = logprobs.gather(1, torch.tensor(answer.ids[1:])[:, None])[:, 0]
        differences.append((answer.logprobs - expected).abs())
        # How far each token of the answer is behind the dense model's best one.
        lags.append((logprobs.max(-1).values - expected)[len(answer.prompt) - 1 :])
    all_differences, all_lags = torch.cat(differences), torch.cat(lags)
    assert all_differences.median() < MEDIAN, all_differences
    assert all_differences.quantile(0.9) < MOST, all_differences
    assert (all_lags > NEAR_TIE).float().mean() < 0.1, all_lags


def tokens_of(given: list[Answer]) -> list[list[int]]:
    return [answer.tokens for answer in given]


def agreed(answer: Answer, tokens: list[int]) -> int:
    """How many tokens of another engine's answer are the same: all of them, or those before a near tie."""
    assert len(tokens) == len(answer.tokens)
    for i, (one, other) in enumerate(zip(answer.tokens, tokens, strict=True)):
        if one != other:
            assert answer.leads[i] < NEAR_TIE, f"token {i}: {one}, {other} elsewhere, a lead of {answer.leads[i]:.3f}"
            return i
    return len(tokens)


def furthest(one: list[Answer], other: list[Answer]) -> float:
    """The largest difference of logprobs of tokens with the same history."""
    largest = 0.0
    for a, b in zip(one, other, strict=True):
        same = len(a.prompt) - 1 + agreed(a, b.tokens)
        largest = max(largest, (a.logprobs - b.logprobs)[:same].abs().max().item())
    return largest


def check_same(one: list[Answer], other: list[Answer]) -> None:
    """Answers of other engines are the same in every bit."""
    assert tokens_of(one) == tokens_of(other)
    assert furthest(one, other) == 0
