// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// Conversions between f32, f16, bf16 and scales of a byte against their definitions.
#include "jit/number.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

namespace zenwoq {
namespace {

// By the definition of binary16: sign, 5 bits of exponent (bias 15), 10 bits of mantissa.
double half_value(unsigned half) {
  const double sign = (half & 0x8000u) != 0 ? -1.0 : 1.0;
  const int exponent = static_cast<int>((half >> 10) & 31u);
  const double mantissa = half & 0x3FFu;
  if (exponent == 31) return mantissa == 0 ? sign * std::numeric_limits<double>::infinity() : std::nan("");
  return sign * (exponent == 0 ? std::ldexp(mantissa, -24) : std::ldexp(1024 + mantissa, exponent - 25));
}

TEST(Convert, EveryHalfIsWidenedExactly) {
  for (unsigned half = 0; half < 0x10000; ++half) {
    const float value = f16_to_f32(static_cast<std::uint16_t>(half));
    const double expected = half_value(half);
    if (std::isnan(expected)) {
      ASSERT_TRUE(std::isnan(value)) << half;
      continue;
    }
    ASSERT_EQ(value, expected) << half;
    ASSERT_EQ(std::signbit(value), (half & 0x8000u) != 0) << half;
  }
}

// By the definitions of OCP's formats, but that what stands for NaN comes out as it does in kernels.
TEST(Convert, EveryScaleOfAByteIsWidenedExactly) {
  for (unsigned bits = 0; bits < 256; ++bits) {
    const auto byte = static_cast<std::uint8_t>(bits);
    const int exponent = static_cast<int>(bits >> 3 & 15u);
    const double mantissa = bits & 7u;
    const double magnitude = exponent == 0 ? std::ldexp(mantissa, -9) : std::ldexp(8 + mantissa, exponent - 10);
    ASSERT_EQ(e4m3_to_f32(byte), (bits & 0x80u) != 0 ? -magnitude : magnitude) << bits;
    const double power =
        bits == 255 ? std::numeric_limits<double>::infinity() : std::ldexp(1.0, static_cast<int>(bits) - 127);
    ASSERT_EQ(e8m0_to_f32(byte), power) << bits;
  }
}

// Every bf16 with several tails of lower bits: exact, just above, around the middle, just below the next.
TEST(Convert, FloatsRoundToTheNearestBf16TiesToEven) {
  for (std::uint32_t high = 0; high < 0x10000; ++high) {
    for (const std::uint32_t low : {0u, 1u, 0x7FFFu, 0x8000u, 0x8001u, 0xFFFFu}) {
      const float value = std::bit_cast<float>((high << 16) | low);
      const std::uint16_t rounded = f32_to_bf16(value);
      if (std::isnan(value)) {
        ASSERT_TRUE(std::isnan(bf16_to_f32(rounded))) << high << " " << low;
        continue;
      }
      const bool up = low > 0x8000u || (low == 0x8000u && (high & 1u) != 0);
      ASSERT_EQ(rounded, high + (up ? 1 : 0)) << high << " " << low;
    }
  }
}

}  // namespace
}  // namespace zenwoq
