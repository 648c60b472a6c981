// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// Reads a context's CPU report, names its values and turns it into JSON.
#include "tools/cpu_info.h"

#include <nlohmann/json.hpp>

#include "tools/api_handles.h"

namespace zenwoq::tools {

CpuInfo read_cpu_info(const zenwoq_context* context) {
  CpuInfo cpu;
  zenwoq_cpu_info_init(&cpu.info);
  require(zenwoq_context_cpu_info(context, &cpu.info));
  for (const zenwoq_tier tier : {ZENWOQ_TIER_AVX512BF16, ZENWOQ_TIER_AVX2, ZENWOQ_TIER_REFERENCE}) {
    cpu.tiers.push_back({zenwoq_tier_name(tier), zenwoq_context_why_not(context, tier)});
  }
  return cpu;
}

Json cpu_json(const CpuInfo& cpu) {
  const zenwoq_cpu_info& info = cpu.info;
  Json tiers = Json::object();
  for (const TierState& tier : cpu.tiers) tiers[tier.name] = tier.why_not;
  return {
      {"vendor", info.vendor},
      {"brand", info.brand},
      {"uarch", info.uarch},
      {"family", info.family},
      {"model", info.model},
      {"stepping", info.stepping},
      {"avx2_fma", info.avx2 != 0},
      {"avx512bf16", info.avx512bf16 != 0},
      {"l1d_bytes", info.l1d_bytes},
      {"l2_bytes", info.l2_bytes},
      {"l3_bytes", info.l3_bytes},
      {"cache_source", info.cache_source},
      {"threads", info.threads},
      {"tuning", info.tuning},
      {"isa", zenwoq_tier_name(info.tier)},
      {"isa_reason", info.tier_reason},
      {"code_memory", info.code_memory},
      {"tiers", tiers},
  };
}

}  // namespace zenwoq::tools
