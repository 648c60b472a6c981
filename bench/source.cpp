// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// Random operands with a fixed seed.
#include "bench/source.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <numeric>
#include <random>

#include "jit/number.h"
#include "src/weight/code_rows.h"

namespace zenwoq::bench {
namespace {

using Random = std::mt19937_64;

// Positive numbers around 2^-8, all bits of the mantissa at random. Of two levels the bytes, or their f16.
void fill_scales(Random& random, zenwoq_dtype type, std::vector<std::uint8_t>* out) {
  const auto bits_of = [type](std::uint64_t r) -> std::uint64_t {
    switch (type) {
      case ZENWOQ_F32: return 0x3B800000u | (r & 0x7FFFFF);
      case ZENWOQ_F16: return 0x1C00u | (r & 0x3FF);
      case ZENWOQ_BF16: return 0x3B80u | (r & 0x7F);
      case ZENWOQ_E8M0: return 119 + (r & 1);
      case ZENWOQ_E4M3: return 0x08u | (r & 7);
      default: return 1 + (r & 0x1F);
    }
  };
  const std::size_t size = dtype_bytes(type);
  for (std::size_t i = 0; i < out->size(); i += size) {
    const std::uint64_t bits = bits_of(random());
    std::memcpy(out->data() + i, &bits, size);
  }
}

void fill_codes(Random& random, zenwoq_code_layout layout, std::vector<std::uint8_t>* out) {
  for (std::size_t i = 0; i < out->size(); i += 8) {
    std::uint64_t r = random();
    if (layout == ZENWOQ_CODES_U8 || layout == ZENWOQ_CODES_S8) r &= 0x0F0F0F0F0F0F0F0Fu;
    std::memcpy(out->data() + i, &r, std::min<std::size_t>(8, out->size() - i));
  }
  if (layout == ZENWOQ_CODES_S8) {
    for (std::uint8_t& code : *out) code = static_cast<std::uint8_t>(code - 8);
  }
}

}  // namespace

const char* table_name(Table table) {
  constexpr const char* kNames[] = {"integer", "nf4", "fp4", "e2m1", "iq4_nl"};
  return kNames[static_cast<std::size_t>(table)];
}

Format::Format(std::size_t rows, std::size_t columns, std::size_t group) {
  zenwoq_weight_desc desc;
  zenwoq_weight_desc_init(&desc);
  static_cast<Quantization&>(*this) = quantization_of(desc);  // bf16 scales, no zeros, code - 8
  n = rows;
  k = columns;
  group_size = group;
}

void Format::set_table(Table kind) {
  constexpr zenwoq_code_table kKinds[] = {ZENWOQ_TABLE_MINUS_8, ZENWOQ_TABLE_NF4, ZENWOQ_TABLE_FP4, ZENWOQ_TABLE_E2M1,
                                          ZENWOQ_TABLE_IQ4_NL};
  table_ = kind;
  table = *code_table(kKinds[static_cast<std::size_t>(kind)]);
}

double Format::bytes() const {
  const double codes = static_cast<double>(n) * static_cast<double>(k) / 2;
  return codes +
         static_cast<double>(n * (groups() * (scale_bytes() + zero_bytes()) + supers() * format().super_bytes()));
}

std::string Format::name() const {
  const std::string granularity = group_size == 0 ? "pc" : fmt::format("g{}", group_size);
  return fmt::format("{}x{}/{}/s{}/{}{}", n, k, granularity, dtype_name(scale_type), zero_kind_tag(zero_kind),
                     table_ == Table::integer ? "" : fmt::format("/{}", table_name(table_)));
}

Source::Source(const Format& format, zenwoq_code_layout layout) : layout_(layout) {
  const CodeArray array = code_array(layout, format.n, format.k);
  codes_.resize(array.rows * array.row_bytes);
  Random random(1);
  fill_codes(random, layout, &codes_);
  if (format.permuted) {
    permutation_.resize(format.k);
    std::iota(permutation_.begin(), permutation_.end(), 0u);
    std::shuffle(permutation_.begin(), permutation_.end(), random);
  }
  if (const BlockFormat* block = find_block_format(layout)) {
    for (std::size_t at = 0; at < codes_.size(); at += block->bytes) {
      for (const std::size_t i : {0, 1, 3}) codes_[at + i] &= 0x3B;  // finite scales, also where they are f16
    }
    return;
  }
  const std::size_t parameters = format.n * format.groups();
  scales_.resize(parameters * format.scale_bytes());
  zeros_.resize(parameters * format.zero_bytes());
  super_scales_.resize(format.n * format.supers() * 2);
  super_offsets_.resize(format.format().has_offsets() ? super_scales_.size() : 0);
  fill_scales(random, format.scale_type, &scales_);
  if (format.format().has_integer_zeros()) {
    fill_codes(random, ZENWOQ_CODES_U8, &zeros_);
  } else if (format.format().has_zeros()) {
    fill_scales(random, format.format().float_type(), &zeros_);
  }
  fill_scales(random, ZENWOQ_F16, &super_scales_);
  fill_scales(random, ZENWOQ_F16, &super_offsets_);
}

zenwoq_weight_source Source::view() const {
  zenwoq_weight_source source;
  zenwoq_weight_source_init(&source);
  source.code_layout = layout_;
  source.codes = codes_.data();
  source.codes_bytes = codes_.size();
  const auto give = [](const std::vector<std::uint8_t>& values, const void** data, std::size_t* bytes) {
    *data = values.empty() ? nullptr : values.data();
    *bytes = values.size();
  };
  give(scales_, &source.scales, &source.scales_bytes);
  give(zeros_, &source.zeros, &source.zeros_bytes);
  give(super_scales_, &source.super_scales, &source.super_scales_bytes);
  give(super_offsets_, &source.super_offsets, &source.super_offsets_bytes);
  source.permutation = permutation_.empty() ? nullptr : permutation_.data();
  source.permutation_bytes = permutation_.size() * sizeof permutation_[0];
  return source;
}

std::vector<std::uint16_t> random_activations(std::size_t count) {
  Random random(2);
  std::vector<std::uint16_t> x(count);
  for (std::uint16_t& bits : x) bits = static_cast<std::uint16_t>(0x3F80u | (random() & 0x807Fu));
  return x;
}

}  // namespace zenwoq::bench
