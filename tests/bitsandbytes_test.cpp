// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// Import of bitsandbytes: NF4 and FP4, blocks that cross rows, double quantization, what is left alone, what is
// refused.
#include <algorithm>
#include <cmath>

#include "formats/container/floats.h"
#include "tests/support/quantized.h"

namespace zenwoq::formats::testing {
namespace {

using nlohmann::json;

// One weight "m.q" [N,K], for tests to change before it is built.
struct BnbFile {
  std::size_t n, k, blocksize;
  std::string kind = "nf4", storage = "U8";
  Shape storage_shape;
  Bytes codes;
  std::vector<float> table, absmax;
  json state;
  bool nested = false;
  std::vector<std::uint8_t> nested_codes;
  std::vector<float> nested_map, nested_absmax;

  BnbFile(std::size_t rows, std::size_t columns, std::size_t block) : n(rows), k(columns), blocksize(block) {
    for (std::size_t i = 0; i < n * k / 2; ++i) codes.push_back(static_cast<std::uint8_t>(i * 2654435761u >> 13));
    storage_shape = {codes.size(), 1};
    for (int i = 0; i < 16; ++i) table.push_back(static_cast<float>(i * i) / 256.0f - 0.5f);
    for (std::size_t i = 0; i < (n * k + block - 1) / block; ++i) absmax.push_back(1.0f + static_cast<float>(i) / 3.0f);
    state = {{"quant_type", "nf4"}, {"blocksize", block}, {"dtype", "bfloat16"}, {"shape", {n, k}}};
  }
  void nest() {
    nested = true;
    state["nested_blocksize"] = 4;
    state["nested_offset"] = 0.125;
    for (int i = 0; i < 256; ++i) nested_map.push_back(static_cast<float>(i) / 255.0f);
    for (std::size_t i = 0; i < absmax.size(); ++i) {
      nested_codes.push_back(static_cast<std::uint8_t>(37 * i));
      if (i % 4 == 0) nested_absmax.push_back(2.0f + static_cast<float>(i));
      absmax[i] = nested_map[nested_codes[i]] * nested_absmax[i / 4] + 0.125f;
    }
  }
  SafetensorsBuilder builder() const {
    SafetensorsBuilder tensors;
    const std::string text = state.dump();
    tensors.tensor("m.q.weight", storage, storage_shape, codes);
    tensors.tensor("m.q.weight.quant_map", "F32", {16}, bytes_of(table));
    tensors.tensor("m.q.weight.quant_state.bitsandbytes__" + kind, "U8", {text.size()},
                   Bytes(text.begin(), text.end()));
    if (!nested) return tensors.tensor("m.q.weight.absmax", "F32", {absmax.size()}, bytes_of(absmax));
    tensors.tensor("m.q.weight.absmax", "U8", {nested_codes.size()}, nested_codes);
    tensors.tensor("m.q.weight.nested_quant_map", "F32", {256}, bytes_of(nested_map));
    return tensors.tensor("m.q.weight.nested_absmax", "F32", {nested_absmax.size()}, bytes_of(nested_absmax));
  }
  std::string error() const { return refusal(builder(), nullptr); }

