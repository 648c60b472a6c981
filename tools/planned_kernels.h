// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// The kernels that the plan chooses for a layer, and their code, on any machine: nothing here asks the CPU.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "jit/gemm_avx512.h"
#include "jit/key.h"
#include "tools/readers/layer.h"

namespace zenwoq::tools {

// Keys of the kernels that runs of m rows of the layer use on this context. Throws ToolError for an impossible layer.
std::vector<KernelKey> planned_kernels(const LayerInfo& info, std::size_t m, zenwoq_dtype output_type,
                                       zenwoq_context* context);

struct EmittedKernel {
  KernelKey key;
  std::vector<std::uint8_t> code;
  std::vector<Note> notes;
};

// Throws ToolError with the reason where the key cannot be generated.
EmittedKernel emit_kernel(const KernelKey& key);

const char* zero_kind_name(zenwoq_zero_kind kind);  // "none", "integer", "offset"

}  // namespace zenwoq::tools
