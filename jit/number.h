// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// Element types: sizes, names, and exact conversions between f32, f16 and bf16 that do not depend on MXCSR (no denormal
// is read or made by an FP operation).
#pragma once

#include <bit>
#include <cstdint>
#include <cstring>
#include <limits>

#include "zenwoq/zenwoq.h"

namespace zenwoq {

inline constexpr zenwoq_dtype kDtypes[] = {ZENWOQ_F32, ZENWOQ_F16, ZENWOQ_BF16};
inline constexpr zenwoq_dtype kScaleTypes[] = {ZENWOQ_F32,  ZENWOQ_F16,    ZENWOQ_BF16,  ZENWOQ_E8M0,
                                               ZENWOQ_E4M3, ZENWOQ_U8_F16, ZENWOQ_S8_F16};
inline constexpr zenwoq_zero_kind kZeroKinds[] = {ZENWOQ_ZERO_NONE, ZENWOQ_ZERO_INTEGER, ZENWOQ_ZERO_OFFSET,
                                                  ZENWOQ_ZERO_FLOAT};

// Of activations, outputs, biases and zero points that are fractions.
inline bool is_dtype(int value) { return value >= ZENWOQ_F32 && value <= ZENWOQ_BF16; }
inline bool is_scale_type(int value) { return value >= ZENWOQ_F32 && value <= ZENWOQ_S8_F16; }

// A byte a group, times an f16 that eight groups share.
inline bool is_two_level(zenwoq_dtype type) { return type == ZENWOQ_U8_F16 || type == ZENWOQ_S8_F16; }

// Of one element; of scales with two levels the byte.
inline std::size_t dtype_bytes(zenwoq_dtype type) { return type == ZENWOQ_F32 ? 4 : is_dtype(type) ? 2 : 1; }

inline const char* dtype_name(zenwoq_dtype type) {
  constexpr const char* kNames[] = {"f32", "f16", "bf16", "e8m0", "e4m3", "u8f16", "s8f16"};
  return kNames[type - ZENWOQ_F32];
}

// The words of every text, JSON key and option.
inline const char* zero_kind_name(zenwoq_zero_kind kind) {
  constexpr const char* kNames[] = {"none", "integer", "offset", "float"};
  return kNames[kind];
}

// The short form in names of kernels and of benchmark rows.
inline const char* zero_kind_tag(zenwoq_zero_kind kind) {
  constexpr const char* kTags[] = {"z0", "zi", "za", "zf"};
  return kTags[kind];
}

inline float bf16_to_f32(std::uint16_t bits) { return std::bit_cast<float>(std::uint32_t{bits} << 16); }

// Round to nearest even; NaN stays NaN (quiet). Without branches, so that loops over it are vectorised.
inline std::uint16_t f32_to_bf16(float value) {
  const auto bits = std::bit_cast<std::uint32_t>(value);
  const std::uint32_t rounded = (bits + 0x7FFFu + ((bits >> 16) & 1u)) >> 16;
  const std::uint32_t quiet = (bits >> 16) | 0x0040u;
  return static_cast<std::uint16_t>((bits & 0x7FFFFFFFu) > 0x7F800000u ? quiet : rounded);
}

// Without branches, as above. A denormal is its mantissa, an integer that is exact in f32, times 2^-24.
inline float f16_to_f32(std::uint16_t half) {
  constexpr std::int32_t kRebias = (127 - 15) << 23;
  // All bits set if a < b. Not by ?:, which the compiler turns into a branch around the conversion below.
  const auto less = [](std::int32_t a, std::int32_t b) { return (a - b) >> 31; };
  const std::int32_t magnitude = half & 0x7FFF;
  const std::int32_t denormal =
      (std::bit_cast<std::int32_t>(static_cast<float>(magnitude)) - (24 << 23)) & less(0, magnitude);
  const std::int32_t normal = (magnitude << 13) + kRebias;
  const std::int32_t infinity_or_nan = kRebias & less(0x7BFF, magnitude);
  const std::int32_t is_denormal = less(magnitude, 0x0400);
  const std::int32_t bits = (denormal & is_denormal) | ((normal + infinity_or_nan) & ~is_denormal);
  return std::bit_cast<float>(static_cast<std::uint32_t>(bits) | (std::uint32_t{half & 0x8000u} << 16));
}

// 2^(e - 127), exactly: e = 0 is a denormal. 255, which stands for NaN and is never packed, comes out as infinity, as
// in kernels.
inline float e8m0_to_f32(std::uint8_t e) { return std::bit_cast<float>(e == 0 ? 0x00400000u : std::uint32_t{e} << 23); }

// As an f16 whose exponent has a bias of 15 and not of 7. 0x7F and 0xFF, which stand for NaN and are never packed, come
// out as 480 and -480, as in kernels.
inline float e4m3_to_f32(std::uint8_t bits) {
  const std::uint32_t half = (bits & 0x80u) << 8 | (bits & 0x7Fu) << 7;
  return f16_to_f32(static_cast<std::uint16_t>(half)) * 256.0f;
}

// Element i of an array of any alignment, widened exactly; of scales with two levels the byte.
inline float load_as_f32(zenwoq_dtype type, const void* array, std::size_t i) {
  const auto* bytes = static_cast<const unsigned char*>(array);
  switch (type) {
    case ZENWOQ_E8M0: return e8m0_to_f32(bytes[i]);
    case ZENWOQ_E4M3: return e4m3_to_f32(bytes[i]);
    case ZENWOQ_U8_F16: return static_cast<float>(bytes[i]);
    case ZENWOQ_S8_F16: return static_cast<float>(static_cast<std::int8_t>(bytes[i]));
    default: break;
  }
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
inline bool is_finite(float value) { return (std::bit_cast<std::uint32_t>(value) & 0x7F800000u) != 0x7F800000u; }

// Element i of an array as a number that can be packed; NaN where it cannot be.
inline float load_packable(zenwoq_dtype type, const void* array, std::size_t i) {
  constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
  const std::uint8_t byte = static_cast<const std::uint8_t*>(array)[i * dtype_bytes(type)];
  if (type == ZENWOQ_E8M0 && byte == 255) return kNan;
  if (type == ZENWOQ_E4M3 && (byte & 0x7Fu) == 0x7Fu) return kNan;
  return load_as_f32(type, array, i);
}

}  // namespace zenwoq
