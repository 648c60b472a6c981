# SPDX-FileCopyrightText: 2026 The zenwoq authors
# SPDX-License-Identifier: Apache-2.0
"""ggml, the library of llama.cpp: ``ggml_mul_mat_id`` of Q4_0 weights, in the graph that llama.cpp builds of experts.

settings: repack, whether weights lie in the CPU's repacked form, as llama.cpp puts them; ggml, the folder of the
libraries (default: that of a package from PyPI which has a libggml-cpu for each kind of CPU, of which ggml's own score
chooses, as llama.cpp's releases do).
"""

from __future__ import annotations

import ctypes
import importlib.util
from collections.abc import Sequence
from ctypes import CDLL, POINTER, c_bool, c_char_p, c_int, c_int64, c_size_t, c_void_p
from pathlib import Path
from typing import Any

import numpy as np

from bench.experts.operands import DOWN, GATE, UP, Problem
from bench.experts.peer import Peer
from bench.peers.operands import Array, Weight

F32, Q4_0, I32 = 0, 2, 26  # enum ggml_type
BLOCK = 32  # weights of a Q4_0 block: an f16 scale, then byte j has code j in its low half, code j + 16 in its high one
PACKAGE = "transcribe_cpp_native"
TENSORS = 256  # more than a context of ours has
THREADPOOL_PARAMS_BYTES = 4096  # more than the struct has: ggml fills it


class InitParams(ctypes.Structure):
    """``ggml_init_params``."""

    _fields_ = [("mem_size", c_size_t), ("mem_buffer", c_void_p), ("no_alloc", c_bool)]


