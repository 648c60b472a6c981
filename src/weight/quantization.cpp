// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// Descriptions of weights: from and to the C struct, checked, in words.
#include "src/weight/quantization.h"

#include <algorithm>

namespace zenwoq {

std::string Quantization::text() const {
  constexpr const char* kKinds[] = {"sym", "asym", "offset"};
  const std::string granularity = group_size == 0 ? "per-channel" : fmt::format("per-group {}", group_size);
  return fmt::format("int4 {} {}, scale {}", kKinds[zero_kind], granularity, dtype_name(scale_type));
}

zenwoq_weight_desc Quantization::desc() const {
  zenwoq_weight_desc desc;
  zenwoq_weight_desc_init(&desc);
  desc.n = n;
  desc.k = k;
  desc.group_size = group_size;
  desc.scale_type = scale_type;
  desc.zero_kind = zero_kind;
  std::copy(table.begin(), table.end(), desc.table);
  return desc;
}

Quantization quantization_of(const zenwoq_weight_desc& desc) {
  Quantization q{desc.n, desc.k, desc.group_size, desc.scale_type, desc.zero_kind, {}};
  std::copy(std::begin(desc.table), std::end(desc.table), q.table.begin());
  return q;
}

Status check_quantization(const Quantization& q) {
  if (q.n == 0 || q.k == 0) return invalid("weight of n = {}, k = {}: both must be at least 1", q.n, q.k);
  if (!is_group_size(q.group_size)) {
    return invalid("group_size {}: must be a multiple of 8, or 0 for per-channel", q.group_size);
  }
  if (!is_dtype(q.scale_type)) {
    return invalid("scale_type {}: must be ZENWOQ_F32 (1), ZENWOQ_F16 (2) or ZENWOQ_BF16 (3)",
                   static_cast<int>(q.scale_type));
  }
  if (static_cast<unsigned>(q.zero_kind) > ZENWOQ_ZERO_OFFSET) {
    return invalid("zero_kind {}: must be none (0), integer (1) or offset (2)", static_cast<int>(q.zero_kind));
  }
  for (std::size_t i = 0; i < q.table.size(); ++i) {
    if (!is_finite(bf16_to_f32(f32_to_bf16(q.table[i])))) {
      return invalid("table[{}] = {}: the value of a code must be finite in bf16", i, q.table[i]);
    }
  }
  return {};
}

}  // namespace zenwoq
