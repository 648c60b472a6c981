// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// Import of TorchAO opaque weights: both layouts, blocks of every length, what is left alone, what is refused.
#include <gtest/gtest.h>

#include <algorithm>

#include "tests/support/checkpoint_builder.h"

namespace zenwoq::formats::testing {
namespace {

using OpaqueLayout = ReadOptions::OpaqueLayout;

// Codes [N,K] -> ATen's blob, byte by byte in the layout that torchao_opaque.cpp describes.
Bytes pack_opaque(const std::vector<unsigned>& codes, std::size_t n, std::size_t k, OpaqueLayout layout) {
  const std::size_t block = layout == OpaqueLayout::avx512 ? 64 : 32;
  Bytes blob;
  for (std::size_t first = 0; first < n; first += block) {
    const std::size_t rows = std::min(block, n - first);
    for (std::size_t column = 0; column < k; ++column) {
      for (std::size_t byte = 0; byte < rows / 2; ++byte) {
        const std::size_t low = rows == block ? byte : 2 * byte;
        const std::size_t high = rows == block ? byte + block / 2 : 2 * byte + 1;
        blob.push_back(
            static_cast<std::uint8_t>(codes[(first + low) * k + column] | codes[(first + high) * k + column] << 4));
      }
    }
  }
  return blob;
}

constexpr std::uint16_t bf16_half = 0x3F00;

SafetensorsBuilder opaque_file(const Bytes& blob, std::size_t n, std::size_t k, std::size_t groups,
                               std::uint16_t first_scale = 0) {
  std::vector<std::uint16_t> pairs;  // of scale = first_scale + the pair's number and zero = that number + 0x4000
  for (std::uint16_t i = 0; i < groups * n; ++i) {
    pairs.push_back(static_cast<std::uint16_t>(first_scale + i));
    pairs.push_back(static_cast<std::uint16_t>(i + 0x4000));
  }
  SafetensorsBuilder builder;
  builder.tensor("q._weight_qdata", "U8", {n, k / 2}, blob);
  return builder.tensor("q._weight_scale_and_zero", "BF16", {groups, n, 2}, bytes_of(pairs));
}

std::vector<unsigned> some_codes(std::size_t count) {
  std::vector<unsigned> codes;
  for (std::size_t i = 0; i < count; ++i) codes.push_back(static_cast<unsigned>(i * 2654435761u >> 13) & 15u);
  return codes;
}

TEST(TorchaoOpaque, GoldenBlobsAreUnpacked) {
  const auto blob_of = [](const std::vector<std::uint8_t>& fours) {
    Bytes bytes;  // for each of K = 2 columns, each byte four times
    for (int column = 0; column < 2; ++column) {
      for (const std::uint8_t byte : fours) bytes.insert(bytes.end(), 4, byte);
    }
    return bytes;
  };
  const Bytes avx512 = blob_of({0x80, 0x91, 0xA2, 0xB3, 0xC4, 0xD5, 0xE6, 0xF7});
  Bytes avx2 = blob_of({0x40, 0x51, 0x62, 0x73});
  append(avx2, blob_of({0xC8, 0xD9, 0xEA, 0xFB}));
  for (const auto& [layout, blob] : {std::pair(OpaqueLayout::avx512, avx512), std::pair(OpaqueLayout::avx2, avx2)}) {
    const Bytes file = opaque_file(blob, 64, 2, 1).build();
    const tools::Layer layer = load(*open_bytes(file, {layout}), 0);
    for (std::size_t n = 0; n < 64; ++n) EXPECT_EQ(code_at(layer, n, 1), n / 4);
  }
}

TEST(TorchaoOpaque, ShortLastBlocksAreUnpacked) {
  constexpr std::size_t k = 16;
  for (const OpaqueLayout layout : {OpaqueLayout::avx512, OpaqueLayout::avx2}) {
    for (std::size_t n = 16; n <= 144; n += 16) {
      const std::vector<unsigned> codes = some_codes(n * k);
      const Bytes file = opaque_file(pack_opaque(codes, n, k, layout), n, k, 2).build();
      const tools::Layer layer = load(*open_bytes(file, {layout}), 0);
      for (std::size_t i = 0; i < codes.size(); ++i) {
        ASSERT_EQ(code_at(layer, i / k, i % k), codes[i]) << n << " " << i;
      }
    }
  }
}

TEST(TorchaoOpaque, ScalesAndZerosAreTransposed) {
  const Bytes file = opaque_file(Bytes(16 * 8), 16, 16, 2).tensor("q.bias", "BF16", {16}, Bytes(32, 5)).build();
  const auto checkpoint = open_bytes(file);
  EXPECT_TRUE(checkpoint->left_alone().empty());
  const tools::Layer layer = load(*checkpoint, 0);
  EXPECT_EQ(layer.info.name, "q");
  EXPECT_EQ(layer.info.format, "torchao opaque");
  EXPECT_EQ(layer.info.n, 16u);
  EXPECT_EQ(layer.info.k, 16u);
  EXPECT_EQ(layer.info.group_size, 8u);
  EXPECT_EQ(layer.info.zero_kind, ZENWOQ_ZERO_OFFSET);
  EXPECT_EQ(layer.info.table[0], -8.0f);
  EXPECT_EQ(layer.bias, Bytes(32, 5));
  std::vector<std::uint16_t> scales, zeros;
  for (std::uint16_t n = 0; n < 16; ++n) {
    for (const int pair : {n + 0, n + 16}) {
      scales.push_back(static_cast<std::uint16_t>(pair));
      zeros.push_back(static_cast<std::uint16_t>(pair + 0x4000));
    }
  }
  EXPECT_EQ(layer.scales, bytes_of(scales));
  EXPECT_EQ(layer.zeros, bytes_of(zeros));
}

constexpr std::size_t wide_n = 64, wide_k = 64;

// Codes 1 to 14, and codes 0 and 15 too in every group of 32 of the first `rows` rows, at places that differ by row.
std::vector<unsigned> stretched_codes(std::size_t rows) {
  std::vector<unsigned> codes = some_codes(wide_n * wide_k);
  for (unsigned& code : codes) code = std::clamp(code, 1u, 14u);
  for (std::size_t row = 0; row < rows; ++row) {
    for (std::size_t group = 0; group < 2; ++group) {
      codes[row * wide_k + group * 32 + row % 16] = 0;
      codes[row * wide_k + group * 32 + 16 + row * 7 % 13] = 15;
    }
  }
  return codes;
}

Bytes stretched_file(std::size_t rows, OpaqueLayout layout) {
  const Bytes blob = pack_opaque(stretched_codes(rows), wide_n, wide_k, layout);
  return opaque_file(blob, wide_n, wide_k, 2, bf16_half).build();
}

TEST(TorchaoOpaque, TheWrongLayoutIsNoticed) {
  ASSERT_EQ(load_error(stretched_file(wide_n, OpaqueLayout::avx512)), "");
  const Bytes avx2 = stretched_file(wide_n, OpaqueLayout::avx2);
  EXPECT_EQ(load_error(avx2, {OpaqueLayout::avx2}), "");
  EXPECT_CONTAINS(load_error(avx2),
                  "test: weight q.weight: "
                  "was packed for avx2, not for avx512: read it with the opaque layout avx2 (of 128 groups, ");
}

// If neither layout fits, no quantizer stretched the groups, and the advice to read the other one would be a guess.
TEST(TorchaoOpaque, CodesThatNoQuantizerStretchedSayNothingOfTheirLayout) {
  for (const std::size_t rows : {std::size_t{0}, wide_n * 3 / 4}) {
    for (const OpaqueLayout layout : {OpaqueLayout::avx512, OpaqueLayout::avx2}) {
      EXPECT_EQ(load_error(stretched_file(rows, layout), {OpaqueLayout::avx512}), "");
    }
  }
}

TEST(TorchaoOpaque, EmptyWeightsAreLeftAlone) {
  SafetensorsBuilder builder = opaque_file(Bytes(128), 16, 16, 2);
  builder.tensor("e._weight_qdata", "U8", {16, 0}, {}).tensor("e._weight_scale_and_zero", "BF16", {0, 16, 2}, {});
  const Bytes file = builder.build();
  const auto checkpoint = open_bytes(file);
  EXPECT_EQ(checkpoint->layers().size(), 1u);
  EXPECT_EQ(reason_for(*checkpoint, "e.weight"), "shape [16, 0], no values");
}

TEST(TorchaoOpaque, OtherKindsAreLeftAlone) {
  for (const std::string part : {"qzeros", "compensation"}) {
    const Bytes file = opaque_file(Bytes(128), 16, 16, 2).tensor("q._weight_" + part, "BF16", {1}, Bytes(2)).build();
    const auto checkpoint = open_bytes(file);
    EXPECT_TRUE(checkpoint->layers().empty());
    EXPECT_EQ(checkpoint->left_alone().size(), 1u);
    EXPECT_EQ(reason_for(*checkpoint, "q.weight"), "torchao opaque with " + part + ", which zenwoq does not apply");
  }
  const Bytes small_groups = opaque_file(Bytes(128), 16, 16, 4).build();
  EXPECT_EQ(reason_for(*open_bytes(small_groups), "q.weight"), "groups of 4, not a multiple of 8");
  const Bytes wide_bias = opaque_file(Bytes(128), 16, 16, 2).tensor("q.bias", "F64", {16}, Bytes(128)).build();
  EXPECT_EQ(reason_for(*open_bytes(wide_bias), "q.weight"), "its bias is f64");
}

TEST(TorchaoOpaque, ContradictionsAreRefused) {
  const auto error = [](const std::string& qdata_type, const Shape& qdata, const Shape& pairs) {
    const auto bytes = [](const Shape& shape, std::uint64_t element) {
      for (const std::uint64_t size : shape) element *= size;
      return Bytes(element);
    };
    return open_error(SafetensorsBuilder()
                          .tensor("q._weight_qdata", qdata_type, qdata, bytes(qdata, 1))
                          .tensor("q._weight_scale_and_zero", "BF16", pairs, bytes(pairs, 2))
                          .build());
  };
  EXPECT_CONTAINS(error("I8", {16, 8}, {2, 16, 2}), "qdata has type I8, it should be U8");
  EXPECT_CONTAINS(error("U8", {16, 4, 2}, {2, 16, 2}), "qdata has shape [16, 4, 2], it should be [N, K/2]");
  EXPECT_CONTAINS(error("U8", {16, 8}, {2, 32}), "scale_and_zero has shape [2, 32], it should be [K/g, N, 2]");
  EXPECT_CONTAINS(error("U8", {16, 8}, {0, 16, 2}), "scale_and_zero has shape [0, 16, 2]");
  EXPECT_CONTAINS(error("U8", {16, 8}, {2, 8, 2}), "scale_and_zero has shape [2, 8, 2], it should be [2, 16, 2]");
  EXPECT_CONTAINS(error("U8", {24, 8}, {2, 24, 2}), "has 24 rows, ATen packs only multiples of 16");
  EXPECT_CONTAINS(error("U8", {16, 8}, {3, 16, 2}), "rows of 16 values do not divide into 3 groups");
  const Bytes alone = SafetensorsBuilder().tensor("q._weight_scale_and_zero", "BF16", {1, 16, 2}, Bytes(64)).build();
  EXPECT_CONTAINS(open_error(alone), "its qdata is missing");
}

}  // namespace
}  // namespace zenwoq::formats::testing
