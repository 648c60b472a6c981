// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// Plans and emits kernels without weights to run them on.
#include "tools/planned_kernels.h"

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

const CpuTuning& wanted_tuning(const std::string& name) {
  return make_context({1, ZENWOQ_TIER_BEST, name})->context->tuning();
}

std::vector<KernelKey> planned_kernels(const LayerInfo& info, std::size_t m, zenwoq_dtype output_type,
                                       const CpuTuning& tuning) {
  PackedHeader header;
  require_ok(make_header(info.desc(), &header));
  const Plan plan({m, info.n, info.k}, tuning, 1);
  std::vector<KernelKey> keys;
  for (const Tile& tile : plan.tiles()) {
    keys.push_back(
        kernel_key(info, make_decode_table(info.table).integer, output_type, {.bias = info.has_bias}, tile, tuning));
  }
  return keys;
}

EmittedKernel emit_kernel(const KernelKey& key) {
  EmittedKernel kernel{key, {}, {}};
  require_ok(emit(key, &kernel.code, &kernel.notes));
  return kernel;
}

}  // namespace zenwoq::tools
