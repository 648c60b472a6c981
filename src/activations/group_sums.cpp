// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// Sums of activations over groups, for zeros and offsets. fma(x, 1, acc) is acc + x.
#include "jit/mxcsr.h"
#include "jit/number.h"
#include "src/activations/activations.h"

namespace zenwoq {
namespace {

constexpr std::uint64_t kChains = 8;  // groups summed side by side: one chain alone would wait for every addition

// sum[j] over the whole steps of group j, each pair as x[2i+1], then x[2i]
template <zenwoq_dtype kType>
void sum_whole_steps(const unsigned char* x, std::uint64_t chains, std::uint64_t chain_k, std::uint64_t count,
                     float* sum) {
  for (std::uint64_t k = 0; k < count; k += 2) {
    for (std::uint64_t j = 0; j < chains; ++j) {
      const float odd_added = sum[j] + load_as_f32(kType, x, j * chain_k + k + 1);
      sum[j] = odd_added + load_as_f32(kType, x, j * chain_k + k);
    }
  }
}

// A last step with fewer than 8 activations, completed with +0: those additions belong to the chain.
template <zenwoq_dtype kType>
float sum_partial_step(const unsigned char* x, std::uint64_t count, float sum) {
  float xs[kStepK] = {};
  for (std::uint64_t k = 0; k < count; ++k) xs[k] = load_as_f32(kType, x, k);
  for (std::uint64_t k = 0; k < kStepK; k += 2) {
    sum += xs[k + 1];
    sum += xs[k];
  }
  return sum;
}

template <zenwoq_dtype kType>
__attribute__((noinline))  // keeps every FP operation inside the MXCSR scope of the caller
void sum_row(const unsigned char* x, std::uint64_t k, std::uint64_t group, float* xsum, std::uint64_t stride) {
  constexpr std::uint64_t kBytes = kType == ZENWOQ_F32 ? 4 : 2;
  const std::uint64_t full = k / group;
  for (std::uint64_t g = 0; g < full; g += kChains) {
    const std::uint64_t chains = full - g < kChains ? full - g : kChains;
    float sum[kChains] = {};
    const std::uint64_t whole = group / kStepK * kStepK;
    if (chains == kChains) {
      sum_whole_steps<kType>(x + g * group * kBytes, kChains, group, whole, sum);
    } else {
      sum_whole_steps<kType>(x + g * group * kBytes, chains, group, whole, sum);
    }
    // Only a per-channel group, which is alone, can have a partial step here.
    if (whole < group) sum[0] = sum_partial_step<kType>(x + whole * kBytes, group - whole, sum[0]);
    for (std::uint64_t j = 0; j < chains; ++j) xsum[(g + j) * stride] = sum[j];
  }
  if (k % group == 0) return;
  const std::uint64_t begin = full * group;
  const std::uint64_t whole = (k - begin) / kStepK * kStepK;
  float sum = 0.0f;
  sum_whole_steps<kType>(x + begin * kBytes, 1, 0, whole, &sum);
  if (begin + whole < k) sum = sum_partial_step<kType>(x + (begin + whole) * kBytes, k - begin - whole, sum);
  xsum[full * stride] = sum;
}

}  // namespace

void sum_groups(zenwoq_dtype x_type, const void* x, std::uint64_t ldx_bytes, std::uint64_t rows, std::uint64_t k,
                std::uint64_t group, float* xsum, std::uint64_t stride) {
  const MxcsrScope contract(MxcsrScope::kContract);
  for (std::uint64_t row = 0; row < rows; ++row) {
    const auto* from = static_cast<const unsigned char*>(x) + row * ldx_bytes;
    x_type == ZENWOQ_F32 ? sum_row<ZENWOQ_F32>(from, k, group, xsum + row, stride)
                         : sum_row<ZENWOQ_BF16>(from, k, group, xsum + row, stride);
  }
}

}  // namespace zenwoq
