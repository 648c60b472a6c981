# SPDX-FileCopyrightText: 2026 The zenwoq authors
# SPDX-License-Identifier: Apache-2.0
"""Linear layers with 4-bit weights and bf16 activations on AMD Zen CPUs.

Works on arrays of any library (NumPy, DLPack, buffers) without importing it; :func:`load` opens 4-bit checkpoints. For
torch models: :mod:`zenwoq.torch`, which is imported on its own.
"""

from zenwoq._cpu import CpuInfo, cpu_info
from zenwoq._formats import Checkpoint, Layer, LeftAlone, load
from zenwoq._library import Error, version
from zenwoq._linear import linear
from zenwoq._weight import Weight

__version__ = version()
__all__ = [
    "Checkpoint",
    "CpuInfo",
    "Error",
    "Layer",
    "LeftAlone",
    "Weight",
    "__version__",
    "cpu_info",
    "linear",
    "load",
]
