// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// Exact conversions between f32, f16 and bf16, independent of MXCSR (no denormal is read or made by an FP operation).
#pragma once

#include <bit>
#include <cstdint>
#include <cstring>

#include "zenwoq/zenwoq.h"

namespace zenwoq {

inline std::size_t dtype_bytes(zenwoq_dtype type) { return type == ZENWOQ_F32 ? 4 : 2; }

inline bool is_dtype(int value) { return value == ZENWOQ_F32 || value == ZENWOQ_F16 || value == ZENWOQ_BF16; }

inline const char* dtype_name(zenwoq_dtype type) {
  return type == ZENWOQ_F32 ? "f32" : type == ZENWOQ_F16 ? "f16" : "bf16";
}

inline float bf16_to_f32(std::uint16_t bits) { return std::bit_cast<float>(std::uint32_t{bits} << 16); }

// Round to nearest even; NaN stays NaN (quiet).
inline std::uint16_t f32_to_bf16(float value) {
  const auto bits = std::bit_cast<std::uint32_t>(value);
  if ((bits & 0x7FFFFFFFu) > 0x7F800000u) return static_cast<std::uint16_t>((bits >> 16) | 0x0040u);
  return static_cast<std::uint16_t>((bits + 0x7FFFu + ((bits >> 16) & 1u)) >> 16);
}

inline float f16_to_f32(std::uint16_t half) {
  const std::uint32_t sign = std::uint32_t{half & 0x8000u} << 16;
  std::uint32_t exponent = (half >> 10) & 0x1Fu;
  std::uint32_t mantissa = half & 0x3FFu;
  if (exponent == 31) return std::bit_cast<float>(sign | 0x7F800000u | (mantissa << 13));
  if (exponent == 0) {
    if (mantissa == 0) return std::bit_cast<float>(sign);
    const int shift = std::countl_zero(mantissa) - 21;  // brings the leading one to bit 10
    mantissa = (mantissa << shift) & 0x3FFu;
    exponent = static_cast<std::uint32_t>(1 - shift);   // may wrap below zero: the sum below is right modulo 2^32
  }
  return std::bit_cast<float>(sign | ((exponent + 112u) << 23) | (mantissa << 13));
}

// Element i of an array of any alignment, widened exactly.
inline float load_as_f32(zenwoq_dtype type, const void* array, std::size_t i) {
  const auto* bytes = static_cast<const unsigned char*>(array);
  if (type == ZENWOQ_F32) {
    float value;
    std::memcpy(&value, bytes + i * 4, 4);
    return value;
  }
  std::uint16_t bits;
  std::memcpy(&bits, bytes + i * 2, 2);
  return type == ZENWOQ_F16 ? f16_to_f32(bits) : bf16_to_f32(bits);
}

// Neither infinite nor NaN. (std::isfinite may be optimised by flags of the including file; this may not.)
inline bool is_finite(float value) {
  return (std::bit_cast<std::uint32_t>(value) & 0x7F800000u) != 0x7F800000u;
}

}  // namespace zenwoq