  void expect_loads() const {
    const FileMap files = model_files(builder(), nullptr);
    const auto checkpoint = open_files(files, "model.safetensors");
    ASSERT_EQ(checkpoint->layers().size(), 1u) << error();
    EXPECT_TRUE(checkpoint->left_alone().empty());
    const tools::Layer layer = load(*checkpoint, 0);
    EXPECT_EQ(layer.info.format, "bitsandbytes " + kind);
    std::size_t differing = 0;
    for (std::size_t e = 0; e < n * k; ++e) {
      const unsigned code = e % 2 == 0 ? codes[e / 2] >> 4 : codes[e / 2] & 15u;
      const std::size_t group = e / k * layer.info.groups() + e % k / layer.info.group();
      differing += code_at(layer, e / k, e % k) == code ? 0 : 1;
      differing += float_at(ZENWOQ_F32, layer.scales.data(), group) == absmax[e / blocksize] ? 0 : 1;
    }
    EXPECT_EQ(differing, 0u);
    for (std::size_t i = 0; i < 16; ++i) EXPECT_EQ(layer.info.table[i], table[i]);
  }
};

TEST(Bitsandbytes, BlocksInRowsAcrossRowsAndOfRows) {
  BnbFile(6, 128, 64).expect_loads();
  BnbFile(6, 96, 64).expect_loads();    // groups of 32
  BnbFile(16, 32, 128).expect_loads();  // a block of four rows
  BnbFile(5, 64, 64).expect_loads();
  BnbFile fp4(3, 64, 32);
  fp4.kind = "fp4";
  fp4.expect_loads();
}

TEST(Bitsandbytes, DoubleQuantization) {
  BnbFile file(10, 128, 64);
  file.nest();
  file.expect_loads();
}

TEST(Bitsandbytes, BytesOfAnyType) {
  BnbFile file(4, 64, 64);
  file.storage = "BF16";
  file.storage_shape = {64, 1};
  file.expect_loads();
}

TEST(Bitsandbytes, OtherKindsAreLeftAlone) {
  BnbFile odd(4, 68, 64);
  EXPECT_EQ(odd.error(), "blocks of 64 in rows of 68 values: no groups of a multiple of 8");
  BnbFile cube(4, 64, 64);
  cube.state["shape"] = {2, 2, 64};
  EXPECT_EQ(cube.error(), "not 2-D, or without values");
}

TEST(Bitsandbytes, ContradictionsAreRefused) {
  const auto changed = [](const std::function<void(BnbFile&)>& change) {
    BnbFile file(4, 64, 64);
    change(file);
    return file.error();
  };
  EXPECT_CONTAINS(changed([](BnbFile& f) { f.state["shape"] = {4, 128}; }), "has 128 bytes, but its shape is [4, 128]");
  EXPECT_CONTAINS(changed([](BnbFile& f) { f.state["shape"] = {1ull << 63, 4}; }), "has 128 bytes, but its shape");
  EXPECT_CONTAINS(changed([](BnbFile& f) { f.state["shape"] = {4, "64"}; }), "shape of its quant_state is missing or");
  EXPECT_CONTAINS(changed([](BnbFile& f) { f.state["blocksize"] = 0; }), "blocksize of its quant_state is missing or");
  EXPECT_CONTAINS(changed([](BnbFile& f) { f.state["blocksize"] = 32; }), "absmax has shape [4], it should be [8]");
  EXPECT_CONTAINS(changed([](BnbFile& f) { f.state = json::array(); }), "quant_state is no JSON object");
  EXPECT_CONTAINS(changed([](BnbFile& f) { f.table.pop_back(), f.table.push_back(INFINITY); }),
                  "quant_map has inf at 15");
  EXPECT_CONTAINS(changed([](BnbFile& f) { f.state["nested_blocksize"] = 4; }), "nested_offset of its quant_state is");
  const auto nested = [](const std::function<void(BnbFile&)>& change) {
    BnbFile file(4, 64, 64);
    file.nest();
    change(file);
    return file.error();
  };
  EXPECT_CONTAINS(nested([](BnbFile& f) { f.nested_absmax.push_back(1); }),
                  "nested_absmax has shape [2], it should be [1]");
  EXPECT_CONTAINS(nested([](BnbFile& f) { f.state.erase("nested_blocksize"); }),
                  "absmax has type U8, it should be F32");
}

TEST(Bitsandbytes, DamageIsSurvived) {
  BnbFile file(4, 96, 64);
  expect_damage_is_survived(file.builder(), nullptr);
  file.nest();
  expect_damage_is_survived(file.builder(), nullptr);
}

// The state is data, not header.
TEST(Bitsandbytes, ADamagedStateIsSurvived) {
  BnbFile file(4, 96, 64);
  file.nest();
  Bytes bytes = file.builder().build();
  const std::string text = file.state.dump();
  const auto begin = std::search(bytes.begin(), bytes.end(), text.begin(), text.end());
  ASSERT_NE(begin, bytes.end());
  for (auto byte = begin; byte != begin + static_cast<std::ptrdiff_t>(text.size()); ++byte) {
    for (unsigned bit = 0; bit < 8; ++bit) {
      *byte = static_cast<std::uint8_t>(*byte ^ 1u << bit);
      error_of([&] {
        const auto checkpoint = open_bytes(bytes);
        for (std::size_t i = 0; i < checkpoint->layers().size(); ++i) load(*checkpoint, i);
      });
      *byte = static_cast<std::uint8_t>(*byte ^ 1u << bit);
    }
  }
  EXPECT_EQ(load_error(bytes), "");
}

}  // namespace
}  // namespace zenwoq::formats::testing
