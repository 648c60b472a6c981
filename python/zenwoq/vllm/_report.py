# SPDX-FileCopyrightText: 2026 The zenwoq authors
# SPDX-License-Identifier: Apache-2.0
"""The line of the log that says what became of a model's layers."""

from __future__ import annotations

import logging
from collections import Counter

import torch
import vllm
from vllm.distributed import get_tensor_model_parallel_rank

import zenwoq

_log = logging.getLogger("vllm.plugins.zenwoq")
_MOST_NAMES = 3
DENSE = "not quantized"


class Report:
    """What became of the layers of one model."""

    def __init__(self) -> None:
        self._planned = 0
        self._done: Counter[str] = Counter()
        self._left: dict[str, list[str]] = {}
        self._types: set[torch.dtype] = set()

    def plans(self, x_type: torch.dtype) -> None:
        """A layer is made whose weight zenwoq will pack, unless the file has it dense."""
        self._planned += 1
        self._types.add(x_type)

    def has_plans(self) -> bool:
        """Whether there is such a layer."""
        return self._planned > 0

    def leaves(self, prefix: str, reason: str) -> None:
        """A layer is left to vLLM, and why. A reason that is not the checkpoint's own is written at once.

        A model of which all is left for it has no other line.
        """
        if reason not in self._left and reason != DENSE and get_tensor_model_parallel_rank() == 0:
            _log.warning("zenwoq leaves %s, and layers like it, to vLLM: %s", prefix, reason)
        self._left.setdefault(reason, []).append(prefix)

    def packed(self, what: str) -> None:
        """A layer that was planned is packed: ``"gptq linears"``."""
        self._done[what] += 1
        self._settle()

    def dense(self, prefix: str) -> None:
        """A layer that was planned is not quantized in the file."""
        self._done["dense"] += 1
        self.leaves(prefix, DENSE)
        self._settle()

    def _settle(self) -> None:
        """Writes the line once the last layer is packed: vLLM makes all layers before it packs the first."""
        if self._done.total() == self._planned and get_tensor_model_parallel_rank() == 0:
            _log.info("%s", self.text())

    def text(self) -> str:
        """The line."""
        taken = [f"{count} {what}" for what, count in self._done.items() if what != "dense"]
        left = [f"{len(names)} ({_some(names)}: {reason})" for reason, names in self._left.items()]
        rounded = sorted(str(kind).removeprefix("torch.") for kind in self._types - {torch.bfloat16})
        return (
            f"zenwoq {zenwoq.__version__} in vLLM {vllm.__version__}, tier {zenwoq.cpu_info().tier}, took "
            f"{', '.join(taken) or 'no layers'}; left to vLLM {', '.join(left) or 'none'}"
            + (f"; activations of {', '.join(rounded)} are rounded to bfloat16" if rounded else "")
        )


def _some(names: list[str]) -> str:
    more = "" if len(names) <= _MOST_NAMES else ", ..."
    return ", ".join(names[:_MOST_NAMES]) + more
