// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// Descriptions of weights: from and to the C struct, checked, in words.
#include "src/weight/quantization.h"

#include <algorithm>

#include "jit/decode_table.h"

namespace zenwoq {
namespace {

// bitsandbytes' create_normal_map, as its files hold it.
constexpr std::array<float, 16> kNf4 = {-1.0f,           -0x1.647362p-1f, -0x1.0cd66p-1f,  -0x1.94654p-2f,
                                        -0x1.23449ap-2f, -0x1.7a6a7ep-3f, -0x1.74f0e2p-4f, 0.0f,
                                        0x1.45f5fep-4f,  0x1.4995c6p-3f,  0x1.f809bap-3f,  0x1.5a0674p-2f,
                                        0x1.c3497p-2f,   0x1.200f56p-1f,  0x1.722766p-1f,  1.0f};
// bitsandbytes' get_4bit_type("fp4"); bit 3 is the sign, but of zero.
constexpr float kFp4[8] = {0.0f,           0x1.555556p-8f, 0x1.555556p-1f, 1.0f,
                           0x1.555556p-2f, 0x1.p-1f,       0x1.555556p-3f, 0x1.p-2f};
constexpr float kE2m1[8] = {0.0f, 0.5f, 1.0f, 1.5f, 2.0f, 3.0f, 4.0f, 6.0f};
constexpr std::array<float, 16> kIq4Nl = {-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113};

std::array<float, 16> with_signs(const float (&positive)[8], float code_8) {
  std::array<float, 16> table;
  for (std::size_t code = 0; code < 16; ++code) table[code] = code < 8 ? positive[code] : -positive[code - 8];
  table[8] = code_8;
  return table;
}

bool is_table(const Quantization& q, zenwoq_code_table kind) { return q.table == *code_table(kind); }

// What the codes are called, with their scales where the two have a name together.
std::string codes_name(const Quantization& q) {
  if (make_decode_table(q.table).integer) return "int4";
  if (is_table(q, ZENWOQ_TABLE_NF4)) return "nf4";
  if (is_table(q, ZENWOQ_TABLE_FP4)) return "fp4";
  if (is_table(q, ZENWOQ_TABLE_IQ4_NL)) return q.scale_type == ZENWOQ_S8_F16 ? "iq4_xs" : "iq4_nl";
  if (!is_table(q, ZENWOQ_TABLE_E2M1)) return "table4";
  if (q.scale_type == ZENWOQ_E8M0 && q.group() == 32) return "mxfp4";
  if (q.scale_type == ZENWOQ_E4M3 && q.group() == 16) return "nvfp4";
  return "e2m1";
}

}  // namespace

std::optional<std::array<float, 16>> code_table(zenwoq_code_table kind) {
  std::array<float, 16> table;
  const auto count = [&](int first, int flip) {
    for (int code = 0; code < 16; ++code)
      table[static_cast<std::size_t>(code)] = static_cast<float>((code ^ flip) + first);
    return table;
  };
  switch (kind) {
    case ZENWOQ_TABLE_MINUS_8: return count(-8, 0);
    case ZENWOQ_TABLE_TWOS_COMPLEMENT: return count(-8, 8);
    case ZENWOQ_TABLE_UNSIGNED: return count(0, 0);
    case ZENWOQ_TABLE_NF4: return kNf4;
    case ZENWOQ_TABLE_FP4: return with_signs(kFp4, 0.0f);
    case ZENWOQ_TABLE_E2M1: return with_signs(kE2m1, -0.0f);
    case ZENWOQ_TABLE_IQ4_NL: return kIq4Nl;
  }
  return std::nullopt;
}

std::string Quantization::text() const {
  constexpr const char* kKinds[] = {"sym", "asym", "offset", "asym"};
  const std::string codes = codes_name(*this);
  const bool symmetric_by_name = codes != "int4" && !format().has_zeros();
  std::string text = codes + (symmetric_by_name ? "" : formatted(" {}", kKinds[zero_kind]));
  text += group_size == 0 ? " per-channel" : formatted(" per-group {}", group_size);
  text += formatted(", scale {}", dtype_name(scale_type));
  if (format().has_float_zeros()) text += formatted(", zero {}", dtype_name(zero_type));
  if (tensor_scale_kind != ZENWOQ_TENSOR_SCALE_NONE) text += ", tensor scale";
  if (permuted) text += ", act-order";
  if (x_scaled) text += ", x scaled";
  return text;
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
  desc.zero_type = zero_type;
  desc.tensor_scale_kind = tensor_scale_kind;
  desc.tensor_scale = tensor_scale;
  desc.permuted = permuted;
  desc.x_scaled = x_scaled;
  return desc;
}

Quantization quantization_of(const zenwoq_weight_desc& desc) {
  Quantization q{.n = desc.n,
                 .k = desc.k,
                 .group_size = desc.group_size,
                 .scale_type = desc.scale_type,
                 .zero_kind = desc.zero_kind,
                 .table = std::to_array(desc.table),
                 .zero_type = desc.zero_kind == ZENWOQ_ZERO_FLOAT ? desc.zero_type : ZENWOQ_BF16,
                 .tensor_scale_kind = desc.tensor_scale_kind,
                 .tensor_scale = desc.tensor_scale_kind == ZENWOQ_TENSOR_SCALE_NONE ? 1.0f : desc.tensor_scale,
                 .permuted = desc.permuted != 0,
                 .x_scaled = desc.x_scaled != 0};
  return q;
}

Status check_desc(const zenwoq_weight_desc& desc) {
  if (desc.permuted > 1) return invalid("permuted is {}: must be 0 or 1", desc.permuted);
  if (desc.x_scaled > 1) return invalid("x_scaled is {}: must be 0 or 1", desc.x_scaled);
  if (desc.reserved != 0)
    return invalid("reserved is {}: must be 0, a later version may give it a meaning", desc.reserved);
  return check_quantization(quantization_of(desc));
}

Status check_quantization(const Quantization& q) {
  if (q.n == 0 || q.k == 0) return invalid("weight of n = {}, k = {}: both must be at least 1", q.n, q.k);
  if (!is_group_size(q.group_size)) {
    return invalid("group_size {}: must be a multiple of 8, or 0 for per-channel", q.group_size);
  }
  if (!is_scale_type(q.scale_type)) {
    return invalid(
        "scale_type {}: must be ZENWOQ_F32 (1), ZENWOQ_F16 (2), ZENWOQ_BF16 (3), ZENWOQ_E8M0 (4), ZENWOQ_E4M3 (5), "
        "ZENWOQ_U8_F16 (6) or ZENWOQ_S8_F16 (7)",
        static_cast<int>(q.scale_type));
  }
  if (static_cast<unsigned>(q.zero_kind) > ZENWOQ_ZERO_FLOAT) {
    return invalid("zero_kind {}: must be none (0), integer (1), offset (2) or float (3)",
                   static_cast<int>(q.zero_kind));
  }
  if (const std::string reason = q.format().why_not(q.k, q.group()); !reason.empty()) return invalid("{}", reason);
  if (!is_dtype(q.zero_type)) {
    return invalid("zero_type {}: must be ZENWOQ_F32 (1), ZENWOQ_F16 (2) or ZENWOQ_BF16 (3)",
                   static_cast<int>(q.zero_type));
  }
  if (static_cast<unsigned>(q.tensor_scale_kind) > ZENWOQ_TENSOR_SCALE_BY) {
    return invalid("tensor_scale_kind {}: must be none (0), times (1) or by (2)",
                   static_cast<int>(q.tensor_scale_kind));
  }
  if (!is_finite(q.tensor_scale) || (q.tensor_scale_kind == ZENWOQ_TENSOR_SCALE_BY && q.tensor_scale == 0.0f)) {
    return invalid("tensor_scale is {}: must be finite, and not 0 where scales are divided by it", q.tensor_scale);
  }
  for (std::size_t i = 0; i < q.table.size(); ++i) {
    if (!is_finite(bf16_to_f32(f32_to_bf16(q.table[i])))) {
      return invalid("table[{}] = {}: the value of a code must be finite in bf16", i, q.table[i]);
    }
  }
  return {};
}

}  // namespace zenwoq
