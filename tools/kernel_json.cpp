// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// Writes keys as JSON.
#include "tools/kernel_json.h"

#include <nlohmann/json.hpp>

#include "jit/number.h"

namespace zenwoq::tools {
namespace {

constexpr const char* kTensorScales[] = {"none", "times", "by"};

}  // namespace

Json kernel_json(const EmittedKernel& kernel) {
  const KernelKey& key = kernel.key;
  return {
      {"name", key.name()},
      {"isa", zenwoq_tier_name(key.tier)},
      {"activation_type", "bf16"},
      {"code_bits", 4},
      {"k", key.k},
      {"group", key.group},
      {"per_channel", key.per_channel()},
      {"scale_type", dtype_name(key.scale_type)},
      {"zero_kind", zero_kind_name(key.zero_kind)},
      {"tile",
       {{"rows", key.tile.rows},
        {"strips", key.tile.strips},
        {"scratch", key.tile.scratch},
        {"gated", key.tile.gated}}},
      {"output_type", dtype_name(key.output_type)},
      {"zero_type", key.format().has_float_zeros() ? dtype_name(key.zero_type) : ""},
      {"tensor_scale", kTensorScales[key.epilogue.tensor_scale]},
      {"bias", key.epilogue.bias},
      {"activation", activation_name(key.epilogue.activation)},
      {"factor", key.epilogue.factor},
      {"residuals", key.epilogue.residuals},
      {"decode_first", key.habits.decode_first},
      {"share_x", key.habits.share_x},
      {"prefetch",
       {{"bytes", key.habits.prefetch.bytes},
        {"every", key.habits.prefetch.every},
        {"to_l2", key.habits.prefetch.to_l2}}},
      {"code_bytes", kernel.code.size()},
      {"version", zenwoq_version()},
      {"arithmetic_version", ZENWOQ_ARITHMETIC_VERSION},
  };
}

}  // namespace zenwoq::tools
