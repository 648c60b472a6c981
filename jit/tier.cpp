// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// The table of tiers.
#include "jit/tier.h"

#include <algorithm>
#include <string>

#include "src/text/formatted.h"

namespace zenwoq {
namespace {

constexpr CpuFeature kAvx2[] = {CpuFeature::avx2, CpuFeature::fma, CpuFeature::f16c, CpuFeature::bmi2, CpuFeature::avx};
constexpr CpuFeature kAvx512Bf16[] = {CpuFeature::avx512bf16, CpuFeature::avx512f,  CpuFeature::avx512bw,
                                      CpuFeature::avx512dq,   CpuFeature::avx512vl, CpuFeature::bmi2};

constexpr std::uint64_t kYmmState = 0x06;  // SSE, AVX
constexpr std::uint64_t kZmmState = 0xE6;  // and opmask, ZMM_Hi256, Hi16_ZMM

constexpr TierInfo kTiers[] = {
    {ZENWOQ_TIER_AVX512BF16, "avx512bf16", kAvx512Bf16, kZmmState, "ZMM", false, ZENWOQ_BF16},
    {ZENWOQ_TIER_AVX2, "avx2", kAvx2, kYmmState, "YMM", true, ZENWOQ_F32},
    {ZENWOQ_TIER_REFERENCE, "reference", {}, 0, "", false, ZENWOQ_BF16},
};

template <typename Predicate>
const TierInfo* find_if(Predicate&& predicate) {
  const auto found = std::find_if(std::begin(kTiers), std::end(kTiers), predicate);
  return found == std::end(kTiers) ? nullptr : found;
}

}  // namespace

std::span<const TierInfo> tiers() { return kTiers; }

const TierInfo* find_tier(zenwoq_tier tier) {
  return find_if([&](const TierInfo& info) { return info.tier == tier; });
}

const TierInfo* find_tier(std::string_view name) {
  return find_if([&](const TierInfo& info) { return info.name == name; });
}

std::string tier_names() {
  std::string text;
  for (std::size_t i = std::size(kTiers); i-- > 0;) {
    text += formatted("{}{}", i + 1 == std::size(kTiers) ? "" : i == 0 ? " or " : ", ", kTiers[i].name);
  }
  return text;
}

}  // namespace zenwoq
