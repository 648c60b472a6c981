// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// Random data, and the arithmetic contract in its most literal form: explicit flushing instead of MXCSR.
#include "tests/support/random_weight.h"

#include <bit>
#include <cmath>
#include <cstring>

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
  return source;
}

unsigned RandomWeight::code(std::size_t row, std::size_t column) const {
  return (codes[row * ((k + 1) / 2) + column / 2] >> (4 * (column % 2))) & 15u;
}

float RandomWeight::scale(std::size_t row, std::size_t g) const {
  return load_as_f32(scale_type, scales.data(), row * groups() + g);
}

float RandomWeight::offset(std::size_t row, std::size_t g) const {
  return load_as_f32(scale_type, zeros.data(), row * groups() + g);
}

RandomWeight random_weight(Rng& rng, std::size_t n, std::size_t k, std::size_t group_size, zenwoq_dtype scale_type,
                           zenwoq_zero_kind zero_kind) {
  RandomWeight weight;
  weight.n = n;
  weight.k = k;
  weight.group_size = group_size;
  weight.scale_type = scale_type;
  weight.zero_kind = zero_kind;
  (void)zenwoq_code_table_fill(static_cast<zenwoq_code_table>(rng() % 3), weight.table.data());
  if (rng() % 4 == 0) {  // any table: its values rounded to bf16
    for (float& value : weight.table) value = std::ldexp(static_cast<float>(static_cast<std::int64_t>(rng())), -62);
  }
  weight.codes.resize(n * ((k + 1) / 2));
  for (std::uint8_t& byte : weight.codes) byte = static_cast<std::uint8_t>(rng());
  const std::size_t parameters = n * weight.groups();
  const std::size_t bytes = dtype_bytes(scale_type);
  weight.scales.resize(parameters * bytes);
  for (std::size_t i = 0; i < parameters; ++i) put_random(rng, scale_type, weight.scales.data() + i * bytes);
  if (zero_kind == ZENWOQ_ZERO_INTEGER) {
    weight.zeros.resize(parameters);
    for (std::uint8_t& zero : weight.zeros) zero = static_cast<std::uint8_t>(pick(rng, 0, 16));
  } else if (zero_kind == ZENWOQ_ZERO_OFFSET) {
    weight.zeros.resize(parameters * bytes);
    for (std::size_t i = 0; i < parameters; ++i) put_random(rng, scale_type, weight.zeros.data() + i * bytes);
  }
  return weight;
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

float contract_element(const RandomWeight& weight, std::size_t n, const std::vector<std::uint16_t>& x,
                       const float* bias) {
  const std::size_t k = weight.k;
  const std::size_t group = weight.group();
  const auto x_at = [&](std::size_t i) { return i < k ? bf16_to_f32(x[i]) : 0.0f; };
  const auto t_at = [&](std::size_t i) {
    return bf16_to_f32(f32_to_bf16(weight.table[i < k ? weight.code(n, i) : 0]));
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
    total = contract_fma(weight.scale(n, g), acc, total);
    if (weight.zero_kind == ZENWOQ_ZERO_OFFSET) total = contract_fma(weight.offset(n, g), xsum, total);
  }
  return bias == nullptr ? total : contract_fma(total, 1.0f, bias[n]);
}

bool same_f32(float a, float b) {
  return std::bit_cast<std::uint32_t>(a) == std::bit_cast<std::uint32_t>(b) || (std::isnan(a) && std::isnan(b));
}

bool same_bf16(std::uint16_t a, std::uint16_t b) { return a == b || ((a & 0x7FFF) > 0x7F80 && (b & 0x7FFF) > 0x7F80); }

}  // namespace zenwoq::test
