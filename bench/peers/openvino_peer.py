# SPDX-FileCopyrightText: 2026 The zenwoq authors
# SPDX-License-Identifier: Apache-2.0
"""OpenVINO: one model with a product for each copy, compressed as OpenVINO's model compression does (i4, f16 scales).

settings: dynamic_quantization, the group size of int8 activations: left out = its own choice, 0 = none, "weight" = the
weight's; precision, "bf16" or left out.
"""

from __future__ import annotations

import collections
import importlib.metadata
from typing import Any

import numpy as np
import openvino
from openvino import opset13 as ops

from bench.peers.operands import Array, Problem
from bench.peers.peer import Peer


class OpenVino(Peer):
    """Runs all copies in one request."""

    def __init__(self, threads: int, settings: dict[str, Any]):
        super().__init__(threads, settings)
        self._core = openvino.Core()
        self._compiled: Any = None
        self._request: Any = None
        self._x: Array | None = None

    def about(self) -> dict[str, Any]:
        """The version."""
        return {"version": importlib.metadata.version("openvino")}

    def prepare(self, problem: Problem) -> None:
        """Compiles a model for this M."""
        self.release()
        # Placing threads is left to the system for all peers.
        options = {
            "INFERENCE_NUM_THREADS": self.threads,
            "NUM_STREAMS": 1,
            "PERFORMANCE_HINT": "LATENCY",
            "ENABLE_CPU_PINNING": False,
        }
        if "dynamic_quantization" in self.settings:
            size = self.settings["dynamic_quantization"]
            options["DYNAMIC_QUANTIZATION_GROUP_SIZE"] = problem.group if size == "weight" else size
        if "precision" in self.settings:
            options["INFERENCE_PRECISION_HINT"] = self.settings["precision"]
        self._compiled = self._core.compile_model(self._model(problem), "CPU", options)
        self._require_4_bit(problem.copies)
        self._x = problem.x()
        self._request = self._compiled.create_infer_request()
        self._request.set_input_tensor(openvino.Tensor(self._x, shared_memory=True))

    def run(self) -> None:
        """Runs the whole model, but not by infer(), which copies all outputs."""
        self._request.start_async()
        self._request.wait()

    def output(self, index: int) -> Array:
        """The output of a copy."""
        output: Array = self._request.get_output_tensor(index).data
        return output

    def release(self) -> None:
        """Drops the model."""
        self._compiled = self._request = self._x = None

    def notes(self) -> str:
        """The kernels that OpenVINO chose."""
        size = self._compiled.get_property("DYNAMIC_QUANTIZATION_GROUP_SIZE")
        precision = self._compiled.get_property("INFERENCE_PRECISION_HINT")
        return f"dynamic quantization group {size}, precision {precision.get_type_name()}"

    def _model(self, problem: Problem) -> Any:
        n, k, group = problem.n, problem.k, problem.group
        x = ops.parameter([problem.m, k], np.float32)
        results = []
        for i in range(problem.copies):
            weight = problem.weight(i)
            signed = weight.codes ^ 0x88  # code - 8 as two's complement; must live until the constant has copied it
            tensor = openvino.Tensor(signed, openvino.Shape([n, k // group, group]), openvino.Type.i4)
            codes = ops.constant(tensor, shared_memory=False)
            scales = ops.constant(weight.scales().astype(np.float16).reshape(n, k // group, 1))
            groups = ops.multiply(ops.convert(codes, "f16"), scales)
            values = ops.reshape(groups, ops.constant(np.array([n, k], np.int64)), False)
            results.append(ops.result(ops.matmul(x, ops.convert(values, "f32"), False, True)))
        return openvino.Model(results, [x], "layers")

    def _require_4_bit(self, copies: int) -> None:
        """Checks the graph that runs for a FullyConnected node and a 4-bit constant per copy, none folded or merged."""
        nodes = collections.Counter[str]()
        for node in self._compiled.get_runtime_model().get_ordered_ops():
            info = node.get_rt_info()
            kind = info["layerType"].astype(str)
            precision = info["runtimePrecision"].astype(str)
            nodes["4-bit constants"] += kind == "Const" and precision in ("i4", "u4")
            nodes["FullyConnected"] += kind == "FullyConnected"
        if any(nodes[name] != copies for name in ("4-bit constants", "FullyConnected")):
            raise RuntimeError(f"{copies} layers became {dict(nodes)}")
