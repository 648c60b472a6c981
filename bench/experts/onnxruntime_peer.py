# SPDX-FileCopyrightText: 2026 The zenwoq authors
# SPDX-License-Identifier: Apache-2.0
"""onnxruntime's QMoE on the CPU: block-wise 4-bit experts, SwiGLU with alpha 1 and beta 0, which is silu(gate) * up.

On the CPU it takes gate and up only as interleaved rows of one weight. It chooses experts by router_probs, here large
for those of the routing, and weighs them by router_weights. settings: accuracy_level, 0 = f32 activations, 4 = int8.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper

from bench.experts.operands import DOWN, GATE, UP, Problem, Routing
from bench.experts.peer import Peer
from bench.peers.operands import Array, bf16_to_f32


class QMoE(Peer):
    """One model of one node."""

    def __init__(self, threads: int, settings: dict[str, Any]):
        super().__init__(threads, settings)
        self._session: Any = None
        self._bindings: list[Any] = []

    def about(self) -> dict[str, Any]:
        """Version and provider."""
        return {"version": onnxruntime.__version__, "provider": "CPUExecutionProvider"}

    def pack(self, problem: Problem) -> None:
        """Builds the model: it takes any number of tokens. Its weights lie beside it: a model has at most 2 GiB."""
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = self.threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "model.onnx"
            onnx.save(self._model(problem), path, save_as_external_data=True, location="weights")
            self._session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])

    def bind(self, problem: Problem) -> None:
        """A binding for each routing; they share input and output."""
        x = onnxruntime.OrtValue.ortvalue_from_numpy(problem.x())
        y = onnxruntime.OrtValue.ortvalue_from_numpy(np.empty(problem.x_bits.shape, np.float32))
        self._bindings = []
        for routing in problem.routings:
            binding = self._session.io_binding()
            binding.bind_ortvalue_input("x", x)
            for name, values in zip(("probs", "weights"), self._router(problem, routing), strict=True):
                binding.bind_ortvalue_input(name, onnxruntime.OrtValue.ortvalue_from_numpy(values))
            binding.bind_ortvalue_output("y", y)
            self._bindings.append(binding)

    def run(self, index: int) -> None:
        """Runs the model."""
        self._session.run_with_iobinding(self._bindings[index])

    def output(self, index: int) -> Array:
        """The output."""
        output: Array = self._bindings[index].get_outputs()[0].numpy()
        return output

    def release(self) -> None:
        """Drops the model."""
        self._bindings = []
        self._session = None

    def _router(self, problem: Problem, routing: Routing) -> tuple[Array, Array]:
        """router_probs and router_weights, f32 [T,E]."""
        probs = np.zeros((problem.tokens, problem.block.experts), np.float32)
        weights = probs.copy()
        np.put_along_axis(probs, routing.ids, 10, axis=1)
        np.put_along_axis(weights, routing.ids, routing.weights, axis=1)
        return probs, weights

    def _model(self, problem: Problem) -> Any:
        block = problem.block
        experts, hidden, intermediate = block.experts, block.hidden, block.intermediate
        fc1 = [
            np.stack([gate, up], axis=2).reshape(experts, 2 * intermediate, -1)
            for gate, up in zip(problem.stacked(GATE), problem.stacked(UP), strict=True)
        ]
        constants = []
        for name, (codes, scale_bits) in (("fc1", fc1), ("fc2", problem.stacked(DOWN))):
            scales = bf16_to_f32(scale_bits)
            for kind, type_, array in (("codes", TensorProto.UINT8, codes), ("scales", TensorProto.FLOAT, scales)):
                constants.append(helper.make_tensor(f"{name}_{kind}", type_, array.shape, array.tobytes(), raw=True))
        # Without zero points a code's value is code - 8.
        inputs = ["x", "probs", "fc1_codes", "fc1_scales", "", "fc2_codes", "fc2_scales", *[""] * 7, "weights"]
        node = helper.make_node(
            "QMoE",
            inputs,
            ["y"],
            domain="com.microsoft",
            k=block.slots,
            activation_type="swiglu",
            activation_alpha=1.0,
            activation_beta=0.0,
            swiglu_fusion=1,
            normalize_routing_weights=0,
            expert_weight_bits=4,
            block_size=problem.group,
            weights_prepacked=0,
            accuracy_level=self.settings["accuracy_level"],
        )
        shapes = {"x": hidden, "probs": experts, "weights": experts}
        graph_inputs = [helper.make_tensor_value_info(n, TensorProto.FLOAT, ("T", w)) for n, w in shapes.items()]
        outputs = [helper.make_tensor_value_info("y", TensorProto.FLOAT, ("T", hidden))]
        model = helper.make_model(
            helper.make_graph([node], "experts", graph_inputs, outputs, constants),
            opset_imports=[helper.make_opsetid("", 21), helper.make_opsetid("com.microsoft", 1)],
        )
        model.ir_version = 10  # the newest may be ahead of the runtime
        return model