def default_folder() -> Path:
    """The libraries of the package."""
    spec = importlib.util.find_spec(PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise RuntimeError(f"no package {PACKAGE}")
    return Path(next(iter(spec.submodule_search_locations))) / "_native"


class Library:
    """libggml-base and the best libggml-cpu of a folder.

    Attributes:
        variant: the file name of the latter.
    """

    def __init__(self, folder: Path):
        bases = sorted(folder.glob("libggml-base.so*"))
        if not bases:
            raise RuntimeError(f"no libggml-base.so in {folder}")
        self._base = CDLL(str(bases[0]), mode=ctypes.RTLD_GLOBAL)
        scores = [(self._score(path), path) for path in sorted(folder.glob("libggml-cpu*.so*"))]
        if not scores or max(scores)[0] <= 0:
            raise RuntimeError(f"no libggml-cpu in {folder} runs on this CPU")
        best = max(scores)[1]
        self.variant = best.name
        self._cpu = CDLL(str(best), mode=ctypes.RTLD_GLOBAL)
        initialize = getattr(self._cpu, "ggml_backend_init", None) or self._cpu.ggml_backend_cpu_reg
        initialize.restype = c_void_p
        self._registry = c_void_p(initialize())

    def call(self, name: str, *arguments: Any) -> c_void_p:
        """Calls a function of libggml-base that returns a pointer, or nothing."""
        function = getattr(self._base, name)
        function.restype = c_void_p
        return c_void_p(function(*arguments))

    def number(self, name: str, *arguments: Any) -> int:
        """Calls a function that returns a size."""
        function = getattr(self._base, name)
        function.restype = c_size_t
        return int(function(*arguments))

    def text(self, name: str, *arguments: Any) -> str:
        """Calls a function that returns a string."""
        function = getattr(self._base, name)
        function.restype = c_char_p
        return str(function(*arguments).decode())

    def procedure(self, name: str, result: Any, *types: Any) -> Any:
        """A function that the CPU's backend has under this name."""
        address = self.call("ggml_backend_reg_get_proc_address", self._registry, name.encode())
        if not address:
            raise RuntimeError(f"ggml has no {name}")
        return ctypes.CFUNCTYPE(result, *types)(address.value or 0)

    def device(self) -> c_void_p:
        """The CPU."""
        return self.call("ggml_backend_reg_dev_get", self._registry, c_size_t(0))

    def context(self) -> c_void_p:
        """A context for tensors that lie in buffers, and a graph."""
        bytes_ = TENSORS * self.number("ggml_tensor_overhead") + self.number("ggml_graph_overhead")
        return self.call("ggml_init", InitParams(bytes_, None, True))

    def tensor(self, context: c_void_p, type_: int, *sizes: int) -> c_void_p:
        """A new tensor; the first size is that of a row."""
        return self.call(f"ggml_new_tensor_{len(sizes)}d", context, type_, *map(c_int64, sizes))

    def fill(self, tensor: c_void_p, array: Array) -> None:
        """Copies an array to a tensor."""
        assert array.flags.c_contiguous and array.nbytes == self.number("ggml_nbytes", tensor)
        data = array.ctypes.data_as(c_void_p)
        self.call("ggml_backend_tensor_set", tensor, data, c_size_t(0), c_size_t(array.nbytes))

    def _score(self, path: Path) -> int:
        """What ggml says of a library on this CPU: 0 = it does not run; 1 if it does not say."""
        score = getattr(CDLL(str(path)), "ggml_backend_score", None)
        return int(score()) if score else 1


def q4_0(weight: Weight) -> Array:
    """The bytes of a weight [N,K] as Q4_0: uint8 [N, K/32, 18]."""
    codes = weight.nibbles().reshape(len(weight.codes), -1, 2, BLOCK // 2)
    scales = weight.scales().astype(np.float16)[:, :, None].view(np.uint8)
    return np.concatenate([scales, codes[:, :, 0] | (codes[:, :, 1] << 4)], axis=2)


class Ggml(Peer):
    """One graph for each number of tokens."""

    def __init__(self, threads: int, settings: dict[str, Any]):
        super().__init__(threads, settings)
        self._ggml = Library(Path(settings["ggml"]) if settings.get("ggml") else default_folder())
        self._backend = self._ggml.call("ggml_backend_dev_init", self._ggml.device(), None)
        self._ggml.procedure("ggml_backend_set_n_threads", None, c_void_p, c_int)(self._backend, threads)
        self._set_threadpool()
        self._plain = self._ggml.call("ggml_backend_dev_buffer_type", self._ggml.device())
        self._weights_type = self._repacked() if settings["repack"] else self._plain
        self._weights: list[c_void_p] = []  # context and buffer
        self._bound: list[c_void_p] = []

    def about(self) -> dict[str, Any]:
        """Version, the library's variant, and where weights lie."""
        return {
            "version": f"{self._ggml.text('ggml_version')} {self._ggml.text('ggml_commit')}",
            "variant": self._ggml.variant,
            "weights": self._ggml.text("ggml_backend_buft_name", self._weights_type),
        }

    def pack(self, problem: Problem) -> None:
        """Makes the three tensors of all experts: ggml repacks while it copies them."""
        ggml, block = self._ggml, problem.block
        context = ggml.context()
        sizes = [(block.hidden, block.intermediate)] * 2 + [(block.intermediate, block.hidden)]
        self._parts = [ggml.tensor(context, Q4_0, k, n, block.experts) for k, n in sizes]
        buffer = ggml.call("ggml_backend_alloc_ctx_tensors_from_buft", context, self._weights_type)
        self._weights = [context, buffer]
        ggml.call("ggml_backend_buffer_set_usage", buffer, 1)  # weights
        for part in (GATE, UP, DOWN):
            array = np.stack([q4_0(problem.weight(expert, part)) for expert in range(block.experts)])
            ggml.fill(self._parts[part], array)

    def bind(self, problem: Problem) -> None:
        """Builds the graph."""
        self._free(self._bound)
        ggml, block, tokens = self._ggml, problem.block, problem.tokens
        context = ggml.context()
        x = ggml.tensor(context, F32, block.hidden, 1, tokens)
        self._ids = ggml.tensor(context, I32, block.slots, tokens)
        self._router = ggml.tensor(context, F32, 1, block.slots, tokens)
        gate, up = (ggml.call("ggml_mul_mat_id", context, self._parts[part], x, self._ids) for part in (GATE, UP))
        h = ggml.call("ggml_swiglu_split", context, gate, up)
        down = ggml.call("ggml_mul_mat_id", context, self._parts[DOWN], h, self._ids)
        self._output = self._sum(context, ggml.call("ggml_mul", context, down, self._router), problem)
        self._graph = ggml.call("ggml_new_graph", context)
        ggml.call("ggml_build_forward_expand", self._graph, self._output)
        self._bound = [context, ggml.call("ggml_backend_alloc_ctx_tensors_from_buft", context, self._plain)]
        ggml.fill(x, problem.x())
        self._problem = problem

    def run(self, index: int) -> None:
        """Gives ids and router weights to the graph, and computes it."""
        routing = self._problem.routings[index]
        self._ggml.fill(self._ids, routing.ids)
        self._ggml.fill(self._router, routing.weights)
        status = self._ggml.number("ggml_backend_graph_compute", self._backend, self._graph) & 0xFFFFFFFF
        if status:
            raise RuntimeError(f"ggml_backend_graph_compute: status {status}")

    def output(self, index: int) -> Array:
        """The output."""
        y = np.empty((self._problem.tokens, self._problem.block.hidden), np.float32)
        place = y.ctypes.data_as(c_void_p), c_size_t(0), c_size_t(y.nbytes)
        self._ggml.call("ggml_backend_tensor_get", self._output, *place)
        return y

    def release(self) -> None:
        """Frees tensors and graph."""
        for owned in (self._bound, self._weights):
            self._free(owned)

    def _sum(self, context: c_void_p, weighted: c_void_p, problem: Problem) -> c_void_p:
        """The sum over slots of [H,S,T], slot by slot as llama.cpp adds them."""
        block = problem.block
        total = None
        for slot in range(block.slots):
            row = 4 * block.hidden
            place = c_int64(block.hidden), c_int64(problem.tokens), c_size_t(block.slots * row), c_size_t(slot * row)
            view = self._ggml.call("ggml_view_2d", context, weighted, *place)
            total = view if total is None else self._ggml.call("ggml_add", context, total, view)
        assert total is not None
        # A sum of one slot is a view, whose rows do not lie side by side.
        return total if block.slots > 1 else self._ggml.call("ggml_cont", context, total)

    def _repacked(self) -> c_void_p:
        """The CPU's first buffer type that is not plain."""
        types = self._ggml.procedure("ggml_backend_dev_get_extra_bufts", POINTER(c_void_p), c_void_p)
        names = []
        for each in self._until_null(types(self._ggml.device())):
            names.append(self._ggml.text("ggml_backend_buft_name", each))
            if names[-1] == "CPU_REPACK":
                return each
        raise RuntimeError(f"ggml has no buffer type CPU_REPACK here, but {names}")

    @staticmethod
    def _until_null(pointers: Any) -> Sequence[c_void_p]:
        found: list[c_void_p] = []
        while pointers and pointers[len(found)]:
            found.append(c_void_p(pointers[len(found)]))
        return found

    def _set_threadpool(self) -> None:
        """Threads that stay from one run to the next, as llama.cpp's programs have them."""
        params = ctypes.create_string_buffer(THREADPOOL_PARAMS_BYTES)
        self._ggml.call("ggml_threadpool_params_init", params, self.threads)
        pool = self._ggml.procedure("ggml_threadpool_new", c_void_p, c_void_p)(params)
        set_threadpool = self._ggml.procedure("ggml_backend_cpu_set_threadpool", None, c_void_p, c_void_p)
        set_threadpool(self._backend, pool)

    def _free(self, owned: list[c_void_p]) -> None:
        if owned:
            context, buffer = owned
            self._ggml.call("ggml_backend_buffer_free", buffer)
            self._ggml.call("ggml_free", context)
            owned.clear()
