// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// Packing and unpacking by every variant of the kernels. The bytes are those of the definition in packed.h, written
// down again here, whatever the source's layout, the ranges packed and the threads; everything comes back exactly; an
// impossible value is named. All operands end at pages without access.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <memory>
#include <span>
#include <string>

#include "src/weight/buffer.h"
#include "src/weight/packed.h"
#include "tests/support/guard_buffer.h"
#include "tests/support/random_weight.h"

namespace zenwoq::test {
namespace {

struct Variant {
  const char* name;
  const CodeKernels* kernels;
};

// The variants that this CPU runs.
std::vector<Variant> variants() {
  std::vector<Variant> all = {{"portable", &code_kernels_portable}};
  if (&code_kernels() == &code_kernels_avx2_fma) all.push_back({"avx2_fma", &code_kernels_avx2_fma});
  return all;
}

RandomWeight any_weight(Rng& rng) {
  // Blocks are 128 codes long, lines 64 or 128: sizes at their ends are as likely as others.
  constexpr std::size_t kSizes[] = {1, 63, 64, 65, 127, 128, 129, 191, 192, 255, 256, 257, 384};
  const std::size_t k = rng() % 3 == 0   ? kSizes[rng() % std::size(kSizes)]
                        : rng() % 3 == 0 ? pick(rng, 100, 700)
                                         : pick(rng, 1, 100);
  const std::size_t n = rng() % 3 == 0 ? kSizes[rng() % 4] : pick(rng, 1, 200);
  const std::size_t group = rng() % 4 == 0 ? 0 : rng() % 3 == 0 ? 8 : 8 * pick(rng, 1, 40);
  const ParameterFormat format = random_format(rng);
  const std::size_t some_group = group == 0 ? 8 : std::min<std::size_t>(group, 40);
  RandomWeight weight = format.has_two_levels()
                            ? random_weight(rng, n, fitting_k(format, k, some_group), some_group, format)
                            : random_weight(rng, n, k, group, format);
  if (rng() % 4 == 0) permute_columns(rng, &weight);
  if (rng() % 4 == 0) scale_columns(rng, &weight);
  if (rng() % 4 == 0) weight.tensor_scale_kind = ZENWOQ_TENSOR_SCALE_BY, weight.tensor_scale = 3.5f;
  return weight;
}

// The header's bytes, field by field: what is on disk must not move.
std::vector<std::uint8_t> header_by_definition(const RandomWeight& weight, const PackedHeader& header) {
  std::vector<std::uint8_t> bytes(256);
  const auto put = [&bytes](std::size_t offset, auto value) { std::memcpy(&bytes[offset], &value, sizeof value); };
  std::memcpy(bytes.data(), "zenwoqW4", 8);
  const bool old = weight.scale_type <= ZENWOQ_BF16 && weight.zero_kind != ZENWOQ_ZERO_FLOAT && !weight.permuted &&
                   !weight.x_scaled && weight.tensor_scale_kind == ZENWOQ_TENSOR_SCALE_NONE;
  put(8, old ? std::uint32_t{2} : std::uint32_t{3});
  put(12, std::uint32_t{1});
  put(16, std::uint64_t{weight.n});
  put(24, std::uint64_t{weight.k});
  put(32, std::uint64_t{weight.group_size});
  put(40, static_cast<std::uint32_t>(weight.scale_type));
  put(44, static_cast<std::uint32_t>(weight.zero_kind));
  std::memcpy(&bytes[48], weight.table.data(), 64);
  put(112, std::uint64_t{256});
  put(120, header.panel_bytes);
  put(128, header.total_bytes);
  if (weight.zero_kind == ZENWOQ_ZERO_FLOAT) put(136, static_cast<std::uint32_t>(weight.zero_type));
  put(140, static_cast<std::uint32_t>(weight.tensor_scale_kind));
  if (weight.tensor_scale_kind != ZENWOQ_TENSOR_SCALE_NONE) put(144, weight.tensor_scale);
  put(148, std::uint32_t{weight.permuted});
  put(152, std::uint32_t{weight.x_scaled});
  std::uint64_t checksum = 0xCBF29CE484222325u;
  for (std::size_t i = 0; i < 248; ++i) checksum = (checksum ^ bytes[i]) * 0x100000001B3u;
  put(248, checksum);
  return bytes;
}

// The definition of packed.h, applied to one code after the other; src/ only says where groups begin.
std::vector<std::uint8_t> packed_by_definition(const RandomWeight& weight, const PackedHeader& header) {
  const auto [n, k] = std::pair(weight.n, weight.k);
  const std::size_t group = weight.group();
  const std::size_t groups = weight.groups();
  const std::size_t scale_bytes = weight.scales.size() / (n * groups), zero_bytes = weight.zeros.size() / (n * groups);
  std::vector<std::uint8_t> packed = header_by_definition(weight, header);
  for (std::size_t panel = 0; panel < (n + 63) / 64; ++panel) {
    const auto put_supers = [&](const std::vector<std::uint8_t>& supers, std::size_t i) {
      for (std::size_t byte = 0; byte < 128 && !supers.empty(); ++byte) {
        const std::size_t column = panel * 64 + byte / 2;
        packed.push_back(column < n ? supers[(column * groups / 8 + i) * 2 + byte % 2] : 0);
      }
    };
    for (std::size_t g = 0; g < groups; ++g) {
      if (g % 8 == 0) put_supers(weight.super_scales, g / 8), put_supers(weight.super_offsets, g / 8);
      for (std::size_t step = g * group; step < std::min(k, (g + 1) * group); step += 8) {
        for (std::size_t column = panel * 64; column < panel * 64 + 64; ++column) {
          std::uint32_t lane = 0;
          for (std::size_t i = 0; i < 8; ++i) {
            const std::size_t at = step + i < k && weight.permuted ? weight.permutation[step + i] : step + i;
            const std::uint32_t code = column < n && step + i < k ? weight.code(column, at) : 0;
            lane |= code << (i % 2 * 16 + i / 2 * 4);
          }
          for (unsigned byte = 0; byte < 4; ++byte) packed.push_back(static_cast<std::uint8_t>(lane >> (8 * byte)));
        }
      }
      for (std::size_t i = 0; i < 64 * scale_bytes; ++i) {
        const std::size_t column = panel * 64 + i / scale_bytes;
        packed.push_back(column < n ? weight.scales[(column * groups + g) * scale_bytes + i % scale_bytes] : 0);
      }
      for (std::size_t i = 0; i < 64 * zero_bytes; ++i) {
        const std::size_t column = panel * 64 + i / zero_bytes;
        if (weight.zero_kind == ZENWOQ_ZERO_INTEGER) {
          packed.push_back(static_cast<std::uint8_t>(column < n ? 8 - weight.zero(column, g) : 0));
        } else {
          packed.push_back(column < n ? weight.zeros[(column * groups + g) * zero_bytes + i % zero_bytes] : 0);
        }
      }
    }
  }
  const auto put_columns = [&](const void* values) {
    const auto* bytes = static_cast<const std::uint8_t*>(values);
    packed.insert(packed.end(), bytes, bytes + k * 4);
    packed.resize((packed.size() + 63) / 64 * 64);
  };
  if (weight.permuted) put_columns(weight.permutation.data());
  if (weight.x_scaled) put_columns(weight.x_scale.data());
  packed.resize(packed.size() + 64);
  return packed;
}

// A weight's source in guarded, read-only memory.
class GuardedSource {
 public:
  GuardedSource(const RandomWeight& weight, zenwoq_code_layout layout, std::size_t gap)
      : row_(layout == ZENWOQ_CODES_NIBBLES ? (weight.k + 1) / 2 : weight.k),
        codes_((weight.n - 1) * (row_ + gap) + row_, 0xFF),  // a gap holds what no layout allows
        scales_(weight.scales.size()),
        zeros_(weight.zeros.size()),
        source_(weight.source()) {
    for (std::size_t n = 0; n < weight.n; ++n) {
      std::uint8_t* row = codes_.data() + n * (row_ + gap);
      if (layout == ZENWOQ_CODES_NIBBLES) std::memcpy(row, weight.codes.data() + n * row_, row_);
      for (std::size_t k = 0; layout != ZENWOQ_CODES_NIBBLES && k < weight.k; ++k) {
        const unsigned code = weight.code(n, k);
        row[k] = static_cast<std::uint8_t>(layout == ZENWOQ_CODES_S8 && code >= 8 ? code | 0xF0 : code);
      }
    }
    std::memcpy(scales_.data(), weight.scales.data(), scales_.size());
    if (zeros_.size() != 0) std::memcpy(zeros_.data(), weight.zeros.data(), zeros_.size());
    for (GuardBuffer* buffer : {&codes_, &scales_, &zeros_}) buffer->make_read_only();
    source_.code_layout = layout;
    source_.codes = codes_.data(), source_.codes_bytes = codes_.size();
    source_.codes_row_bytes = gap == 0 && layout == ZENWOQ_CODES_NIBBLES ? 0 : row_ + gap;
    source_.scales = scales_.data();
    if (zeros_.size() != 0) source_.zeros = zeros_.data();
  }

