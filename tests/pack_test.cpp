// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// Packing and back: codes, scales and zeros come back exactly, whatever the layout of the source and the ranges packed.
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>

#include "support/guard_buffer.h"
#include "support/random_weight.h"
#include "weight/weight.h"

namespace zenwoq::test {
namespace {

RandomWeight any_weight(Rng& rng) {
  constexpr zenwoq_dtype kTypes[] = {ZENWOQ_F32, ZENWOQ_F16, ZENWOQ_BF16};
  const std::size_t k = rng() % 4 == 0 ? pick(rng, 100, 600) : pick(rng, 1, 100);
  return random_weight(rng, pick(rng, 1, 200), k, rng() % 3 == 0 ? 0 : 8 * pick(rng, 1, 40), kTypes[rng() % 3],
                       static_cast<zenwoq_zero_kind>(rng() % 3));
}

PackedBuffer packed_of(const RandomWeight& weight, const zenwoq_weight_source& source, PackedHeader* header) {
  EXPECT_TRUE(make_header(weight.desc, header).ok());
  PackedBuffer packed = allocate_packed(header->total_bytes);
  std::memset(packed.get(), 0xEE, header->total_bytes);
  const Status status = pack_rows(*header, source, 0, weight.desc.n, packed.get());
  EXPECT_TRUE(status.ok()) << status.text();
  return packed;
}

TEST(Pack, EverythingComesBackExactly) {
  Rng rng(4);
  for (int i = 0; i < 300; ++i) {
    const RandomWeight weight = any_weight(rng);
    PackedHeader header;
    const PackedBuffer packed = packed_of(weight, weight.source(), &header);
    PackedView view;
    const Status status = open_packed(packed.get(), header.total_bytes, &view);
    ASSERT_TRUE(status.ok()) << status.text();
    std::vector<std::uint8_t> codes(weight.codes.size()), scales(weight.scales.size()), zeros(weight.zeros.size());
    unpack(view, codes.data(), scales.data(), zeros.empty() ? nullptr : zeros.data());
    std::vector<std::uint8_t> expected = weight.codes;
    for (std::size_t n = 0; weight.desc.k % 2 != 0 && n < weight.desc.n; ++n) expected[(n + 1) * ((weight.desc.k + 1) / 2) - 1] &= 15;
    ASSERT_EQ(codes, expected) << weight_text(header);
    ASSERT_EQ(scales, weight.scales);
    ASSERT_EQ(zeros, weight.zeros);
  }
}

TEST(Pack, SourceLayoutsAndRangesGiveTheSameBytes) {
  Rng rng(5);
  for (int i = 0; i < 150; ++i) {
    const RandomWeight weight = any_weight(rng);
    const std::size_t n = weight.desc.n, k = weight.desc.k;
    PackedHeader header;
    const PackedBuffer expected = packed_of(weight, weight.source(), &header);
    // One code a byte, signed and unsigned, at the end of a page, rows apart.
    const std::size_t stride = k + rng() % 20;
    GuardBuffer bytes((n - 1) * stride + k);
    for (const zenwoq_code_layout layout : {ZENWOQ_CODES_U8, ZENWOQ_CODES_S8}) {
      for (std::size_t row = 0; row < n; ++row) {
        for (std::size_t column = 0; column < k; ++column) {
          const unsigned code = weight.code(row, column);
          bytes.data()[row * stride + column] = static_cast<std::uint8_t>(layout == ZENWOQ_CODES_S8 && code >= 8 ? code | 0xF0 : code);
        }
      }
      zenwoq_weight_source source = weight.source();
      source.code_layout = layout;
      source.codes = bytes.data();
      source.codes_bytes = bytes.size();
      source.codes_row_bytes = stride;
      const PackedBuffer packed = packed_of(weight, source, &header);
      ASSERT_EQ(std::memcmp(packed.get(), expected.get(), header.total_bytes), 0) << n << " x " << k << " layout " << layout;
    }
    PackedBuffer parts = allocate_packed(header.total_bytes);
    for (std::size_t begin = (n - 1) / 64 * 64;; begin -= 64) {  // ranges in any order
      ASSERT_TRUE(pack_rows(header, weight.source(), begin, std::min(n, begin + 64), parts.get()).ok());
      if (begin == 0) break;
    }
    ASSERT_EQ(std::memcmp(parts.get(), expected.get(), header.total_bytes), 0);
  }
}

TEST(Pack, ReadsNothingBehindTheSource) {
  Rng rng(6);
  for (int i = 0; i < 100; ++i) {
    const RandomWeight weight = any_weight(rng);
    GuardBuffer codes(weight.codes.size()), scales(weight.scales.size()), zeros(weight.zeros.size());
    std::memcpy(codes.data(), weight.codes.data(), codes.size());
    std::memcpy(scales.data(), weight.scales.data(), scales.size());
    if (zeros.size() != 0) std::memcpy(zeros.data(), weight.zeros.data(), zeros.size());
    zenwoq_weight_source source = weight.source();
    source.codes = codes.data(), source.scales = scales.data();
    if (zeros.size() != 0) source.zeros = zeros.data();
    PackedHeader header, same;
    const PackedBuffer packed = packed_of(weight, source, &header);
    ASSERT_EQ(std::memcmp(packed.get(), packed_of(weight, weight.source(), &same).get(), header.total_bytes), 0);
  }
}

TEST(Pack, DequantizesWithOneRounding) {
  Rng rng(7);
  for (int i = 0; i < 100; ++i) {
    const RandomWeight weight = any_weight(rng);
    PackedHeader header;
    const PackedBuffer packed = packed_of(weight, weight.source(), &header);
    std::vector<float> values(weight.desc.n * weight.desc.k);
    dequantize({header, packed.get()}, 0, weight.desc.n, values.data());
    for (std::size_t n = 0; n < weight.desc.n; ++n) {
      for (std::size_t k = 0; k < weight.desc.k; ++k) {
        const std::size_t g = k / header.group();
        const float t = weight.desc.table[weight.code(n, k)];
        const double scale = weight.scale(n, g);
        float expected = static_cast<float>(scale * t);
        if (weight.desc.zero_kind == ZENWOQ_ZERO_INTEGER) expected = static_cast<float>(scale * (t + static_cast<float>(8 - weight.zero(n, g))));
        if (weight.desc.zero_kind == ZENWOQ_ZERO_OFFSET) expected = std::fma(weight.scale(n, g), t, weight.offset(n, g));
        ASSERT_EQ(values[n * weight.desc.k + k], expected) << n << " " << k;
      }
    }
  }
}

}  // namespace
}  // namespace zenwoq::test
