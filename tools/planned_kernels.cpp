// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// Plans and emits kernels without weights to run them on.
#include "tools/planned_kernels.h"

#include <fmt/format.h>

#include "src/api/handles.h"
#include "src/plan/plan.h"
#include "src/weight/packed.h"
#include "tools/api_handles.h"

namespace zenwoq::tools {
namespace {

void require_ok(const Status& status) {
  if (!status.ok()) throw ToolError(status.text());
}

}  // namespace

const CpuTuning& wanted_tuning(const TuningChoice& choice) {
  const CpuTuning& here = make_context({1, ZENWOQ_TIER_BEST, {}})->context->tuning();
  if (choice.tier != ZENWOQ_TIER_BEST) return find_tuning(choice.cpu.empty() ? here.name : choice.cpu, choice.tier);
  if (choice.cpu.empty()) return here;
  const CpuTuning* best = nullptr;
  for (const CpuTuning* tuning : tunings()) {
    if (tuning->name == choice.cpu && (best == nullptr || tuning->tier > best->tier)) best = tuning;
  }
  return best != nullptr ? *best : throw ToolError(fmt::format("no tiles of \"{}\"", choice.cpu));
}

std::vector<KernelKey> planned_kernels(const LayerInfo& info, std::size_t m, zenwoq_dtype output_type,
                                       const EpilogueChoice& choice, const CpuTuning& tuning) {
  PackedHeader header;
  require_ok(make_header(info.desc(), &header));
  const Plan plan({m, info.n, info.k, choice.gated}, tuning, 1);
  const Epilogue epilogue{info.tensor_scale_kind, info.has_bias, choice.activation, choice.factor, choice.residuals};
  std::vector<KernelKey> keys;
  for (const Tile& tile : plan.tiles()) {
    keys.push_back(kernel_key(info, make_decode_table(info.table).integer, output_type, epilogue, tile, tuning));
  }
  return keys;
}

EmittedKernel emit_kernel(const KernelKey& key) {
  EmittedKernel kernel{key, {}, {}};
  require_ok(emit(key, &kernel.code, &kernel.notes));
  return kernel;
}

}  // namespace zenwoq::tools
