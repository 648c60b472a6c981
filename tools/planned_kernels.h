// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// The kernels that the plan chooses for a layer, and their code, on any machine: only tiles of "this CPU" ask what it
// is.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "jit/jit.h"
#include "src/plan/tuning.h"
#include "tools/layer.h"

namespace zenwoq::tools {

// Which tiles to plan with: of the CPU with this name (empty: this CPU), for this tier (ZENWOQ_TIER_BEST: the highest
// that a named CPU has tiles of, or that this machine runs).
struct TuningChoice {
  std::string cpu;
  zenwoq_tier tier = ZENWOQ_TIER_BEST;
};
const CpuTuning& wanted_tuning(const TuningChoice& choice);

// What is done to a layer's sums beside what its file says. gated: the layer is gate, and up is another like it.
struct EpilogueChoice {
  zenwoq_activation activation = ZENWOQ_ACTIVATION_NONE;
  bool factor = false;
  std::uint8_t residuals = 0;
  bool gated = false;
};

// Keys of the kernels that runs of m rows of the layer use on one thread. Throws ToolError for an impossible layer.
std::vector<KernelKey> planned_kernels(const LayerInfo& info, std::size_t m, zenwoq_dtype output_type,
                                       const EpilogueChoice& choice, const CpuTuning& tuning);

struct EmittedKernel {
  KernelKey key;
  std::vector<std::uint8_t> code;
  std::vector<Note> notes;
};

// Throws ToolError with the reason if the key cannot be generated.
EmittedKernel emit_kernel(const KernelKey& key);

}  // namespace zenwoq::tools
