// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// Rows to bf16.
#include <cstring>

#include "jit/number.h"
#include "src/activations/activations.h"

namespace zenwoq {
namespace {

template <zenwoq_dtype kType>  // a constant for the loop, which the compiler then vectorises
void convert(const std::uint8_t* __restrict x, std::uint64_t count, std::uint8_t* __restrict out) {
  for (std::uint64_t i = 0; i < count; ++i) {
    const std::uint16_t bits = f32_to_bf16(load_as_f32(kType, x, i));
    std::memcpy(out + i * 2, &bits, 2);
  }
}

}  // namespace

void convert_row_to_bf16(zenwoq_dtype x_type, const std::uint8_t* x, std::uint64_t count, std::uint8_t* out) {
  x_type == ZENWOQ_F32 ? convert<ZENWOQ_F32>(x, count, out) : convert<ZENWOQ_F16>(x, count, out);
}

}  // namespace zenwoq
