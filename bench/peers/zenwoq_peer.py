# SPDX-FileCopyrightText: 2026 The zenwoq authors
# SPDX-License-Identifier: Apache-2.0
#
# zenwoq itself through its C API. settings: library, the path of libzenwoq.so.
import ctypes
from ctypes import POINTER, byref, c_char, c_char_p, c_float, c_int, c_size_t, c_uint32, c_uint64, c_void_p, sizeof

import numpy as np

from peers.peer import LoopPeer

F32, BF16 = 1, 3  # zenwoq_dtype
ISA_NAMES = {10: "reference", 30: "avx512bf16"}


class ContextOptions(ctypes.Structure):
    _fields_ = [("struct_size", c_size_t), ("threads", c_uint32), ("max_isa", c_int), ("tuning", c_char_p),
                ("code_bytes_max", c_size_t), ("parallel_for", c_void_p), ("parallel_for_user", c_void_p),
                ("log", c_void_p), ("log_user", c_void_p)]


class WeightDesc(ctypes.Structure):
    _fields_ = [("struct_size", c_size_t), ("n", c_size_t), ("k", c_size_t), ("group_size", c_size_t),
                ("scale_type", c_int), ("zero_kind", c_int), ("table", c_float * 16)]


class WeightSource(ctypes.Structure):
    _fields_ = [("struct_size", c_size_t), ("code_layout", c_int), ("codes", c_void_p), ("codes_bytes", c_size_t),
                ("codes_row_bytes", c_size_t), ("scales", c_void_p), ("scales_bytes", c_size_t), ("zeros", c_void_p),
                ("zeros_bytes", c_size_t)]


class RunArgs(ctypes.Structure):
    _fields_ = [("struct_size", c_size_t), ("m", c_size_t), ("x_type", c_int), ("x", c_void_p), ("ldx", c_size_t),
                ("x_bytes", c_size_t), ("y", c_void_p), ("ldy", c_size_t), ("y_bytes", c_size_t),
                ("workspace", c_void_p), ("workspace_bytes", c_size_t)]


class CpuInfo(ctypes.Structure):
    _fields_ = [("struct_size", c_size_t), ("vendor", c_char * 16), ("brand", c_char * 64), ("uarch", c_char * 16),
                ("tuning", c_char * 16), ("family", c_uint32), ("model", c_uint32), ("stepping", c_uint32),
                ("avx2_fma", c_uint32), ("avx512bf16", c_uint32), ("l1d_bytes", c_uint64), ("l2_bytes", c_uint64),
                ("l3_bytes", c_uint64),
                ("cache_source", c_char * 16), ("threads", c_uint32), ("isa", c_int), ("isa_reason", c_char * 192),
                ("code_memory", c_char * 192)]


class KernelInfo(ctypes.Structure):
    _fields_ = [("struct_size", c_size_t), ("name", c_char * 128), ("isa", c_int), ("address", c_void_p),
                ("code_bytes", c_size_t), ("generation_ns", c_uint64), ("reason", c_char * 192)]


class Zenwoq(LoopPeer):
    def __init__(self, threads, settings):
        super().__init__(threads, settings)
        self._library = ctypes.CDLL(settings["library"])
        self._library.zenwoq_version.restype = c_char_p
        self._library.zenwoq_last_error.restype = c_char_p
        self._run = self._library.zenwoq_linear_run
        self._run.argtypes = [c_void_p, POINTER(RunArgs)]
        options = ContextOptions()
        self._library.zenwoq_context_options_init(byref(options))
        options.threads = threads
        self._context = c_void_p()
        self._check(self._library.zenwoq_context_create(byref(options), byref(self._context)))
        self._calls = []  # (linear, arguments) of each copy
        self._x = None

    def about(self):
        cpu = CpuInfo(struct_size=sizeof(CpuInfo))
        self._check(self._library.zenwoq_context_cpu_info(self._context, byref(cpu)))
        return {"version": self._library.zenwoq_version().decode(), "cpu": cpu.brand.decode().strip(),
                "uarch": cpu.uarch.decode(), "tier": ISA_NAMES.get(cpu.isa, str(cpu.isa)),
                "tier_reason": cpu.isa_reason.decode(), "tuning": cpu.tuning.decode(), "l3_bytes": cpu.l3_bytes}

    def pack(self, weight):
        desc = WeightDesc()
        self._library.zenwoq_weight_desc_init(byref(desc))
        desc.n, desc.k = weight.codes.shape[0], 2 * weight.codes.shape[1]
        desc.group_size, desc.scale_type = weight.group, BF16
        source = WeightSource()
        self._library.zenwoq_weight_source_init(byref(source))
        source.codes, source.codes_bytes = weight.codes.ctypes.data, weight.codes.nbytes
        source.scales, source.scales_bytes = weight.scale_bits.ctypes.data, weight.scale_bits.nbytes
        packed, linear = c_void_p(), c_void_p()
        self._check(self._library.zenwoq_weight_create(self._context, byref(desc), byref(source), byref(packed)))
        # NULL: f32 outputs, no bias. The linear keeps its weight alive.
        status = self._library.zenwoq_linear_create(self._context, packed, None, byref(linear))
        self._library.zenwoq_weight_destroy(packed)
        self._check(status)
        return linear

    def bind(self, problem):
        self._x = problem.x_bits
        self._calls = []
        for i in range(problem.copies):
            self.outputs[i] = np.empty((problem.m, problem.n), np.float32)
            self._check(self._library.zenwoq_linear_prepare(self.packed[i], c_size_t(problem.m)))
            arguments = RunArgs()
            self._library.zenwoq_run_args_init(byref(arguments))
            arguments.m, arguments.x_type = problem.m, BF16
            arguments.x, arguments.x_bytes = self._x.ctypes.data, self._x.nbytes
            arguments.y, arguments.y_bytes = self.outputs[i].ctypes.data, self.outputs[i].nbytes
            self._calls.append((self.packed[i], byref(arguments)))
        self._m = problem.m

    def run(self):
        run = self._run
        failed = 0
        for linear, arguments in self._calls:
            failed |= run(linear, arguments)
        self._check(failed)

    def output(self, index):
        return self.outputs[index]

    def release(self):
        for linear in self.packed:
            self._library.zenwoq_linear_destroy(linear)
        self._calls = []
        super().release()

    def notes(self):
        """Names of the kernels that a run uses."""
        count, names, index = c_size_t(1), [], 0
        while index < count.value:
            info = KernelInfo(struct_size=sizeof(KernelInfo))
            self._check(self._library.zenwoq_linear_kernel(
                self.packed[0], c_size_t(self._m), c_size_t(index), byref(count), byref(info)))
            names.append(info.name.decode())
            index += 1
        return " ".join(names)

    def _check(self, status):
        if status:
            raise RuntimeError(self._library.zenwoq_last_error().decode() or f"status {status}")