  const zenwoq_weight_source& source() const { return source_; }

 private:
  std::size_t row_;
  GuardBuffer codes_, scales_, zeros_;
  zenwoq_weight_source source_;
};

PackedHeader header_of(const RandomWeight& weight) {
  PackedHeader header;
  EXPECT_TRUE(make_header(weight.desc(), &header).ok());
  return header;
}

std::string name_of(const PackedHeader& header) { return fmt::format("{} x {} {}", header.n, header.k, header.text()); }

// The rule that the definitions of this file and of random_weight.cpp take from src/.
TEST(Quantization, GroupsAreAsLongAsDescribedUpToK) {
  struct Row {
    std::uint64_t k, group_size, group, groups;
  };
  constexpr Row kRows[] = {{100, 0, 100, 1},   {100, 8, 8, 13},     {100, 96, 96, 2}, {104, 8, 8, 13},
                           {100, 104, 100, 1}, {100, 4096, 100, 1}, {8, 8, 8, 1},     {1, 8, 1, 1}};
  for (const Row& row : kRows) {
    const Quantization q{.n = 1, .k = row.k, .group_size = row.group_size};
    EXPECT_EQ(q.group(), row.group) << row.k << " in groups of " << row.group_size;
    EXPECT_EQ(q.groups(), row.groups) << row.k << " in groups of " << row.group_size;
  }
}

TEST(Pack, EveryVariantGivesTheBytesOfTheDefinition) {
  Rng rng(4);
  for (int i = 0; i < 200; ++i) {
    const RandomWeight weight = any_weight(rng);
    const PackedHeader header = header_of(weight);
    const std::vector<std::uint8_t> expected = packed_by_definition(weight, header);
    ASSERT_EQ(expected.size(), header.total_bytes);
    for (const zenwoq_code_layout layout : {ZENWOQ_CODES_NIBBLES, ZENWOQ_CODES_U8, ZENWOQ_CODES_S8}) {
      const GuardedSource source(weight, layout, rng() % 2 == 0 ? 0 : pick(rng, 1, 80));
      ASSERT_TRUE(check_source(header, source.source()).ok());
      for (const Variant& variant : variants()) {
        GuardBuffer packed(header.total_bytes, 0xEE);
        const Status status = pack_rows(header, source.source(), 0, weight.n, packed.data(), *variant.kernels);
        ASSERT_TRUE(status.ok()) << status.text();
        ASSERT_EQ(std::memcmp(packed.data(), expected.data(), expected.size()), 0)
            << variant.name << " layout " << layout << " " << name_of(header);
      }
    }
  }
}

// The blocks of GGUF, row after row with a gap, that hold a weight in groups of 32 with f16 scales.
std::vector<std::uint8_t> blocks_by_definition(const RandomWeight& weight, std::size_t gap) {
  std::vector<std::uint8_t> blocks;
  for (std::size_t n = 0; n < weight.n; ++n) {
    for (std::size_t g = 0; g < weight.k / 32; ++g) {
      const std::size_t at = (n * (weight.k / 32) + g) * 2;
      blocks.insert(blocks.end(), &weight.scales[at], &weight.scales[at] + 2);
      if (!weight.zeros.empty()) blocks.insert(blocks.end(), &weight.zeros[at], &weight.zeros[at] + 2);
      for (std::size_t i = 0; i < 16; ++i) {
        blocks.push_back(static_cast<std::uint8_t>(weight.code(n, g * 32 + i) | weight.code(n, g * 32 + i + 16) << 4));
      }
    }
    if (n + 1 < weight.n) blocks.insert(blocks.end(), gap, 0xFF);
  }
  return blocks;
}

TEST(Pack, BlocksOfGgufGiveTheBytesOfTheDefinition) {
  Rng rng(14);
  for (int i = 0; i < 60; ++i) {
    const bool offsets = i % 2 != 0;
    const std::size_t n = pick(rng, 1, 150), k = 32 * pick(rng, 1, 13), gap = i % 3 == 0 ? pick(rng, 1, 40) : 0;
    RandomWeight weight = random_weight(rng, n, k, 32, ZENWOQ_F16, offsets ? ZENWOQ_ZERO_OFFSET : ZENWOQ_ZERO_NONE);
    if (offsets) (void)zenwoq_code_table_fill(ZENWOQ_TABLE_UNSIGNED, weight.table.data());
    const PackedHeader header = header_of(weight);
    const std::vector<std::uint8_t> blocks = blocks_by_definition(weight, gap);
    GuardBuffer memory(blocks.size());
    std::memcpy(memory.data(), blocks.data(), blocks.size());
    memory.make_read_only();
    zenwoq_weight_source source;
    zenwoq_weight_source_init(&source);
    source.code_layout = offsets ? ZENWOQ_CODES_GGUF_Q4_1 : ZENWOQ_CODES_GGUF_Q4_0;
    source.codes = memory.data(), source.codes_bytes = memory.size();
    source.codes_row_bytes = gap == 0 ? 0 : k / 32 * (offsets ? 20 : 18) + gap;
    const Status checked = check_source(header, source);
    ASSERT_TRUE(checked.ok()) << checked.text();
    const std::vector<std::uint8_t> expected = packed_by_definition(weight, header);
    for (const Variant& variant : variants()) {
      GuardBuffer packed(header.total_bytes, 0xEE);
      ASSERT_TRUE(pack_rows(header, source, 0, n, packed.data(), *variant.kernels).ok());
      ASSERT_EQ(std::memcmp(packed.data(), expected.data(), expected.size()), 0)
          << variant.name << " " << name_of(header);
    }
    source.codes_bytes -= 1;
    EXPECT_EQ(check_source(header, source).code(), ZENWOQ_ERROR_BUFFER_TOO_SMALL);
  }
}

TEST(PackErrors, BlocksOfGgufAreWhatTheDescriptionSays) {
  zenwoq_weight_desc desc;
  zenwoq_weight_source source;
  const auto error = [&](const char* text) {
    PackedHeader header;
    ASSERT_TRUE(make_header(desc, &header).ok());
    EXPECT_EQ(check_source(header, source).text(), text);
  };
  const auto reset = [&] {
    zenwoq_weight_desc_init(&desc);
    desc.n = 3, desc.k = 96, desc.group_size = 32, desc.scale_type = ZENWOQ_F16;
    zenwoq_weight_source_init(&source);
    source.code_layout = ZENWOQ_CODES_GGUF_Q4_0;
    source.codes = &source, source.codes_bytes = 3 * 3 * 18;
  };
  reset(), error("");
  reset(), desc.k = 97, error("k = 97 in groups of 32: blocks of GGUF Q4_0 are 32 k in groups of 32");
  reset(), desc.group_size = 64, error("k = 96 in groups of 64: blocks of GGUF Q4_0 are 32 k in groups of 32");
  reset(), desc.scale_type = ZENWOQ_BF16, error("scale_type is bf16: must be f16 (2) for blocks of GGUF Q4_0");
  reset(), desc.zero_kind = ZENWOQ_ZERO_OFFSET, error("zero_kind is offset: must be none (0) for blocks of GGUF Q4_0");
  reset(), source.code_layout = ZENWOQ_CODES_GGUF_Q4_1;
  error("zero_kind is none: must be offset (2) for blocks of GGUF Q4_1");
  const auto reset_q4_1 = [&] {
    reset(), source.code_layout = ZENWOQ_CODES_GGUF_Q4_1, desc.zero_kind = ZENWOQ_ZERO_OFFSET;
    source.codes_bytes = 3 * 3 * 20;
    (void)zenwoq_code_table_fill(ZENWOQ_TABLE_UNSIGNED, desc.table);
  };
  reset_q4_1(), error("");
  reset_q4_1(), (void)zenwoq_code_table_fill(ZENWOQ_TABLE_MINUS_8, desc.table);
  error("table[0] is -8: must be 0 for blocks of GGUF Q4_1 (zenwoq_code_table_fill, kind 2)");
  reset_q4_1(), desc.table[15] = 16;
  error("table[15] is 16: must be 15 for blocks of GGUF Q4_1 (zenwoq_code_table_fill, kind 2)");
  reset(), source.scales = &source;
  error("scales or zeros given, but blocks of GGUF Q4_0 have their own: they would be ignored");
  reset(), source.codes_bytes -= 1, error("codes_bytes is 161, 162 are needed");
}

TEST(PackErrors, AScaleOrOffsetOfABlockThatIsNotFiniteIsNamed) {
  Rng rng(15);
  for (const bool offset : {false, true}) {
    const RandomWeight weight = random_weight(rng, 70, 96, 32, ZENWOQ_F16, ZENWOQ_ZERO_OFFSET);
    std::vector<std::uint8_t> blocks = blocks_by_definition(weight, 0);
    const std::uint16_t infinity = 0x7C00;
    std::memcpy(&blocks[(66 * 3 + 2) * 20 + (offset ? 2 : 0)], &infinity, 2);
    zenwoq_weight_source source;
    zenwoq_weight_source_init(&source);
    source.code_layout = ZENWOQ_CODES_GGUF_Q4_1;
    source.codes = blocks.data(), source.codes_bytes = blocks.size();
    const PackedHeader header = header_of(weight);
    const PackedBuffer packed = allocate_packed(header.total_bytes);
    EXPECT_EQ(pack_rows(header, source, 0, 70, packed.get()).text(),
              fmt::format("{} inf at row 66, group 2: must be finite", offset ? "offset" : "scale"));
  }
}

TEST(Pack, RangesInAnyOrderGiveTheSameBytes) {
  Rng rng(5);
  for (int i = 0; i < 50; ++i) {
    const RandomWeight weight = any_weight(rng);
    const PackedHeader header = header_of(weight);
    GuardBuffer packed(header.total_bytes, 0xEE);
    for (std::size_t begin = (header.n - 1) / 64 * 64;; begin -= 64) {
      ASSERT_TRUE(pack_rows(header, weight.source(), begin, std::min(header.n, begin + 64), packed.data()).ok());
      if (begin == 0) break;
    }
    ASSERT_EQ(std::memcmp(packed.data(), packed_by_definition(weight, header).data(), header.total_bytes), 0);
  }
}

TEST(Pack, EverythingComesBackExactly) {
  Rng rng(6);
  for (int i = 0; i < 200; ++i) {
    const RandomWeight weight = any_weight(rng);
    const PackedHeader header = header_of(weight);
    const std::vector<std::uint8_t> bytes = packed_by_definition(weight, header);
    GuardBuffer packed(bytes.size());
    std::memcpy(packed.data(), bytes.data(), bytes.size());
    packed.make_read_only();
    PackedView view;
    ASSERT_TRUE(open_packed(packed.data(), packed.size(), &view).ok());
    std::vector<std::uint8_t> expected = weight.codes;
    const std::size_t row_bytes = (header.k + 1) / 2;
    for (std::size_t n = 0; header.k % 2 != 0 && n < header.n; ++n) expected[(n + 1) * row_bytes - 1] &= 15;
    for (const Variant& variant : variants()) {
      GuardBuffer codes(weight.codes.size()), scales(weight.scales.size()), zeros(weight.zeros.size());
      std::vector<std::uint8_t> super_scales(weight.super_scales.size()), super_offsets(weight.super_offsets.size());
      unpack(view,
             {.codes = codes.data(),
              .scales = scales.data(),
              .zeros = zeros.size() == 0 ? nullptr : zeros.data(),
              .super_scales = super_scales.empty() ? nullptr : super_scales.data(),
              .super_offsets = super_offsets.empty() ? nullptr : super_offsets.data()},
             *variant.kernels);
      ASSERT_EQ(super_scales, weight.super_scales);
      ASSERT_EQ(super_offsets, weight.super_offsets);
      SCOPED_TRACE(fmt::format("{} {}", variant.name, name_of(header)));
      ASSERT_EQ(std::memcmp(codes.data(), expected.data(), codes.size()), 0);
      ASSERT_EQ(std::memcmp(scales.data(), weight.scales.data(), scales.size()), 0);
      if (zeros.size() != 0) {
        ASSERT_EQ(std::memcmp(zeros.data(), weight.zeros.data(), zeros.size()), 0);
      }
    }
  }
}

// By the header's formula: double holds the product of two floats exactly, so the conversion is the only rounding.
float dequantized_by_definition(const RandomWeight& weight, std::size_t n, std::size_t k) {
  const auto place = std::find(weight.permutation.begin(), weight.permutation.end(), k) - weight.permutation.begin();
  const std::size_t g = (weight.permuted ? static_cast<std::size_t>(place) : k) / weight.group();
  const float t = weight.table[weight.code(n, k)];
  const bool divided = weight.tensor_scale_kind == ZENWOQ_TENSOR_SCALE_BY;
  const auto scaled = [&](float value) { return divided ? value / weight.tensor_scale : value; };
  const double scale = scaled(weight.scale(n, g));
  switch (weight.zero_kind) {
    case ZENWOQ_ZERO_NONE: return static_cast<float>(scale * t);
    case ZENWOQ_ZERO_INTEGER: return static_cast<float>(scale * (t + static_cast<float>(8 - weight.zero(n, g))));
    case ZENWOQ_ZERO_OFFSET: return std::fma(static_cast<float>(scale), t, scaled(weight.offset(n, g)));
    case ZENWOQ_ZERO_FLOAT: return static_cast<float>(scale * (t - weight.offset(n, g)));
  }
  return 0;
}

TEST(Pack, DequantizesWithOneRounding) {
  Rng rng(7);
  for (int i = 0; i < 100; ++i) {
    const RandomWeight weight = any_weight(rng);
    const PackedHeader header = header_of(weight);
    const std::vector<std::uint8_t> packed = packed_by_definition(weight, header);
    const std::size_t begin = rng() % 2 == 0 ? 0 : rng() % header.n;
    const std::size_t end = rng() % 2 == 0 ? header.n : pick(rng, begin + 1, header.n);
    for (const Variant& variant : variants()) {
      GuardBuffer buffer((end - begin) * header.k * sizeof(float));
      auto* values = reinterpret_cast<float*>(buffer.data());
      const PackedView view{header, packed.data()};
      dequantize(view, begin, end, values, *variant.kernels);
      for (std::size_t n = begin; n < end; ++n) {
        for (std::size_t k = 0; k < header.k; ++k) {
          const float expected = dequantized_by_definition(weight, n, k);
          ASSERT_EQ(std::bit_cast<std::uint32_t>(values[(n - begin) * header.k + k]),
                    std::bit_cast<std::uint32_t>(expected))
              << variant.name << " " << name_of(header) << " at " << n << ", " << k;
        }
      }
    }
  }
}

// A weight whose values are all valid, for a test to spoil, and the error that packing it gives in every variant.
class Spoiled {
 public:
  Spoiled(zenwoq_code_layout layout, zenwoq_dtype scale_type, zenwoq_zero_kind zero_kind, std::size_t n = 64 + 35)
      : weight_(random_weight(rng_, n, kK, kGroup, scale_type, zero_kind)),
        codes_(n * kK, 3),
        source_(weight_.source()) {
    if (layout == ZENWOQ_CODES_NIBBLES) return;
    source_.code_layout = layout;
    source_.codes = codes_.data(), source_.codes_bytes = codes_.size();
  }
  static constexpr std::size_t kK = 128 + 64 + 37, kGroup = 16, kGroups = 15;

