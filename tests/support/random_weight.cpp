// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// Random data, and the arithmetic contract in its most literal form: explicit flushing instead of MXCSR.
#include "tests/support/random_weight.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <numeric>

#include "jit/number.h"

namespace zenwoq::test {
namespace {

std::uint16_t random_f16(Rng& rng) {
  switch (pick(rng, 0, 15)) {
    case 0: return static_cast<std::uint16_t>(pick(rng, 0, 0x3FF) | (rng() % 2 ? 0x8000 : 0));  // denormal or zero
    case 1: return static_cast<std::uint16_t>(0x7BFF - pick(rng, 0, 0x400));                    // huge
    default: return static_cast<std::uint16_t>(0x2000 + pick(rng, 0, 0x1400) + (rng() % 8 == 0 ? 0x8000 : 0));
  }
}

std::uint16_t random_scale_bf16(Rng& rng) {
  switch (pick(rng, 0, 15)) {
    case 0: return static_cast<std::uint16_t>(pick(rng, 0, 0x17F) | (rng() % 2 ? 0x8000 : 0));  // zero, denormal, tiny
    case 1: return static_cast<std::uint16_t>(0x7F7F - pick(rng, 0, 0x100));                    // huge
    default: return static_cast<std::uint16_t>(0x3B00 + pick(rng, 0, 0x500) + (rng() % 8 == 0 ? 0x8000 : 0));
  }
}

void put_random(Rng& rng, zenwoq_dtype type, std::uint8_t* to) {
  switch (type) {
    case ZENWOQ_E8M0: *to = static_cast<std::uint8_t>(rng() % 4 == 0 ? pick(rng, 0, 254) : pick(rng, 100, 140)); return;
    case ZENWOQ_E4M3:
      do *to = static_cast<std::uint8_t>(rng());
      while ((*to & 0x7F) == 0x7F);
      return;
    case ZENWOQ_U8_F16:
    case ZENWOQ_S8_F16: *to = static_cast<std::uint8_t>(rng()); return;
    default: break;
  }
  if (type == ZENWOQ_F16) {
    const std::uint16_t bits = random_f16(rng);
    std::memcpy(to, &bits, 2);
    return;
  }
  const std::uint16_t bits = random_scale_bf16(rng);
  if (type == ZENWOQ_BF16) {
    std::memcpy(to, &bits, 2);
    return;
  }
  const std::uint32_t wide = std::uint32_t{bits} << 16 | static_cast<std::uint32_t>(rng() & 0xFFFF);
  std::memcpy(to, &wide, 4);
}

float flushed(float value) { return std::fpclassify(value) == FP_SUBNORMAL ? std::copysign(0.0f, value) : value; }

// fma with denormals-are-zero and flush-to-zero. Tininess is judged after rounding to 24 bits with an unbounded
// exponent, as x86 does: a result that rounds up to the smallest normal is kept only if it is normal before the
// exponent is bounded.
float contract_fma(float a, float b, float c) {
  a = flushed(a), b = flushed(b), c = flushed(c);
  const float result = std::fma(a, b, c);
  if (std::fabs(result) > 0x1p-126f || !std::isfinite(result)) return result;
  if (result == 0.0f) {
    // An underflow to zero keeps its sign; an exact zero has the sign of the IEEE rules. fma gives both.
    return result;
  }
  // Scaled by 2^60, the same operation has no denormals, so it rounds with an unbounded exponent.
  const float scaled = std::fma(a * 0x1p60f, b, c * 0x1p60f);
  const bool scaling_exact =
      std::isfinite(a * 0x1p60f) && std::isfinite(c * 0x1p60f) && std::fabs(a) < 0x1p60f && std::fabs(c) < 0x1p60f;
  const bool tiny =
      scaling_exact ? std::fabs(scaled) < 0x1p-66f : std::fabs(std::fma(a, b * 0x1p60f, c * 0x1p60f)) < 0x1p-66f;
  return tiny ? std::copysign(0.0f, result) : result;
}

// The result of a product or quotient, as flushing leaves it. operation(a) is it for another first operand.
template <typename Operation>
float flushed_result(float a, const Operation& operation) {
  const float result = operation(a);
  if (std::fabs(result) > 0x1p-126f || !std::isfinite(result) || result == 0.0f || std::fabs(a) >= 0x1p60f)
    return result;
  return std::fabs(operation(a * 0x1p60f)) < 0x1p-66f ? std::copysign(0.0f, result) : result;
}

float parameter(zenwoq_dtype type, const std::vector<std::uint8_t>& values, const std::vector<std::uint8_t>& supers,
                std::size_t i) {
  const float value = load_as_f32(type, values.data(), i);
  return supers.empty() ? value : value * load_as_f32(ZENWOQ_F16, supers.data(), i / 8);
}

std::vector<std::uint8_t> random_values(Rng& rng, zenwoq_dtype type, std::size_t count) {
  std::vector<std::uint8_t> values(count * dtype_bytes(type));
  for (std::size_t i = 0; i < count; ++i) put_random(rng, type, values.data() + i * dtype_bytes(type));
  return values;
}

}  // namespace

std::size_t pick(Rng& rng, std::size_t low, std::size_t high) { return low + rng() % (high - low + 1); }

zenwoq_weight_source RandomWeight::source() const {
  zenwoq_weight_source source;
  zenwoq_weight_source_init(&source);
  source.codes = codes.data();
  source.codes_bytes = codes.size();
  source.scales = scales.data();
  source.scales_bytes = scales.size();
  source.zeros = zeros.empty() ? nullptr : zeros.data();
  source.zeros_bytes = zeros.size();
  source.super_scales = super_scales.empty() ? nullptr : super_scales.data();
  source.super_scales_bytes = super_scales.size();
  source.super_offsets = super_offsets.empty() ? nullptr : super_offsets.data();
  source.super_offsets_bytes = super_offsets.size();
  source.permutation = permutation.empty() ? nullptr : permutation.data();
  source.permutation_bytes = permutation.size() * 4;
  source.x_scale = x_scale.empty() ? nullptr : x_scale.data();
  source.x_scale_bytes = x_scale.size() * 4;
  return source;
}

unsigned RandomWeight::code(std::size_t row, std::size_t column) const {
  return (codes[row * ((k + 1) / 2) + column / 2] >> (4 * (column % 2))) & 15u;
}

float RandomWeight::scale(std::size_t row, std::size_t g) const {
  return parameter(scale_type, scales, super_scales, row * groups() + g);
}

float RandomWeight::offset(std::size_t row, std::size_t g) const {
  return parameter(format().float_type(), zeros, super_offsets, row * groups() + g);
}

ParameterFormat random_format(Rng& rng) {
  constexpr zenwoq_dtype kFloats[] = {ZENWOQ_F32, ZENWOQ_F16, ZENWOQ_BF16};
  ParameterFormat format{kScaleTypes[rng() % std::size(kScaleTypes)], kZeroKinds[rng() % std::size(kZeroKinds)]};
  if (format.has_float_zeros()) format.zero_type = kFloats[rng() % 3];
  if (format.has_offsets() && !is_dtype(format.scale_type)) format.scale_type = ZENWOQ_U8_F16;
  return format;
}

std::size_t fitting_k(const ParameterFormat& format, std::size_t k, std::size_t group_size) {
  const std::size_t eight = 8 * group_size;
  return format.has_two_levels() ? (k + eight - 1) / eight * eight : k;
}

RandomWeight random_weight(Rng& rng, std::size_t n, std::size_t k, std::size_t group_size,
                           const ParameterFormat& format) {
  RandomWeight weight;
  weight.n = n;
  weight.k = k;
  weight.group_size = group_size;
  weight.scale_type = format.scale_type;
  weight.zero_kind = format.zero_kind;
  weight.zero_type = format.zero_type;
  (void)zenwoq_code_table_fill(static_cast<zenwoq_code_table>(rng() % (rng() % 4 ? 3 : 7)), weight.table.data());
  if (rng() % 4 == 0) {  // any table: its values rounded to bf16
    for (float& value : weight.table) value = std::ldexp(static_cast<float>(static_cast<std::int64_t>(rng())), -62);
  }
  weight.codes.resize(n * ((k + 1) / 2));
  for (std::uint8_t& byte : weight.codes) byte = static_cast<std::uint8_t>(rng());
  const std::size_t parameters = n * weight.groups(), supers = n * weight.supers();
  weight.scales = random_values(rng, format.scale_type, parameters);
  weight.super_scales = random_values(rng, ZENWOQ_F16, supers);
  if (format.has_integer_zeros()) {
    weight.zeros.resize(parameters);
    for (std::uint8_t& zero : weight.zeros) zero = static_cast<std::uint8_t>(pick(rng, 0, 16));
  } else if (format.has_zeros()) {
    weight.zeros = random_values(rng, format.float_type(), parameters);
  }
  if (format.has_offsets()) weight.super_offsets = random_values(rng, ZENWOQ_F16, supers);
  return weight;
}

void permute_columns(Rng& rng, RandomWeight* weight) {
  weight->permuted = true;
  weight->permutation.resize(weight->k);
  std::iota(weight->permutation.begin(), weight->permutation.end(), 0u);
  std::shuffle(weight->permutation.begin(), weight->permutation.end(), rng);
}

void scale_columns(Rng& rng, RandomWeight* weight) {
  weight->x_scaled = true;
  weight->x_scale.resize(weight->k);
  for (float& factor : weight->x_scale) factor = bf16_to_f32(random_scale_bf16(rng)) * (rng() % 2 ? 1.0f : 1.1f);
  for (float& factor : weight->x_scale) factor = std::isfinite(factor) ? factor : 1.0f;
}

std::uint16_t random_bf16(Rng& rng, bool nasty) {
  const std::uint64_t kind = rng() % 256;
  const auto sign = static_cast<std::uint16_t>(rng() % 2 ? 0x8000 : 0);
  if (nasty && kind < 16) {
    constexpr std::uint16_t kSpecial[] = {0x0000, 0x0001, 0x007F, 0x0080, 0x7F7F, 0x7F80, 0x7FC1, 0x7F81};
    // Infinities and NaNs are rare, because they hide everything that comes after them.
    return static_cast<std::uint16_t>(kSpecial[kind < 15 ? rng() % 5 : 5 + rng() % 3] | sign);
  }
  if (kind < 48) return static_cast<std::uint16_t>(pick(rng, 0x0000, 0x0300) | sign);  // products underflow
  return static_cast<std::uint16_t>(pick(rng, 0x3C00, 0x4080) | sign);
}

float contract_tensor_scale(zenwoq_tensor_scale_kind kind, float total, float scale) {
  total = flushed(total), scale = flushed(scale);
  if (kind == ZENWOQ_TENSOR_SCALE_TIMES) return flushed_result(total, [&](float a) { return a * scale; });
  return kind == ZENWOQ_TENSOR_SCALE_BY ? flushed_result(total, [&](float a) { return a / scale; }) : total;
}

float contract_element(const RandomWeight& weight, std::size_t n, const std::vector<std::uint16_t>& x,
                       const float* bias) {
  const std::size_t k = weight.k;
  const std::size_t group = weight.group();
  const auto column = [&](std::size_t place) { return weight.permuted ? weight.permutation[place] : place; };
  const auto x_at = [&](std::size_t place) {
    if (place >= k) return 0.0f;
    const std::size_t i = column(place);
    if (!weight.x_scaled) return bf16_to_f32(x[i]);
    const float factor = flushed(weight.x_scale[i]);
    return bf16_to_f32(f32_to_bf16(flushed_result(flushed(bf16_to_f32(x[i])), [&](float a) { return a * factor; })));
  };
  const auto t_at = [&](std::size_t place) {
    return bf16_to_f32(f32_to_bf16(weight.table[place < k ? weight.code(n, column(place)) : 0]));
  };
  float total = 0.0f;
  for (std::size_t g = 0; g < weight.groups(); ++g) {
    const std::size_t end = std::min(k, (g + 1) * group);
    const std::size_t padded = g * group + (end - g * group + 7) / 8 * 8;
    float acc = 0.0f;
    float xsum = 0.0f;
    for (std::size_t i = g * group; i < padded; i += 2) {
      // Past the end of the group (only ever the end of K) x is +0 and the code 0.
      acc = contract_fma(x_at(i + 1), t_at(i + 1), acc);
      acc = contract_fma(x_at(i), t_at(i), acc);
      xsum = contract_fma(x_at(i + 1), 1.0f, xsum);
      xsum = contract_fma(x_at(i), 1.0f, xsum);
    }
    if (weight.zero_kind == ZENWOQ_ZERO_INTEGER)
      acc = contract_fma(static_cast<float>(8 - weight.zero(n, g)), xsum, acc);
    if (weight.zero_kind == ZENWOQ_ZERO_FLOAT) acc = contract_fma(-weight.offset(n, g), xsum, acc);
    total = contract_fma(weight.scale(n, g), acc, total);
    if (weight.zero_kind == ZENWOQ_ZERO_OFFSET) total = contract_fma(weight.offset(n, g), xsum, total);
  }
  total = contract_tensor_scale(weight.tensor_scale_kind, total, weight.tensor_scale);
  return bias == nullptr ? total : contract_fma(total, 1.0f, bias[n]);
}

bool same_f32(float a, float b) {
  return std::bit_cast<std::uint32_t>(a) == std::bit_cast<std::uint32_t>(b) || (std::isnan(a) && std::isnan(b));
}

bool same_bf16(std::uint16_t a, std::uint16_t b) { return a == b || ((a & 0x7FFF) > 0x7F80 && (b & 0x7FFF) > 0x7F80); }

}  // namespace zenwoq::test
