// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// The one description of a quantized weight: its shape, and what its codes, scales and zeros are.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>

#include "jit/parameters.h"
#include "jit/status.h"
#include "zenwoq/zenwoq.h"

namespace zenwoq {

struct Quantization {
  std::uint64_t n = 0;
  std::uint64_t k = 0;
  std::uint64_t group_size = 0;  // as it was described: 0, or K and above, is one group per row; group() is what counts
  zenwoq_dtype scale_type = ZENWOQ_BF16;
  zenwoq_zero_kind zero_kind = ZENWOQ_ZERO_NONE;
  std::array<float, 16> table{};         // value of each code
  zenwoq_dtype zero_type = ZENWOQ_BF16;  // where zeros are fractions; BF16 otherwise
  zenwoq_tensor_scale_kind tensor_scale_kind = ZENWOQ_TENSOR_SCALE_NONE;
  float tensor_scale = 1.0f;  // 1 where there is none
  bool permuted = false;      // columns of x and of the matrix are in another order in the packed weight
  bool x_scaled = false;      // columns of x have factors

  std::uint64_t group() const { return group_size == 0 || group_size > k ? k : group_size; }
  std::uint64_t groups() const { return (k + group() - 1) / group(); }
  std::uint64_t panels() const { return (n + kPanelColumns - 1) / kPanelColumns; }
  std::uint64_t supers() const { return format().has_two_levels() ? groups() / PanelLayout::kSuperGroups : 0; }
  ParameterFormat format() const { return {scale_type, zero_kind, zero_type}; }
  std::size_t scale_bytes() const { return format().scale_bytes(); }
  std::size_t zero_bytes() const { return format().zero_bytes(); }
  PanelLayout layout() const { return format().layout(k, group()); }

  // "int4 sym per-group 128, scale bf16"; "nvfp4 per-group 16, scale e4m3, tensor scale"
  std::string text() const;
  zenwoq_weight_desc desc() const;
};

Quantization quantization_of(const zenwoq_weight_desc& desc);

// 0, or groups that begin where a step of the panel does.
inline bool is_group_size(std::uint64_t group_size) { return group_size % kStepK == 0; }

// The usual tables, in f32; empty for an unknown kind.
std::optional<std::array<float, 16>> code_table(zenwoq_code_table kind);

// Whether there is such a weight. Errors: INVALID_ARGUMENT.
Status check_desc(const zenwoq_weight_desc& desc);
Status check_quantization(const Quantization& q);

}  // namespace zenwoq
