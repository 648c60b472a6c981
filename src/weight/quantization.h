// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// The one description of a quantized weight: its shape, and what its codes, scales and zeros are.
#pragma once

#include <array>
#include <cstdint>
#include <string>

#include "jit/number.h"
#include "jit/panel_layout.h"
#include "jit/status.h"
#include "zenwoq/zenwoq.h"

namespace zenwoq {

struct Quantization {
  std::uint64_t n = 0;
  std::uint64_t k = 0;
  std::uint64_t group_size = 0;  // as it was described: 0, or K and above, is one group per row; group() is what counts
  zenwoq_dtype scale_type = ZENWOQ_BF16;
  zenwoq_zero_kind zero_kind = ZENWOQ_ZERO_NONE;
  std::array<float, 16> table{};  // value of each code

  std::uint64_t group() const { return group_size == 0 || group_size > k ? k : group_size; }
  std::uint64_t groups() const { return (k + group() - 1) / group(); }
  std::uint64_t panels() const { return (n + kPanelColumns - 1) / kPanelColumns; }
  std::size_t scale_bytes() const { return dtype_bytes(scale_type); }
  std::size_t zero_bytes() const { return zenwoq::zero_bytes(zero_kind, scale_type); }
  PanelLayout layout() const { return {k, group(), scale_bytes(), zero_bytes()}; }

  // "int4 sym per-group 128, scale bf16"
  std::string text() const;
  zenwoq_weight_desc desc() const;
};

Quantization quantization_of(const zenwoq_weight_desc& desc);

// 0, or groups that begin where a step of the panel does.
inline bool is_group_size(std::uint64_t group_size) { return group_size % kStepK == 0; }

// Whether there is such a weight. Errors: INVALID_ARGUMENT.
Status check_quantization(const Quantization& q);

}  // namespace zenwoq