  void spoil_code(std::size_t n, std::size_t k, int value) { codes_[n * kK + k] = static_cast<std::uint8_t>(value); }
  template <typename Word>
  void spoil_scale(std::size_t n, std::size_t g, Word bits) {
    std::memcpy(&weight_.scales[(n * kGroups + g) * sizeof bits], &bits, sizeof bits);
  }
  template <typename Word>
  void spoil_zero(std::size_t n, std::size_t g, Word bits) {
    std::memcpy(&weight_.zeros[(n * kGroups + g) * sizeof bits], &bits, sizeof bits);
  }

  const RandomWeight& weight() const { return weight_; }
  const zenwoq_weight_source& source() const { return source_; }

  void expect_error(const std::string& text) const {
    for (const Variant& variant : variants()) {
      const PackedHeader header = header_of(weight_);
      const PackedBuffer packed = allocate_packed(header.total_bytes);
      const Status status = pack_rows(header, source_, 0, header.n, packed.get(), *variant.kernels);
      EXPECT_EQ(status.code(), ZENWOQ_ERROR_INVALID_ARGUMENT);
      EXPECT_EQ(status.text(), text) << variant.name;
    }
  }

 private:
  Rng rng_{8};
  RandomWeight weight_;
  std::vector<std::uint8_t> codes_;
  zenwoq_weight_source source_;
};

TEST(PackErrors, ACodeOutOfRangeIsNamedWhereverItIs) {
  struct Case {
    zenwoq_code_layout layout;
    const char* range;
    std::vector<int> values;
  };
  const Case cases[] = {{ZENWOQ_CODES_U8, "0..15", {16, 32, 64, 128, 255}},
                        {ZENWOQ_CODES_S8, "-8..7", {-9, -128, 8, 127}}};
  for (const Case& c : cases) {
    std::size_t next = 0;
    // Whole and partial panels; the first and last code of a row, a block, a line, half a vector, and the rest.
    for (const std::size_t n : {0, 7, 8, 63, 64, 98}) {
      for (const std::size_t k : {0, 15, 16, 31, 32, 63, 64, 127, 128, 191, 192, 228}) {
        const int value = c.values[next++ % c.values.size()];
        Spoiled spoiled(c.layout, ZENWOQ_BF16, ZENWOQ_ZERO_NONE);
        spoiled.spoil_code(n, k, value);
        spoiled.expect_error(fmt::format("code {} at row {}, column {}: must be in {}", value, n, k, c.range));
      }
    }
  }
}

TEST(PackErrors, AScaleOrOffsetThatIsNotFiniteIsNamedWhereverItIs) {
  const float infinity = std::numeric_limits<float>::infinity();
  for (const std::size_t n : {0, 7, 63, 64, 98}) {
    for (const std::size_t g : {0, 3, 7, 8, 13, 14}) {
      const std::string place = fmt::format("at row {}, group {}: must be finite", n, g);
      Spoiled f32(ZENWOQ_CODES_NIBBLES, ZENWOQ_F32, ZENWOQ_ZERO_NONE);
      f32.spoil_scale(n, g, std::numeric_limits<float>::quiet_NaN());
      f32.expect_error("scale nan " + place);
      Spoiled f16(ZENWOQ_CODES_NIBBLES, ZENWOQ_F16, ZENWOQ_ZERO_OFFSET);
      f16.spoil_zero<std::uint16_t>(n, g, 0xFC00);
      f16.expect_error("offset -inf " + place);
      Spoiled bf16(ZENWOQ_CODES_NIBBLES, ZENWOQ_BF16, ZENWOQ_ZERO_OFFSET);
      bf16.spoil_scale<std::uint16_t>(n, g, 0x7F80);
      bf16.expect_error("scale inf " + place);
      Spoiled offset(ZENWOQ_CODES_NIBBLES, ZENWOQ_F32, ZENWOQ_ZERO_OFFSET);
      offset.spoil_zero(n, g, infinity);
      offset.expect_error("offset inf " + place);
    }
  }
}

TEST(PackErrors, AZeroOutsideItsRangeIsNamedWhereverItIs) {
  for (const std::size_t n : {0, 15, 63, 64, 98}) {
    for (const std::size_t g : {0, 7, 14}) {
      for (const int zero : {-1, -128, 17, 127}) {
        Spoiled spoiled(ZENWOQ_CODES_NIBBLES, ZENWOQ_BF16, ZENWOQ_ZERO_INTEGER);
        spoiled.spoil_zero(n, g, static_cast<std::int8_t>(zero));
        spoiled.expect_error(fmt::format("zero {} at row {}, group {}: must be in 0..16", zero, n, g));
      }
    }
  }
}

TEST(PackErrors, TheFirstOfSeveralIsNamed) {
  Spoiled spoiled(ZENWOQ_CODES_U8, ZENWOQ_BF16, ZENWOQ_ZERO_INTEGER);
  spoiled.spoil_code(70, 0, 200);
  spoiled.spoil_zero(1, 1, std::int8_t{20});
  spoiled.expect_error("zero 20 at row 1, group 1: must be in 0..16");  // its panel comes before the code's
  spoiled.spoil_scale<std::uint16_t>(2, 3, 0x7F80);
  spoiled.expect_error("scale inf at row 2, group 3: must be finite");  // in a panel: codes, scales, zeros
  spoiled.spoil_code(20, 1, 99);
  spoiled.expect_error("code 99 at row 20, column 1: must be in 0..15");
  spoiled.spoil_code(9, 200, 77);
  spoiled.expect_error("code 77 at row 9, column 200: must be in 0..15");  // rows before columns
  spoiled.spoil_code(9, 100, 55);
  spoiled.expect_error("code 55 at row 9, column 100: must be in 0..15");
}

struct HandleDeleter {
  void operator()(zenwoq_context* context) const { zenwoq_context_destroy(context); }
  void operator()(zenwoq_weight* weight) const { zenwoq_weight_destroy(weight); }
};
using ContextHandle = std::unique_ptr<zenwoq_context, HandleDeleter>;
using WeightHandle = std::unique_ptr<zenwoq_weight, HandleDeleter>;

// The library's own threads, and a caller's that runs tasks from the last to the first.
std::vector<ContextHandle> some_contexts() {
  std::vector<ContextHandle> contexts;
  for (const unsigned threads : {1u, 2u, 5u, 6u}) {
    zenwoq_context_options options;
    zenwoq_context_options_init(&options);
    options.threads = threads;
    if (threads == 6) {
      options.parallel_for = [](void*, size_t n, void (*task)(void*, size_t), void* arg) {
        while (n-- > 0) task(arg, n);
      };
    }
    zenwoq_context* context = nullptr;
    EXPECT_EQ(zenwoq_context_create(&options, &context), ZENWOQ_OK) << zenwoq_last_error();
    contexts.emplace_back(context);
  }
  return contexts;
}

std::span<const std::uint8_t> bytes_of(const zenwoq_weight* weight) {
  const void* packed = nullptr;
  std::size_t bytes = 0;
  EXPECT_EQ(zenwoq_weight_packed(weight, &packed, &bytes), ZENWOQ_OK);
  return {static_cast<const std::uint8_t*>(packed), bytes};
}

TEST(WeightCreate, PacksTheSameBytesOnAnyThreads) {
  Rng rng(9);
  const std::vector<ContextHandle> contexts = some_contexts();
  for (const std::size_t n : {1, 64, 700, 64 * 40 + 3, 64 * 300}) {  // the last: tasks of several panels, huge pages
    const RandomWeight weight = random_weight(rng, n, n < 5000 ? 100 : 300, 32, ZENWOQ_F16, ZENWOQ_ZERO_INTEGER);
    const zenwoq_weight_desc desc = weight.desc();
    const zenwoq_weight_source source = weight.source();
    const std::vector<std::uint8_t> expected = packed_by_definition(weight, header_of(weight));
    for (const ContextHandle& context : contexts) {
      zenwoq_weight* created = nullptr;
      ASSERT_EQ(zenwoq_weight_create(context.get(), &desc, &source, &created), ZENWOQ_OK) << zenwoq_last_error();
      const WeightHandle handle(created);
      ASSERT_EQ(bytes_of(created).size(), expected.size());
      ASSERT_EQ(std::memcmp(bytes_of(created).data(), expected.data(), expected.size()), 0) << n;
      // Opened as a copy, from an address at which packed bytes cannot be used.
      std::vector<std::uint8_t> shifted(expected.size() + 1);
      std::memcpy(shifted.data() + 1, expected.data(), expected.size());
      zenwoq_weight* copy = nullptr;
      ASSERT_EQ(zenwoq_weight_open(shifted.data() + 1, expected.size(), ZENWOQ_COPY, &copy), ZENWOQ_OK);
      const WeightHandle copy_handle(copy);
      ASSERT_EQ(std::memcmp(bytes_of(copy).data(), expected.data(), expected.size()), 0) << n;
    }
  }
}

TEST(WeightCreate, GivesTheErrorOfPackingRowAfterRow) {
  Rng rng(10);
  const std::vector<ContextHandle> contexts = some_contexts();
  for (int i = 0; i < 20; ++i) {
    Spoiled spoiled(ZENWOQ_CODES_S8, ZENWOQ_BF16, ZENWOQ_ZERO_INTEGER, 64 * 30);
    for (std::size_t count = pick(rng, 1, 5); count > 0; --count) {
      const std::size_t n = rng() % (64 * 30);
      switch (rng() % 3) {
        case 0: spoiled.spoil_code(n, rng() % Spoiled::kK, 8); break;
        case 1: spoiled.spoil_scale<std::uint16_t>(n, rng() % Spoiled::kGroups, 0x7F80); break;
        default: spoiled.spoil_zero(n, rng() % Spoiled::kGroups, std::int8_t{17}); break;
      }
    }
    const zenwoq_weight_desc desc = spoiled.weight().desc();
    const std::size_t bytes = header_of(spoiled.weight()).total_bytes;
    const PackedBuffer packed = allocate_packed(bytes);
    ASSERT_EQ(zenwoq_weight_pack(&desc, &spoiled.source(), 0, desc.n, packed.get(), bytes),
              ZENWOQ_ERROR_INVALID_ARGUMENT);
    const std::string expected = zenwoq_last_error();
    for (const ContextHandle& context : contexts) {
      auto* created = reinterpret_cast<zenwoq_weight*>(8);
      EXPECT_EQ(zenwoq_weight_create(context.get(), &desc, &spoiled.source(), &created), ZENWOQ_ERROR_INVALID_ARGUMENT);
      EXPECT_EQ(created, nullptr);
      EXPECT_EQ(zenwoq_last_error(), expected);
    }
  }
}

}  // namespace
}  // namespace zenwoq::test
