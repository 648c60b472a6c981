// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// Elements of float tensors: their sizes, and their values in f32.
#pragma once

#include <bit>
#include <cstdint>
#include <cstring>

#include "zenwoq/zenwoq.h"

namespace zenwoq::formats {

inline std::size_t float_bytes(zenwoq_dtype type) { return type == ZENWOQ_F32 ? 4 : 2; }

inline float bf16_value(std::uint16_t bits) { return std::bit_cast<float>(std::uint32_t{bits} << 16); }

// Exact; no operand or result of an operation is a denormal f32, so that no mode of the FPU matters.
inline float f16_value(std::uint16_t bits) {
  const std::uint32_t sign = (bits & 0x8000u) << 16;
  const std::uint32_t exponent = (bits >> 10) & 31u;
  const std::uint32_t mantissa = bits & 0x3FFu;
  if (exponent == 31) return std::bit_cast<float>(sign | 0x7F800000u | mantissa << 13);
  if (exponent != 0) return std::bit_cast<float>(sign | (exponent + 112) << 23 | mantissa << 13);
  const float magnitude = static_cast<float>(mantissa) * 0x1p-24f;
  return sign != 0 ? -magnitude : magnitude;
}

// Element i of an array of any alignment.
inline float float_at(zenwoq_dtype type, const std::uint8_t* array, std::size_t i) {
  if (type == ZENWOQ_F32) {
    float value;
    std::memcpy(&value, array + 4 * i, sizeof value);
    return value;
  }
  std::uint16_t bits;
  std::memcpy(&bits, array + 2 * i, sizeof bits);
  return type == ZENWOQ_F16 ? f16_value(bits) : bf16_value(bits);
}

}  // namespace zenwoq::formats
