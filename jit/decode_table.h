// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// What kernels read to turn codes into values: the table itself, and constants for tables that count up by one.
#pragma once

#include <array>
#include <bit>
#include <cstdint>

#include "jit/number.h"

namespace zenwoq {

// Bits 4n .. 4n + 3 of a word are the code with the weight that they have in the mantissa of the float kMagic[n]: so
// for an integer table, value = (bits ^ flip[n]) - subtract[n], without a shift or a lookup (decode_avx2.h).
inline constexpr float kMagic[4] = {0x1p23f, 0x1p19f, 0x1p15f, 0x1p11f};

struct alignas(64) DecodeTable {
  std::array<std::uint16_t, 16> values;    // bf16
  std::array<std::uint8_t, 16> low, high;  // their bytes
  std::array<std::uint32_t, 4> flip;       // kMagic[n], and bit 3 of the code where the table is two's complement
  std::array<float, 4> subtract;           // kMagic[n] - value of the code whose bits are then zero
  bool integer;                            // value = (code ^ 0 or 8) + an integer: flip and subtract are valid
};

inline DecodeTable make_decode_table(const std::array<float, 16>& table) {
  DecodeTable result{};
  for (std::size_t i = 0; i < 16; ++i) {
    result.values[i] = f32_to_bf16(table[i]);
    result.low[i] = static_cast<std::uint8_t>(result.values[i]);
    result.high[i] = static_cast<std::uint8_t>(result.values[i] >> 8);
  }
  for (const unsigned flipped : {0u, 8u}) {
    const float zero = bf16_to_f32(result.values[flipped]);  // value of the code whose flipped bits are 0
    bool counts = zero >= -128.0f && zero <= 112.0f && zero == static_cast<float>(static_cast<int>(zero));
    for (unsigned i = 0; i < 16; ++i) {
      counts &= result.values[i] == f32_to_bf16(static_cast<float>(i ^ flipped) + zero);  // bits: -0 is no integer
    }
    if (!counts) continue;
    result.integer = true;
    for (unsigned n = 0; n < 4; ++n) {
      result.flip[n] = std::bit_cast<std::uint32_t>(kMagic[n]) ^ flipped << 4 * n;
      result.subtract[n] = kMagic[n] - zero;
    }
    break;
  }
  return result;
}

}  // namespace zenwoq
