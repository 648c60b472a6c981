// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// Rows to bf16 or to what bf16 holds in f32.
#include <cstring>

#include "jit/number.h"
#include "src/activations/activations.h"

namespace zenwoq {
namespace {

template <zenwoq_dtype kType, zenwoq_dtype kTo>  // constants for the loop, which the compiler then vectorises
void convert(const std::uint8_t* __restrict x, std::uint64_t count, std::uint8_t* __restrict out) {
  for (std::uint64_t i = 0; i < count; ++i) {
    const std::uint16_t bits = f32_to_bf16(load_as_f32(kType, x, i));
    if (kTo == ZENWOQ_F32) {
      const std::uint32_t wide = std::uint32_t{bits} << 16;
      std::memcpy(out + i * 4, &wide, 4);
    } else {
      std::memcpy(out + i * 2, &bits, 2);
    }
  }
}

// bf16 to f32 is no rounding: NaN and all stay as they are.
void expand(const std::uint8_t* __restrict x, std::uint64_t count, std::uint8_t* __restrict out) {
  for (std::uint64_t i = 0; i < count; ++i) {
    std::uint16_t bits;
    std::memcpy(&bits, x + i * 2, 2);
    const std::uint32_t wide = std::uint32_t{bits} << 16;
    std::memcpy(out + i * 4, &wide, 4);
  }
}

}  // namespace

void convert_row(zenwoq_dtype x_type, const std::uint8_t* x, std::uint64_t count, zenwoq_dtype kernel_type,
                 std::uint8_t* out) {
  if (kernel_type == ZENWOQ_BF16) {
    x_type == ZENWOQ_F32 ? convert<ZENWOQ_F32, ZENWOQ_BF16>(x, count, out)
                         : convert<ZENWOQ_F16, ZENWOQ_BF16>(x, count, out);
    return;
  }
  x_type == ZENWOQ_F32   ? convert<ZENWOQ_F32, ZENWOQ_F32>(x, count, out)
  : x_type == ZENWOQ_F16 ? convert<ZENWOQ_F16, ZENWOQ_F32>(x, count, out)
                         : expand(x, count, out);
  std::memset(out + count * 4, 0, (kStepK - count % kStepK) % kStepK * 4);
}

}  // namespace zenwoq
