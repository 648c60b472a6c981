# SPDX-FileCopyrightText: 2026 The zenwoq authors
# SPDX-License-Identifier: Apache-2.0
"""What the torch operator costs over the C call: one thread, M = 1."""

from __future__ import annotations

import ctypes
from collections.abc import Callable

import torch
import zenwoq
import zenwoq.torch
from zenwoq import _library
from zenwoq._structs import Dtype, LinearDesc, Packed, RunArgs

from bench.llm.report import Row
from bench.llm.timing import call_seconds


def operator_row(n: int, k: int, repeats: int) -> Row:
    """The cost of the torch operator over ``zenwoq_packed_run``, called through ctypes with everything prepared."""
    weight = zenwoq.Weight(torch.zeros((n, k // 2), dtype=torch.uint8), torch.ones((n, k // 64), dtype=torch.bfloat16))
    layer = zenwoq.torch.Linear(torch.frombuffer(bytearray(weight.packed), dtype=torch.uint8).clone())
    x, y = torch.ones((1, k), dtype=torch.bfloat16), torch.empty((1, n), dtype=torch.bfloat16)
    packed, operator = layer.packed, torch.ops.zenwoq.linear.default
    run = prepared_call(packed, n, k, x, y)
    with torch.inference_mode():
        times = {
            "c_us": call_seconds(run, repeats) - call_seconds(_library._library().zenwoq_version, repeats),
            "operator_us": call_seconds(lambda: operator(x, packed, None, n), repeats),
            "module_us": call_seconds(lambda: layer(x), repeats),
        }
    values = {"n": n, "k": k, **{name: 1e6 * value for name, value in times.items()}}
    values["over_c_us"] = values["operator_us"] - values["c_us"]
    note = "operator {operator_us:.2f} us, C {c_us:.2f} us, module {module_us:.2f} us; 1 thread".format(**values)
    return Row("operator", f"cost over the C call, {n} x {k}", f"{values['over_c_us']:.2f} us", "", note, values)


def prepared_call(packed: torch.Tensor, n: int, k: int, x: torch.Tensor, y: torch.Tensor) -> Callable[[], object]:
    """A bare call of ``zenwoq_packed_run`` from bf16 ``[1, k]`` to bf16 ``[1, n]`` on one thread."""
    bf16 = Dtype.BFLOAT16
    weight = Packed(packed=packed.data_ptr(), packed_bytes=packed.nbytes, n=n, k=k)
    desc = LinearDesc(output_type=bf16, bias_type=Dtype.FLOAT32)
    args = RunArgs(
        m=1, x_type=bf16, x=x.data_ptr(), ldx=k, x_bytes=x.nbytes, y=y.data_ptr(), ldy=n, y_bytes=y.nbytes, threads=1
    )
    function = ctypes.CDLL(str(_library.library_path())).zenwoq_packed_run
    arguments = (_library.context(), ctypes.byref(weight), ctypes.byref(desc), ctypes.byref(args))
    if function(*arguments) != 0:
        raise RuntimeError(_library._library().zenwoq_last_error().decode())
    return lambda: function(*arguments)
