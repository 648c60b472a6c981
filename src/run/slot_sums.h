// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// The last step of a mixture of experts: the rows of a token's experts, weighted and added.
#pragma once

#include <cstdint>

#include "zenwoq/zenwoq.h"

namespace zenwoq {

inline constexpr std::uint32_t kNoPlace = UINT32_MAX;

// One token: y = the sum over its slots, in order from +0, of fma(weight, row, sum), rounded once if y is bf16.
struct SlotSum {
  const float* rows;  // of `columns` values each, without gaps
  std::uint64_t columns;
  const std::uint32_t* places;  // [slots]: the slot's row, kNoPlace for none
  const float* weights;         // [slots]
  std::uint64_t slots;
  zenwoq_dtype type;  // f32 or bf16
  void* y;
};

using SlotSumFunction = void (*)(const SlotSum& sum);

// One source file, compiled twice.
void slot_sum_portable(const SlotSum& sum);
void slot_sum_avx2_fma(const SlotSum& sum);

}  // namespace zenwoq
