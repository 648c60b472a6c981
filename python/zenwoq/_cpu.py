# SPDX-FileCopyrightText: 2026 The zenwoq authors
# SPDX-License-Identifier: Apache-2.0
"""What the library knows about the CPU."""

from __future__ import annotations

from ctypes import byref
from dataclasses import dataclass

from zenwoq import _library
from zenwoq._structs import CpuInfoStruct


@dataclass(frozen=True)
class CpuInfo:
    """The CPU and what runs on it.

    Attributes:
        vendor: ``"AuthenticAMD"``.
        brand: the CPU's brand string.
        uarch: ``"zen1"`` to ``"zen5"``, or ``"unknown"``.
        tuning: the table of tiles in use: ``"zen4"``, ``"zen5"`` or ``"generic"``.
        family: CPUID family.
        model: CPUID model.
        stepping: CPUID stepping.
        avx2: whether the CPU and system have what the tier ``"avx2"`` needs: AVX2, FMA, F16C and BMI2.
        avx512bf16: whether they have what the tier ``"avx512bf16"`` needs.
        l1d_bytes: level-1 data cache of a core.
        l2_bytes: level-2 cache of a core.
        l3_bytes: level-3 cache of a core complex.
        cache_source: ``"cpuid"`` or ``"fallback"``.
        threads: the number of threads that :func:`zenwoq.linear` may use: CPUs of the affinity mask at the first call
            of zenwoq, at most as many as the quotas of the process's cgroups allow. With ``OMP_PROC_BIND`` set,
            ``import torch`` leaves the main thread one CPU: call ``zenwoq.cpu_info()`` before it, or
            ``os.sched_setaffinity`` after it. Models in torch run on torch's threads, whatever this number is.
        tier: the tier that runs: ``"avx512bf16"`` or ``"avx2"`` (generated kernels), or ``"reference"`` (plain C++).
        tier_reason: why no higher tier runs; empty if none is higher.
        code_memory: ``"memfd"``, ``"mprotect"``, or ``"none: ..."`` with the system's reason.
    """

    vendor: str
    brand: str
    uarch: str
    tuning: str
    family: int
    model: int
    stepping: int
    avx2: bool
    avx512bf16: bool
    l1d_bytes: int
    l2_bytes: int
    l3_bytes: int
    cache_source: str
    threads: int
    tier: str
    tier_reason: str
    code_memory: str


def cpu_info() -> CpuInfo:
    """Describes the CPU, the tier that runs on it and why not a higher one.

    Raises:
        ValueError: the environment variable ``ZENWOQ_TIER`` has an unknown value.
    """
    info = CpuInfoStruct()
    _library.call("zenwoq_context_cpu_info", _library.context(), byref(info))
    values = {field: getattr(info, field) for field in CpuInfo.__dataclass_fields__}
    texts = {field: value.decode(errors="replace") for field, value in values.items() if isinstance(value, bytes)}
    flags = {field: bool(values[field]) for field in ("avx2", "avx512bf16")}
    return CpuInfo(**{**values, **texts, **flags, "tier": _library.tier_name(info.tier)})
