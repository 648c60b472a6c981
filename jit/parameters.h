// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// What a group has besides its codes: a scale, and perhaps a zero point or an offset.
#pragma once

#include <array>
#include <cstdint>
#include <string>

#include "jit/number.h"
#include "jit/panel_layout.h"
#include "src/text/formatted.h"

namespace zenwoq {

struct ParameterFormat {
  zenwoq_dtype scale_type = ZENWOQ_BF16;
  zenwoq_zero_kind zero_kind = ZENWOQ_ZERO_NONE;
  zenwoq_dtype zero_type = ZENWOQ_BF16;  // of zero points that are fractions

  bool has_zeros() const { return zero_kind != ZENWOQ_ZERO_NONE; }
  bool has_integer_zeros() const { return zero_kind == ZENWOQ_ZERO_INTEGER; }
  bool has_float_zeros() const { return zero_kind == ZENWOQ_ZERO_FLOAT; }
  bool has_offsets() const { return zero_kind == ZENWOQ_ZERO_OFFSET; }
  // Bytes, times an f16 that eight groups share.
  bool has_two_levels() const { return is_two_level(scale_type); }

  zenwoq_dtype float_type() const { return has_float_zeros() ? zero_type : scale_type; }  // of offsets and float zeros
  std::size_t scale_bytes() const { return dtype_bytes(scale_type); }
  std::size_t zero_bytes() const { return !has_zeros() ? 0 : has_integer_zeros() ? 1 : dtype_bytes(float_type()); }
  std::size_t super_bytes() const { return !has_two_levels() ? 0 : has_offsets() ? 4 : 2; }

  // Why no weight of this length and group has them; empty if one can.
  std::string why_not(std::uint64_t k, std::uint64_t group) const {
    if (has_two_levels() && k % (PanelLayout::kSuperGroups * group) != 0) {
      return formatted("k = {} in groups of {}: must be a multiple of eight groups for scales of two levels", k, group);
    }
    if (has_offsets() && !is_dtype(scale_type) && scale_type != ZENWOQ_U8_F16) {
      return formatted("offsets of scale_type {}: must be f32, f16, bf16 or u8f16", dtype_name(scale_type));
    }
    return {};
  }

  PanelLayout layout(std::uint64_t k, std::uint64_t group) const {
    return {k, group, scale_bytes(), zero_bytes(), super_bytes()};
  }
};

// Sign, exponent and mantissa of an E4M3 that was shifted into an f16 with its sign twice: 16 words, for an operand.
inline constexpr std::array<std::uint8_t, 32> kE4m3InF16 = [] {
  std::array<std::uint8_t, 32> words{};
  for (std::size_t i = 0; i < words.size(); i += 2) words[i] = 0x80, words[i + 1] = 0xBF;
  return words;
}();
// What the two biases of the exponent differ by: 256, in f32.
inline constexpr std::uint32_t kE4m3Factor = 0x43800000u;
inline constexpr std::array<std::uint8_t, 32> kE4m3Factors = [] {
  std::array<std::uint8_t, 32> floats{};
  for (std::size_t i = 0; i < floats.size(); i += 4) floats[i + 2] = 0x80, floats[i + 3] = 0x43;
  return floats;
}();

}  // namespace zenwoq
