// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// Compiled twice (ZENWOQ_SLOT_SUM); only local functions, so that no AVX2 code leaks into the portable object.
#include "src/run/slot_sums.h"

#include <cstring>

#include "jit/mxcsr.h"
#include "jit/number.h"

namespace zenwoq {
namespace {

constexpr std::uint64_t kBlock = 64;  // columns whose sums stay in registers over all slots

// count is kBlock, a constant for the loops, but for the last columns.
template <typename Count>
inline void sum_block(const SlotSum& sum, std::uint64_t column, Count count) {
  float total[kBlock] = {};
  for (std::uint64_t slot = 0; slot < sum.slots; ++slot) {
    if (sum.places[slot] == kNoPlace) continue;
    const float* row = sum.rows + sum.places[slot] * sum.columns + column;
    const float weight = sum.weights[slot];
    for (std::uint64_t i = 0; i < count; ++i) total[i] = __builtin_fmaf(weight, row[i], total[i]);
  }
  if (sum.type == ZENWOQ_F32) {
    std::memcpy(static_cast<std::uint8_t*>(sum.y) + column * sizeof(float), total, count * sizeof(float));
    return;
  }
  std::uint16_t rounded[kBlock];
  for (std::uint64_t i = 0; i < count; ++i) rounded[i] = f32_to_bf16(total[i]);
  std::memcpy(static_cast<std::uint8_t*>(sum.y) + column * sizeof(std::uint16_t), rounded,
              count * sizeof(std::uint16_t));
}

struct WholeBlock {
  constexpr operator std::uint64_t() const { return kBlock; }
};

__attribute__((noinline))  // keeps every FP operation inside the MXCSR scope of the caller
void all_columns(const SlotSum& sum) {
  std::uint64_t column = 0;
  for (; column + kBlock <= sum.columns; column += kBlock) sum_block(sum, column, WholeBlock());
  if (column < sum.columns) sum_block(sum, column, sum.columns - column);
}

}  // namespace

void ZENWOQ_SLOT_SUM(const SlotSum& sum) {
  const MxcsrScope contract(MxcsrScope::kContract);
  all_columns(sum);
}

}  // namespace zenwoq
