// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// The tiers: their names and what each needs of the CPU. This table is the only place that knows them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "zenwoq/zenwoq.h"

namespace zenwoq {

enum class CpuFeature : std::uint8_t {
  avx,
  fma,
  f16c,
  avx2,
  bmi2,
  avx512f,
  avx512dq,
  avx512bw,
  avx512vl,
  avx512bf16,
};

struct TierInfo {
  zenwoq_tier tier;
  const char* name;
  std::span<const CpuFeature> features;  // the most telling one first: it is the one named where several are missing
  std::uint64_t xcr0;                    // state that the operating system must save, bits of XCR0
  const char* state;                     // the widest registers in it
  bool integers;                         // whether its kernels tell integer codes from tables (Codes)
  zenwoq_dtype x_type;                   // how its kernels take the bf16 activations: as they are, or expanded to f32
};

// Best first; the reference, which needs nothing, is the last.
std::span<const TierInfo> tiers();

// NULL for anything that is no tier, ZENWOQ_TIER_BEST among them.
const TierInfo* find_tier(zenwoq_tier tier);
const TierInfo* find_tier(std::string_view name);

// "reference, avx2 or avx512bf16": for error texts.
std::string tier_names();

}  // namespace zenwoq
