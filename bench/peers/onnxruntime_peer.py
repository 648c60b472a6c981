# SPDX-FileCopyrightText: 2026 The zenwoq authors
# SPDX-License-Identifier: Apache-2.0
"""onnxruntime: one model with a MatMulNBits node for each copy.

It is the same with networks, all of whose layers share the cost of a call. settings: accuracy_level, 1 = f32
activations, 4 = int8 activations.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnxruntime
from onnx import TensorProto, helper

from bench.peers.operands import Array, Problem
from bench.peers.peer import Peer


class OnnxRuntime(Peer):
    """Runs all copies in one session."""

    def __init__(self, threads: int, settings: dict[str, Any]):
        super().__init__(threads, settings)
        self._session: Any = None
        self._binding: Any = None
        self._built: object = None
        self._outputs: list[Array] = []

    def about(self) -> dict[str, Any]:
        """Version and provider."""
        return {"version": onnxruntime.__version__, "provider": "CPUExecutionProvider"}

    def prepare(self, problem: Problem) -> None:
        """Builds a model if the weights are new: it takes any M."""
        built = problem.weights_key, problem.copies
        if self._built != built:
            self.release()
            self._session = self._create(self._model(problem))
            self._built = built
        self._outputs = [np.empty((problem.m, problem.n), np.float32) for _ in range(problem.copies)]
        self._binding = self._session.io_binding()
        self._binding.bind_ortvalue_input("x", onnxruntime.OrtValue.ortvalue_from_numpy(problem.x()))
        for i, output in enumerate(self._outputs):
            self._binding.bind_ortvalue_output(f"y{i}", onnxruntime.OrtValue.ortvalue_from_numpy(output))

    def run(self) -> None:
        """Runs the whole model."""
        self._session.run_with_iobinding(self._binding)

    def output(self, index: int) -> Array:
        """The output of a copy."""
        output: Array = self._binding.get_outputs()[index].numpy()
        return output

    def release(self) -> None:
        """Drops the model."""
        self._built = self._session = self._binding = None
        self._outputs = []

    def _model(self, problem: Problem) -> Any:
        """The serialized model. Every copy has different weights, because equal nodes would be merged."""
        n, k, groups = problem.n, problem.k, problem.k // problem.group
        nodes, weights, outputs = [], [], []
        for i in range(problem.copies):
            weight = problem.weight(i)
            # Without zero points a code's value is code - 8.
            weights.append(
                helper.make_tensor(
                    f"codes{i}", TensorProto.UINT8, (n, groups, problem.group // 2), weight.codes.tobytes(), raw=True
                )
            )
            weights.append(
                helper.make_tensor(f"scales{i}", TensorProto.FLOAT, (n, groups), weight.scales().tobytes(), raw=True)
            )
            nodes.append(
                helper.make_node(
                    "MatMulNBits",
                    ["x", f"codes{i}", f"scales{i}"],
                    [f"y{i}"],
                    domain="com.microsoft",
                    K=k,
                    N=n,
                    bits=4,
                    block_size=problem.group,
                    accuracy_level=self.settings["accuracy_level"],
                )
            )
            outputs.append(helper.make_tensor_value_info(f"y{i}", TensorProto.FLOAT, ("M", n)))
        inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, ("M", k))]
        model = helper.make_model(
            helper.make_graph(nodes, "layers", inputs, outputs, weights),
            opset_imports=[helper.make_opsetid("", 21), helper.make_opsetid("com.microsoft", 1)],
        )
        model.ir_version = 10  # the newest may be ahead of the runtime
        return model.SerializeToString()

    def _create(self, model: Any) -> Any:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = self.threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
