// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// Every layout of codes is packed to the bytes that the same codes give as nibbles. Where a layout has a code is
// written down once more in code_places.h, code by code. All operands end at pages without
// access.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <functional>
#include <memory>

#include "src/weight/buffer.h"
#include "src/weight/code_rows.h"
#include "src/weight/packed.h"
#include "tests/support/guard_buffer.h"
#include "tests/support/random_weight.h"
#include "tools/code_places.h"

namespace zenwoq::test {
namespace {

std::vector<std::uint8_t> pack(const zenwoq_weight_desc& desc, const zenwoq_weight_source& source, std::string* error) {
  PackedHeader header;
  Status status = make_header(desc, &header);
  if (status.ok()) status = check_source(header, source);
  PackedBuffer packed = allocate_packed(status.ok() ? header.total_bytes : 64);
  if (status.ok()) status = pack_rows(header, source, 0, header.n, packed.get());
  *error = status.text();
  return status.ok() ? std::vector<std::uint8_t>(packed.get(), packed.get() + header.total_bytes)
                     : std::vector<std::uint8_t>();
}

struct Layout {
  const char* name;
  zenwoq_code_layout layout;
  std::size_t of_n, of_k;  // n and k are multiples
};

const Layout kLayouts[] = {
    {"high first", ZENWOQ_CODES_NIBBLES_HIGH, 1, 2},
    {"gptq", ZENWOQ_CODES_GPTQ, 1, 1},
    {"awq", ZENWOQ_CODES_AWQ, 8, 1},
    {"awq fast", ZENWOQ_CODES_AWQ_FAST, 4, 64},
    {"aten 64", ZENWOQ_CODES_ATEN_64, 16, 1},
    {"aten 32", ZENWOQ_CODES_ATEN_32, 16, 1},
};

TEST(CodeLayouts, GiveTheBytesThatNibblesGive) {
  Rng rng(1);
  for (const Layout& layout : kLayouts) {
    for (int i = 0; i < 60; ++i) {
      const std::size_t n = layout.of_n * pick(rng, 1, 200 / layout.of_n),
                        k = layout.of_k * pick(rng, 1, 500 / layout.of_k);
      RandomWeight weight =
          random_weight(rng, n, k, rng() % 2 ? 0 : 8 * pick(rng, 1, 20), ZENWOQ_F16, ZENWOQ_ZERO_INTEGER);
      if (layout.layout == ZENWOQ_CODES_GPTQ && rng() % 2) permute_columns(rng, &weight);
      const CodeArray array = code_array(layout.layout, n, k);
      GuardBuffer codes(array.rows * array.row_bytes,
                        layout.layout == ZENWOQ_CODES_GPTQ ? 0xFF : 0);  // past the last code may be anything
      for (std::size_t row = 0; row < n; ++row) {
        for (std::size_t column = 0; column < k; ++column) {
          const std::size_t stride = tools::default_stride(layout.layout, n, k);
          const tools::CodePlace place = tools::code_place(layout.layout, row, column, n, k, stride);
          std::uint8_t& byte = codes.data()[place.byte];
          const unsigned shift = place.high ? 4 : 0;
          byte = static_cast<std::uint8_t>((byte & ~(15u << shift)) | weight.code(row, column) << shift);
        }
      }
      codes.make_read_only();
      zenwoq_weight_source source = weight.source();
      std::string error;
      const auto expected = pack(weight.desc(), source, &error);
      ASSERT_EQ(error, "");
      source.code_layout = layout.layout, source.codes = codes.data(), source.codes_bytes = codes.size();
      ASSERT_EQ(pack(weight.desc(), source, &error), expected)
          << layout.name << " " << n << " x " << k << ": " << error;
      source.codes_bytes -= 1;
      EXPECT_EQ(pack(weight.desc(), source, &error).size(), 0u);
      EXPECT_NE(error.find("codes_bytes is"), std::string::npos) << error;
    }
  }
}

TEST(CodeLayouts, ShapesThatCannotBeAreRefused) {
  Rng rng(2);
  for (const Layout& layout : kLayouts) {
    if (layout.of_n == 1 && layout.of_k == 1) continue;
    const std::size_t n = layout.of_n * 4 + (layout.of_n > 1), k = layout.of_k * 4 + (layout.of_n == 1);
    const RandomWeight weight = random_weight(rng, n, k, 0, ZENWOQ_F16, ZENWOQ_ZERO_NONE);
    zenwoq_weight_source source = weight.source();
    source.code_layout = layout.layout;
    std::string error;
    pack(weight.desc(), source, &error);
    EXPECT_EQ(error, fmt::format("n = {}, k = {}: this code_layout ({}) has n a multiple of {}, k of {}", n, k,
                                 static_cast<int>(layout.layout), layout.of_n, layout.of_k));
  }
}

TEST(CodeLayouts, ParametersByGroupGiveTheSameBytes) {
  Rng rng(3);
  for (int i = 0; i < 60; ++i) {
    const ParameterFormat format = random_format(rng);
    const RandomWeight weight = random_weight(rng, pick(rng, 1, 200), fitting_k(format, 256, 16), 16, format);
    const auto transposed = [&](const std::vector<std::uint8_t>& values) {
      const std::size_t per_row = values.size() / weight.n;
      const std::size_t bytes = &values == &weight.scales  ? weight.scale_bytes()
                                : &values == &weight.zeros ? weight.zero_bytes()
                                                           : 2;
      std::vector<std::uint8_t> result(values.size());
      for (std::size_t row = 0; row < weight.n; ++row) {
        for (std::size_t byte = 0; byte < per_row; ++byte) {
          result[(byte / bytes * weight.n + row) * bytes + byte % bytes] = values[row * per_row + byte];
        }
      }
      return result;
    };
    const auto scales = transposed(weight.scales), zeros = transposed(weight.zeros);
    const auto super_scales = transposed(weight.super_scales), super_offsets = transposed(weight.super_offsets);
    zenwoq_weight_source source = weight.source();
    std::string error;
    const auto expected = pack(weight.desc(), source, &error);
    ASSERT_EQ(error, "");
    source.parameters_by_group = 1;
    source.scales = scales.data();
    if (source.zeros != nullptr) source.zeros = zeros.data();
    if (source.super_scales != nullptr) source.super_scales = super_scales.data();
    if (source.super_offsets != nullptr) source.super_offsets = super_offsets.data();
    ASSERT_EQ(pack(weight.desc(), source, &error), expected) << weight.text() << ": " << error;
  }
}

// ---- Blocks of GGUF, by ggml's formulas ----

struct Block {
  const char* name;
  zenwoq_code_layout layout;
  std::size_t codes, bytes;
  zenwoq_dtype scale_type;
  zenwoq_zero_kind zero_kind;
  zenwoq_code_table table;
  float (*value)(const std::uint8_t* block, std::size_t i);
};

float f16_at(const std::uint8_t* bytes) { return load_as_f32(ZENWOQ_F16, bytes, 0); }

// get_scale_min_k4
unsigned q4_k_scale(const std::uint8_t* q, std::size_t j) {
  return j < 4 ? q[j] & 63u : (q[j + 4] & 0xFu) | (q[j - 4] >> 6) << 4;
}
unsigned q4_k_minimum(const std::uint8_t* q, std::size_t j) {
  return j < 4 ? q[j + 4] & 63u : static_cast<unsigned>(q[j + 4] >> 4) | (q[j] >> 6) << 4;
}

const Block kBlocks[] = {
    {"mxfp4", ZENWOQ_CODES_GGUF_MXFP4, 32, 17, ZENWOQ_E8M0, ZENWOQ_ZERO_NONE, ZENWOQ_TABLE_E2M1,
     [](const std::uint8_t* block, std::size_t i) {
       constexpr float kValues[8] = {0, 0.5, 1, 1.5, 2, 3, 4, 6};
       const unsigned code = block[1 + i % 16] >> (i / 16 * 4) & 15u;
       const float value = std::ldexp(kValues[code & 7], block[0] - 127);
       return code >= 8 ? -value : value;
     }},
    {"q4_k", ZENWOQ_CODES_GGUF_Q4_K, 256, 144, ZENWOQ_U8_F16, ZENWOQ_ZERO_OFFSET, ZENWOQ_TABLE_UNSIGNED,
     [](const std::uint8_t* block, std::size_t i) {
       const std::size_t group = i / 32;
       const float d = f16_at(block) * static_cast<float>(q4_k_scale(block + 4, group));
       const float m = f16_at(block + 2) * static_cast<float>(q4_k_minimum(block + 4, group));
       const unsigned code = block[16 + i / 64 * 32 + i % 32] >> (i % 64 / 32 * 4) & 15u;
       return d * static_cast<float>(code) - m;
     }},
    {"iq4_xs", ZENWOQ_CODES_GGUF_IQ4_XS, 256, 136, ZENWOQ_S8_F16, ZENWOQ_ZERO_NONE, ZENWOQ_TABLE_IQ4_NL,
     [](const std::uint8_t* block, std::size_t i) {
       constexpr float kValues[16] = {-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113};
       const std::size_t group = i / 32;
       const unsigned high = (block[2] | block[3] << 8) >> (2 * group) & 3u;
       const int scale = static_cast<int>((block[4 + group / 2] >> (4 * (group % 2)) & 15u) | high << 4) - 32;
       const unsigned code = block[8 + group * 16 + i % 16] >> (i % 32 / 16 * 4) & 15u;
       return f16_at(block) * static_cast<float>(scale) * kValues[code];
     }},
};

TEST(CodeLayouts, BlocksOfGgufHaveTheValuesOfGgml) {
  Rng rng(4);
  for (const Block& block : kBlocks) {
    for (int i = 0; i < 20; ++i) {
      const std::size_t n = pick(rng, 1, 150), k = block.codes * pick(rng, 1, 3),
                        gap = rng() % 2 ? 0 : pick(rng, 1, 40);
      const std::size_t row = k / block.codes * block.bytes;
      GuardBuffer codes((n - 1) * (row + gap) + row);
      for (std::size_t byte = 0; byte < codes.size(); ++byte) codes.data()[byte] = static_cast<std::uint8_t>(rng());
      for (std::size_t r = 0; r < n; ++r) {
        for (std::size_t b = 0; b < k / block.codes; ++b) {
          std::uint8_t* at = codes.data() + r * (row + gap) + b * block.bytes;
          if (block.layout == ZENWOQ_CODES_GGUF_MXFP4) at[0] = static_cast<std::uint8_t>(pick(rng, 0, 250));
          if (block.layout != ZENWOQ_CODES_GGUF_MXFP4) at[1] &= 0xBB;  // finite f16
          if (block.layout == ZENWOQ_CODES_GGUF_Q4_K) at[3] &= 0xBB;
        }
      }
      codes.make_read_only();
      zenwoq_weight_desc desc;
      zenwoq_weight_desc_init(&desc);
      desc.n = n, desc.k = k, desc.group_size = 32, desc.scale_type = block.scale_type,
      desc.zero_kind = block.zero_kind;
      ASSERT_EQ(zenwoq_code_table_fill(block.table, desc.table), ZENWOQ_OK);
      zenwoq_weight_source source;
      zenwoq_weight_source_init(&source);
      source.code_layout = block.layout, source.codes = codes.data(), source.codes_bytes = codes.size();
      source.codes_row_bytes = row + gap;
      std::string error;
      const auto packed = pack(desc, source, &error);
      ASSERT_EQ(error, "") << block.name;
      PackedHeader header;
      ASSERT_TRUE(make_header(desc, &header).ok());
      std::vector<float> values(n * k);
      dequantize({header, packed.data()}, 0, n, values.data());
      for (std::size_t r = 0; r < n; ++r) {
        for (std::size_t c = 0; c < k; ++c) {
          const float expected =
              block.value(codes.data() + r * (row + gap) + c / block.codes * block.bytes, c % block.codes);
          ASSERT_EQ(values[r * k + c], expected) << block.name << " at " << r << ", " << c;
        }
      }
    }
  }
}

// All codes of E8M0 and E4M3 but NaN are packed, and NaN is named.
TEST(CodeLayouts, EveryCodeOfScalesOfAByteIsItsValueOrNamed) {
  for (const zenwoq_dtype type : {ZENWOQ_E8M0, ZENWOQ_E4M3}) {
    for (unsigned bits = 0; bits < 256; ++bits) {
      zenwoq_weight_desc desc;
      zenwoq_weight_desc_init(&desc);
      desc.n = 1, desc.k = 8, desc.group_size = 8, desc.scale_type = type;
      const std::uint8_t scale = static_cast<std::uint8_t>(bits), codes[4] = {0x99, 0x99, 0x99, 0x99};  // 1
      zenwoq_weight_source source;
      zenwoq_weight_source_init(&source);
      source.codes = codes, source.codes_bytes = 4, source.scales = &scale, source.scales_bytes = 1;
      std::string error;
      const auto packed = pack(desc, source, &error);
      const bool nan = type == ZENWOQ_E8M0 ? bits == 255 : (bits & 0x7F) == 0x7F;
      ASSERT_EQ(error, nan ? "scale nan at row 0, group 0: must be finite" : "") << bits;
      if (nan) continue;
      PackedHeader header;
      ASSERT_TRUE(make_header(desc, &header).ok());
      float values[8];
      dequantize({header, packed.data()}, 0, 1, values);
      const double magnitude = (bits & 0x78) == 0 ? std::ldexp(bits & 7, -9)
                                                  : std::ldexp(8 + (bits & 7), static_cast<int>(bits >> 3 & 15) - 10);
      const double expected = type == ZENWOQ_E8M0 ? std::ldexp(1.0, static_cast<int>(bits) - 127)
                              : bits & 0x80       ? -magnitude
                                                  : magnitude;
      EXPECT_EQ(values[0], static_cast<float>(expected)) << bits;
    }
  }
}

// ---- Permutations ----

TEST(Permutation, IsAStableSortByGroup) {
  const std::int32_t g_idx[] = {1, 0, 1, 0, 0, 1, 0, 1, 1, 0, 1, 0, 0, 1, 0, 1, 2, 2};
  std::uint32_t permutation[18], permuted = 9;
  ASSERT_EQ(zenwoq_permutation_fill(g_idx, sizeof g_idx, 18, 8, permutation, sizeof permutation, &permuted), ZENWOQ_OK);
  const std::uint32_t expected[] = {1, 3, 4, 6, 9, 11, 12, 14, 0, 2, 5, 7, 8, 10, 13, 15, 16, 17};
  EXPECT_EQ(std::memcmp(permutation, expected, sizeof expected), 0);
  EXPECT_EQ(permuted, 1u);
  std::int32_t in_order[18];
  for (int i = 0; i < 18; ++i) in_order[i] = i / 8;
  ASSERT_EQ(zenwoq_permutation_fill(in_order, sizeof in_order, 18, 8, permutation, sizeof permutation, &permuted),
            ZENWOQ_OK);
  EXPECT_EQ(permuted, 0u);
}

TEST(Permutation, GroupsThatCannotBeAreNamed) {
  std::int32_t g_idx[16];
  std::uint32_t permutation[16], permuted = 0;
  const auto error = [&](int column, std::int32_t group) -> std::string {
    for (int i = 0; i < 16; ++i) g_idx[i] = i / 8;
    g_idx[column] = group;
    EXPECT_EQ(zenwoq_permutation_fill(g_idx, sizeof g_idx, 16, 8, permutation, sizeof permutation, &permuted),
              ZENWOQ_ERROR_INVALID_ARGUMENT);
    return zenwoq_last_error();
  };
  EXPECT_EQ(error(3, -1), "g_idx[3] is -1: must be in 0..1, k = 16 has 2 groups of 8");
  EXPECT_EQ(error(15, 2), "g_idx[15] is 2: must be in 0..1, k = 16 has 2 groups of 8");
  EXPECT_EQ(error(0, 1), "group 0 of g_idx has 7 columns: must have 8");
}

TEST(Permutation, MustNameEachColumnOnce) {
  Rng rng(5);
  RandomWeight weight = random_weight(rng, 3, 24, 8, ZENWOQ_F16, ZENWOQ_ZERO_NONE);
  permute_columns(rng, &weight);
  const auto error = [&](std::uint32_t value) {
    RandomWeight spoiled = weight;
    spoiled.permutation[7] = value;
    std::string text;
    pack(spoiled.desc(), spoiled.source(), &text);
    return text;
  };
  EXPECT_EQ(error(24), "permutation[7] is 24: must name each of 24 columns once");
  EXPECT_EQ(error(weight.permutation[0]),
            fmt::format("permutation[7] is {}: must name each of 24 columns once", weight.permutation[0]));
  zenwoq_weight_source source = weight.source();
  source.permutation = nullptr;
  std::string text;
  pack(weight.desc(), source, &text);
  EXPECT_EQ(text, "permutation is NULL, 96 bytes are needed");
}

TEST(FactorsOfColumns, MustBeFinite) {
  Rng rng(7);
  RandomWeight weight = random_weight(rng, 3, 24, 8, ZENWOQ_F16, ZENWOQ_ZERO_NONE);
  scale_columns(rng, &weight);
  for (const float value : {INFINITY, -INFINITY, NAN}) {
    RandomWeight spoiled = weight;
    spoiled.x_scale[23] = value;
    std::string text;
    pack(spoiled.desc(), spoiled.source(), &text);
    EXPECT_EQ(text, fmt::format("x_scale[23] is {}: must be finite", value));
  }
}

// Packed bytes whose permutation leads out of a row are damaged.
TEST(Permutation, IsCheckedWhenBytesAreOpened) {
  Rng rng(6);
  RandomWeight weight = random_weight(rng, 3, 24, 8, ZENWOQ_F16, ZENWOQ_ZERO_NONE);
  permute_columns(rng, &weight);
  std::string error;
  std::vector<std::uint8_t> packed = pack(weight.desc(), weight.source(), &error);
  PackedView view;
  ASSERT_TRUE(open_packed(packed.data(), packed.size(), &view).ok());
  const std::uint32_t outside = 24;
  std::memcpy(packed.data() + view.header.permutation_at + 4 * 5, &outside, 4);
  EXPECT_EQ(open_packed(packed.data(), packed.size(), &view).text(),
            "packed weight: permutation[5] is 24, k is 24: damaged");
}

}  // namespace
}  // namespace zenwoq::test
