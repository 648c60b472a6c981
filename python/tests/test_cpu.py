# SPDX-FileCopyrightText: 2026 The zenwoq authors
# SPDX-License-Identifier: Apache-2.0
"""The number of threads where an OpenMP runtime has bound the main thread: what the documentation says of it is so."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
import zenwoq

needs_cpus = pytest.mark.skipif(zenwoq.cpu_info().threads < 2, reason="this process may use one CPU only")


def threads_after(program: str) -> int:
    """``zenwoq.cpu_info().threads`` at the end of a program that OMP_PROC_BIND binds."""
    code = f"import os; cpus = os.sched_getaffinity(0)\n{program}\nimport zenwoq; print(zenwoq.cpu_info().threads)"
    environment = {**os.environ, "OMP_PROC_BIND": "true"}
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=120, env=environment
    )
    assert result.returncode == 0, result.stderr
    return int(result.stdout)


@needs_cpus
def test_torch_first_leaves_one_cpu():
    assert threads_after("import torch; assert len(os.sched_getaffinity(0)) == 1") == 1


@needs_cpus
@pytest.mark.parametrize(
    "remedy",
    ["import zenwoq; zenwoq.cpu_info(); import torch", "import torch; os.sched_setaffinity(0, cpus)"],
    ids=["zenwoq-first", "mask-again"],
)
def test_remedies(remedy):
    unbound = threads_after("")
    assert threads_after(remedy) == unbound > 1
