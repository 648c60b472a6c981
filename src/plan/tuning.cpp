// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// The list of tuning tables.
#include "src/plan/tuning.h"

#include <algorithm>
#include <vector>

#include "src/plan/tuning_tables.h"

namespace zenwoq {
namespace {

constexpr const CpuTuning* kTunings[] = {
    &kZen2Avx2,       &kZen3Avx2, &kZen4Avx512Bf16,    &kZen4Avx2,
    &kZen5Avx512Bf16, &kZen5Avx2, &kGenericAvx512Bf16, &kGenericAvx2,
};
constexpr std::string_view kGeneric = "generic";

}  // namespace

std::span<const CpuTuning* const> tunings() { return kTunings; }

const CpuTuning& find_tuning(std::string_view name, zenwoq_tier tier) {
  if (tier == ZENWOQ_TIER_REFERENCE) tier = ZENWOQ_TIER_AVX512BF16;
  const CpuTuning* best = kTunings[0];
  const auto merit = [&](const CpuTuning& tuning) {
    return (tuning.tier == tier ? 4 : 0) + (tuning.name == name ? 2 : 0) + (tuning.name == kGeneric ? 1 : 0);
  };
  for (const CpuTuning* tuning : kTunings) {
    if (merit(*tuning) > merit(*best)) best = tuning;
  }
  return *best;
}

bool is_tuning(std::string_view name) {
  return std::any_of(std::begin(kTunings), std::end(kTunings), [&](const CpuTuning* t) { return t->name == name; });
}

std::string tuning_names() {
  std::vector<std::string_view> names;
  for (const CpuTuning* tuning : kTunings) {
    if (std::find(names.begin(), names.end(), tuning->name) == names.end()) names.push_back(tuning->name);
  }
  std::string text;
  for (std::size_t i = 0; i < names.size(); ++i) {
    text += i == 0 ? "" : i + 1 == names.size() ? " or " : ", ";
    text += names[i];
  }
  return text;
}

}  // namespace zenwoq
