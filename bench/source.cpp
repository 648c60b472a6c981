// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// Random operands with a fixed seed.
#include "bench/source.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <random>

#include "jit/number.h"

namespace zenwoq::bench {
namespace {

using Random = std::mt19937_64;

// Positive numbers around 2^-8, all bits of the mantissa at random.
void fill_scales(Random& random, zenwoq_dtype type, std::vector<std::uint8_t>* out) {
  const std::size_t size = dtype_bytes(type);
  for (std::size_t i = 0; i < out->size(); i += size) {
    const std::uint64_t r = random();
    const std::uint64_t bits = type == ZENWOQ_F32   ? 0x3B800000u | (r & 0x7FFFFF)
                               : type == ZENWOQ_F16 ? 0x1C00u | (r & 0x3FF)
                                                    : 0x3B80u | (r & 0x7F);
    std::memcpy(out->data() + i, &bits, size);
  }
}

void fill_codes(Random& random, zenwoq_code_layout layout, std::vector<std::uint8_t>* out) {
  for (std::size_t i = 0; i < out->size(); i += 8) {
    std::uint64_t r = random();
    if (layout != ZENWOQ_CODES_NIBBLES) r &= 0x0F0F0F0F0F0F0F0Fu;
    std::memcpy(out->data() + i, &r, std::min<std::size_t>(8, out->size() - i));
  }
  if (layout == ZENWOQ_CODES_S8) {
    for (std::uint8_t& code : *out) code = static_cast<std::uint8_t>(code - 8);
  }
}

}  // namespace

const char* table_name(Table table) { return table == Table::nf4 ? "nf4" : "integer"; }

Format::Format(std::size_t rows, std::size_t columns, std::size_t group) {
  zenwoq_weight_desc desc;
  zenwoq_weight_desc_init(&desc);
  static_cast<Quantization&>(*this) = quantization_of(desc);  // bf16 scales, no zeros, code - 8
  n = rows;
  k = columns;
  group_size = group;
}

void Format::set_table(Table kind) {
  constexpr std::array<float, 16> kNf4 = {-1.0f,       -0.6961928f, -0.5250731f, -0.3949175f, -0.2844414f, -0.1847734f,
                                          -0.0910500f, 0.0f,        0.0795803f,  0.1609302f,  0.2461123f,  0.3379152f,
                                          0.4407098f,  0.5626170f,  0.7229568f,  1.0f};
  table_ = kind;
  if (kind == Table::nf4) {
    for (std::size_t i = 0; i < 16; ++i) table[i] = bf16_to_f32(f32_to_bf16(kNf4[i]));
  }
}

double Format::bytes() const {
  const double codes = static_cast<double>(n) * static_cast<double>(k) / 2;
  return codes + static_cast<double>(n * groups() * (scale_bytes() + zero_bytes()));
}

std::string Format::name() const {
  const std::string granularity = group_size == 0 ? "pc" : fmt::format("g{}", group_size);
  return fmt::format("{}x{}/{}/s{}/{}{}", n, k, granularity, dtype_name(scale_type), zero_kind_tag(zero_kind),
                     table_ == Table::integer ? "" : fmt::format("/{}", table_name(table_)));
}

Source::Source(const Format& format, zenwoq_code_layout layout)
    : layout_(layout),
      codes_(format.n * (layout == ZENWOQ_CODES_NIBBLES ? (format.k + 1) / 2 : format.k)),
      scales_(format.n * format.groups() * format.scale_bytes()),
      zeros_(format.n * format.groups() * format.zero_bytes()) {
  Random random(1);
  fill_codes(random, layout, &codes_);
  fill_scales(random, format.scale_type, &scales_);
  if (format.zero_kind == ZENWOQ_ZERO_OFFSET) fill_scales(random, format.scale_type, &zeros_);
  if (format.zero_kind == ZENWOQ_ZERO_INTEGER) fill_codes(random, ZENWOQ_CODES_U8, &zeros_);
}

zenwoq_weight_source Source::view() const {
  zenwoq_weight_source source;
  zenwoq_weight_source_init(&source);
  source.code_layout = layout_;
  source.codes = codes_.data();
  source.codes_bytes = codes_.size();
  source.scales = scales_.data();
  source.scales_bytes = scales_.size();
  source.zeros = zeros_.empty() ? nullptr : zeros_.data();
  source.zeros_bytes = zeros_.size();
  return source;
}

std::vector<std::uint16_t> random_activations(std::size_t count) {
  Random random(2);
  std::vector<std::uint16_t> x(count);
  for (std::uint16_t& bits : x) bits = static_cast<std::uint16_t>(0x3F80u | (random() & 0x807Fu));
  return x;
}

}  // namespace zenwoq::bench
