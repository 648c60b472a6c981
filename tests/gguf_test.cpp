// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// Import of GGUF: Q4_0 and Q4_1 blocks, every kind of key-value pair, what is left alone, what is refused.
#include <gtest/gtest.h>

#include "tests/support/checkpoint_builder.h"

namespace zenwoq::formats::testing {
namespace {

constexpr std::uint32_t f32 = 0, f16 = 1, q4_0 = 2, q4_1 = 3, q8_0 = 8, nvfp4 = 40, bf16 = 30;
constexpr std::uint32_t u16_value = 2, u32_value = 4, i32_value = 5, string_value = 8, array_value = 9;

// The sixteen bytes of a block whose values j and j + 16 are j and 15 - j.
Bytes code_bytes() {
  Bytes bytes;
  for (unsigned j = 0; j < 16; ++j) bytes.push_back(static_cast<std::uint8_t>(j | (15 - j) << 4));
  return bytes;
}

Bytes q4_0_block(std::uint16_t d) {
  Bytes block;
  append(block, d);
  append(block, code_bytes());
  return block;
}

Bytes q4_1_block(std::uint16_t d, std::uint16_t m) {
  Bytes block;
  append(block, d);
  append(block, m);
  append(block, code_bytes());
  return block;
}

Bytes repeated(const Bytes& bytes, int times) {
  Bytes all;
  for (int i = 0; i < times; ++i) append(all, bytes);
  return all;
}

void expect_code_pattern(const tools::Layer& layer) {
  for (std::size_t i = 0; i < layer.info.n * layer.info.k; ++i) {
    const std::size_t in_block = i % 32;
    EXPECT_EQ(code_at(layer, i / layer.info.k, i % layer.info.k), in_block < 16 ? in_block : 31 - in_block) << i;
  }
}

TEST(Gguf, Q4_0BecomesALayer) {
  Bytes blocks;
  const std::vector<std::uint16_t> scales = {1, 2, 0x8003, 4, 5, 6};
  for (const std::uint16_t d : scales) append(blocks, q4_0_block(d));
  const Bytes file = GgufBuilder().tensor("blk.0.q.weight", {64, 3}, q4_0, blocks).build();
  const auto checkpoint = open_bytes(file);
  ASSERT_EQ(checkpoint->layers().size(), 1u);
  EXPECT_TRUE(checkpoint->left_alone().empty());
  const tools::Layer layer = load(*checkpoint, 0);
  EXPECT_EQ(layer.info.name, "blk.0.q");
  EXPECT_EQ(layer.info.format, "gguf q4_0");
  EXPECT_EQ(layer.info.n, 3u);
  EXPECT_EQ(layer.info.k, 64u);
  EXPECT_EQ(layer.info.group_size, 32u);
  EXPECT_EQ(layer.info.scale_type, ZENWOQ_F16);
  EXPECT_EQ(layer.info.zero_kind, ZENWOQ_ZERO_NONE);
  EXPECT_EQ(layer.info.table[0], -8.0f);
  EXPECT_EQ(layer.scales, bytes_of(scales));
  EXPECT_TRUE(layer.zeros.empty());
  expect_code_pattern(layer);
}

TEST(Gguf, Q4_1BecomesALayerWithOffsets) {
  Bytes blocks;
  const std::vector<std::uint16_t> scales = {1, 2, 3, 4}, minima = {0x101, 0x8102, 0x103, 0x104};
  for (std::size_t i = 0; i < 4; ++i) append(blocks, q4_1_block(scales[i], minima[i]));
  const Bytes file = GgufBuilder().tensor("q", {64, 2}, q4_1, blocks).build();
  const tools::Layer layer = load(*open_bytes(file), 0);
  EXPECT_EQ(layer.info.name, "q");
  EXPECT_EQ(layer.info.format, "gguf q4_1");
  EXPECT_EQ(layer.info.zero_kind, ZENWOQ_ZERO_OFFSET);
  EXPECT_EQ(layer.info.table[0], 0.0f);
  EXPECT_EQ(layer.scales, bytes_of(scales));
  EXPECT_EQ(layer.zeros, bytes_of(minima));
  expect_code_pattern(layer);
}

TEST(Gguf, BiasBelongsToTheLayer) {
  for (const auto& [type, dtype] :
       {std::pair(f32, ZENWOQ_F32), std::pair(f16, ZENWOQ_F16), std::pair(bf16, ZENWOQ_BF16)}) {
    const Bytes bias(dtype == ZENWOQ_F32 ? 8 : 4, 7);
    GgufBuilder builder;
    builder.tensor("q.weight", {32, 2}, q4_0, repeated(q4_0_block(1), 2)).tensor("q.bias", {2}, type, bias);
    const Bytes file = builder.build();
    const auto checkpoint = open_bytes(file);
    EXPECT_TRUE(checkpoint->left_alone().empty());
    const tools::Layer layer = load(*checkpoint, 0);
    EXPECT_TRUE(layer.info.has_bias);
    EXPECT_EQ(layer.info.bias_type, dtype);
    EXPECT_EQ(layer.bias, bias);
  }
}

TEST(Gguf, WrongBiasIsNotLost) {
  const auto with_bias = [](const Shape& shape, std::uint32_t type, const Bytes& data) {
    GgufBuilder builder;
    builder.tensor("q.weight", {32, 1}, q4_0, q4_0_block(1)).tensor("q.bias", shape, type, data);
    return builder.build();
  };
  const Bytes quantized = with_bias({32}, q8_0, Bytes(34));
  EXPECT_EQ(reason_for(*open_bytes(quantized), "q.weight"), "its bias is q8_0");
  EXPECT_EQ(reason_for(*open_bytes(quantized), "q.bias"), "q8_0, unpacked to f32: no kernel for it");
  EXPECT_CONTAINS(open_error(with_bias({2}, f32, Bytes(8))), "weight q.weight: q.bias has shape [2], it should be [1]");
}

TEST(Gguf, LeftAloneTensorsHaveAReason) {
  GgufBuilder builder;
  builder.tensor("norm.weight", {2}, f32, Bytes(8)).tensor("embed.weight", {2, 2}, f16, Bytes(8));
  builder.tensor("q8", {32, 1}, q8_0, Bytes(34)).tensor("nv", {64, 1}, nvfp4, Bytes(36));
  builder.tensor("experts", {32, 1, 2, 1}, q4_0, Bytes(36)).tensor("new", {7}, 99, Bytes(5));
  const Bytes file = builder.build();
  const auto checkpoint = open_bytes(file);
  EXPECT_TRUE(checkpoint->layers().empty());
  EXPECT_EQ(checkpoint->left_alone().size(), 6u);
  EXPECT_EQ(reason_for(*checkpoint, "norm.weight"), "1-D f32");
  EXPECT_EQ(reason_for(*checkpoint, "embed.weight"), "2-D f16, not quantized");
  EXPECT_EQ(reason_for(*checkpoint, "q8"), "q8_0, unpacked to f32: no kernel for it");
  EXPECT_EQ(reason_for(*checkpoint, "nv"), "nvfp4, a 4-bit type that is not read");
  EXPECT_EQ(reason_for(*checkpoint, "experts"), "4-D q4_0, only 2-D and 3-D are read");
  EXPECT_EQ(reason_for(*checkpoint, "new"), "unknown type 99");
}

TEST(Gguf, TypesThatWereRemovedAreNamed) {
  const std::map<std::uint32_t, std::string> names = {{4, "q4_2"},        {5, "q4_3"},       {31, "q4_0_4_4"},
                                                      {32, "q4_0_4_8"},   {33, "q4_0_8_8"},  {36, "iq4_nl_4_4"},
                                                      {37, "iq4_nl_4_8"}, {38, "iq4_nl_8_8"}};
  for (const auto& [number, name] : names) {
    const Bytes file = GgufBuilder().tensor("old", {32, 1}, number, Bytes(18)).build();
    EXPECT_EQ(reason_for(*open_bytes(file), "old"), name + ", removed from GGUF: requantise the model");
  }
}

TEST(Gguf, TensorsWithoutValuesAndScalarsStopNothing) {
  GgufBuilder builder;
  builder.tensor("q.weight", {32, 2}, q4_0, repeated(q4_0_block(1), 2));
  builder.tensor_at("before", {1, 0}, f32, 0)
      .tensor_at("rows", {0, 32}, q4_0, 64)
      .tensor_at("own", {32, 0}, q4_0, 1u << 20);
  builder.tensor("scalar", {}, f32, Bytes(4)).tensor_at("blocks", {}, q4_0, 64);
  const Bytes file = builder.build();
  const auto checkpoint = open_bytes(file);
  ASSERT_EQ(checkpoint->layers().size(), 1u);
  EXPECT_EQ(load(*checkpoint, 0).scales, (Bytes{1, 0, 1, 0}));
  EXPECT_EQ(checkpoint->left_alone().size(), 5u);
  EXPECT_EQ(reason_for(*checkpoint, "before"), "shape [1, 0], no values");
  EXPECT_EQ(reason_for(*checkpoint, "rows"), "shape [0, 32], no values");
  EXPECT_EQ(reason_for(*checkpoint, "own"), "shape [32, 0], no values");
  EXPECT_EQ(reason_for(*checkpoint, "scalar"), "0-D f32");
  EXPECT_EQ(reason_for(*checkpoint, "blocks"), "0-D q4_0, only 2-D and 3-D are read");
}

// ---- models in several files ----

Bytes u16_bytes(std::uint16_t value) { return bytes_of(std::vector<std::uint16_t>{value}); }

class GgufShards : public ::testing::Test {
 protected:
  static Bytes shard(std::uint16_t number, std::uint16_t count, std::uint32_t tensors,
                     const std::function<void(GgufBuilder&)>& fill) {
    GgufBuilder builder;
    builder.pair("split.no", u16_value, u16_bytes(number)).pair("split.count", u16_value, u16_bytes(count));
    builder.pair("split.tensors.count", i32_value, bytes_of(std::vector<std::uint32_t>{tensors}));
    fill(builder);
    return builder.build();
  }

  void SetUp() override {
    files_[name(1)] = shard(0, 3, 3, [](GgufBuilder&) {});
    files_[name(2)] = shard(1, 3, 3, [](GgufBuilder& b) { b.tensor("q.weight", {32, 1}, q4_0, q4_0_block(1)); });
    files_[name(3)] = shard(2, 3, 3, [](GgufBuilder& b) {
      b.tensor("q.bias", {1}, f32, Bytes(4, 9)).tensor("k.weight", {32, 1}, q4_0, q4_0_block(2));
    });
  }

  static std::string name(int number) { return "m-0000" + std::to_string(number) + "-of-00003.gguf"; }
  std::unique_ptr<Checkpoint> open(const std::string& file) const { return open_files(files_, file); }
  std::string error(const std::string& file) const {
    return error_of([&] { open(file); });
  }

  FileMap files_;
};

TEST_F(GgufShards, EachOpensThemAll) {
  for (int i = 1; i <= 3; ++i) {
    const auto checkpoint = open(name(i));
    ASSERT_EQ(checkpoint->layers().size(), 2u);
    EXPECT_TRUE(checkpoint->left_alone().empty());
    for (std::size_t j = 0; j < 2; ++j) {
      const tools::Layer layer = load(*checkpoint, j);
      EXPECT_EQ(layer.bias, layer.info.name == "q" ? Bytes(4, 9) : Bytes());
    }
  }
}

TEST_F(GgufShards, WhatIsNotWholeIsRefused) {
  files_["m.gguf"] = files_.at(name(2));
  EXPECT_CONTAINS(error("m.gguf"), "m.gguf: is shard 2 of 3, but not called NAME-00002-of-00003.gguf");
  files_["m-00001-of-00002.gguf"] = files_.at(name(2));
  EXPECT_CONTAINS(error("m-00001-of-00002.gguf"), "is shard 2 of 3, but not called");
  files_["w-00001-of-00002.gguf"] = GgufBuilder().build();
  EXPECT_CONTAINS(error("w-00001-of-00002.gguf"), "is called shard 1 of 2, but has no split.count");
  FileMap whole = files_;
  files_[name(3)] = files_.at(name(2));
  EXPECT_CONTAINS(error(name(1)), "is shard 1 of 3, but m-00003-of-00003.gguf says that it is shard 2 of 3");
  files_[name(3)] = shard(2, 3, 3, [](GgufBuilder&) {});
  EXPECT_CONTAINS(error(name(1)), "split.tensors.count is 3, but the 3 shards have 1 tensors");
  files_[name(3)] = shard(2, 3, 3, [](GgufBuilder& b) { b.tensor("q.weight", {32, 1}, q4_0, q4_0_block(1)); });
  files_[name(1)] = shard(0, 3, 0, [](GgufBuilder&) {});
  EXPECT_CONTAINS(error(name(1)), "two shards have tensor q.weight");
  files_.erase(name(3));
  EXPECT_CONTAINS(error(name(2)), "m-00002-of-00003.gguf: is shard 2 of 3: m-00003-of-00003.gguf: cannot be opened");
  const std::string pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n";
  files_[name(3)] = Bytes(pointer.begin(), pointer.end());
  EXPECT_CONTAINS(error(name(2)), "is shard 2 of 3: m-00003-of-00003.gguf: is a git-lfs pointer");
}

TEST_F(GgufShards, WrongNumbersAreRefused) {
  EXPECT_CONTAINS(open_error(shard(3, 3, 0, [](GgufBuilder&) {})),
                  "split.no is 3, counted from 0, but split.count is 3");
  EXPECT_CONTAINS(open_error(GgufBuilder().pair("split.count", 6, Bytes(4)).build()),
                  "split.count has value type 6, it should be an integer");
}

TEST(Gguf, EveryKindOfPairIsSkipped) {
  for (const std::uint32_t version : {2u, 3u}) {
    GgufBuilder builder;
    builder.version = version;
    const std::vector<std::size_t> sizes = {1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8};
    for (std::uint32_t type = 0; type < sizes.size(); ++type) {
      if (sizes[type] == 0) continue;
      builder.pair("value" + std::to_string(type), type, Bytes(sizes[type], 0xEE));
      Bytes array;
      append(array, type);
      append(array, std::uint64_t{3});
      append(array, Bytes(3 * sizes[type], 0xEE));
      builder.pair("array" + std::to_string(type), array_value, array);
    }
    Bytes strings;
    append(strings, string_value);
    append(strings, std::uint64_t{2});
    append(strings, GgufBuilder::string_bytes("one"));
    append(strings, GgufBuilder::string_bytes(""));
    Bytes nested;
    append(nested, array_value);
    append(nested, std::uint64_t{2});
    append(nested, repeated(strings, 2));
    builder.pair("string", string_value, GgufBuilder::string_bytes("text"));
    builder.pair("strings", array_value, strings).pair("nested", array_value, nested);
    builder.tensor("q.weight", {32, 1}, q4_0, q4_0_block(3));
    const Bytes file = builder.build();
    EXPECT_EQ(load(*open_bytes(file), 0).scales, (Bytes{3, 0}));
  }
}

TEST(Gguf, AlignmentOfTheFileIsUsed) {
  GgufBuilder builder;
  builder.alignment = 256;
  builder.pair("general.alignment", u32_value, bytes_of(std::vector<std::uint32_t>{256}));
  builder.tensor("a.weight", {32, 1}, q4_0, q4_0_block(1)).tensor("b.weight", {32, 1}, q4_0, q4_0_block(2));
  const Bytes file = builder.build();
  EXPECT_EQ(load(*open_bytes(file), 1).scales, (Bytes{2, 0}));
}

TEST(Gguf, WrongHeadersAreRefused) {
  Bytes file = GgufBuilder().build();
  file[4] = 1;
  EXPECT_CONTAINS(open_error(file), "test: has GGUF version 1, only 2 and 3 are read");
  file[4] = 0;
  file[7] = 3;
  EXPECT_CONTAINS(open_error(file), "is a big-endian GGUF file");
  file = GgufBuilder().build();
  file[8 + 7] = 0x80;
  EXPECT_CONTAINS(open_error(file),
                  "the number of tensors is 9223372036854775808, but the file has room for 0 at most");
  file = GgufBuilder().build();
  file[16] = 200;
  EXPECT_CONTAINS(open_error(file), "the number of key-value pairs is 200, but the file has room for");
  file.resize(6);
  EXPECT_CONTAINS(open_error(file), "the file ends at 6, inside the version of 4 bytes at 4 (cut off?)");
}

TEST(Gguf, WrongPairsAreRefused) {
  const auto alignment_error = [](std::uint32_t value) {
    return open_error(
        GgufBuilder().pair("general.alignment", u32_value, bytes_of(std::vector<std::uint32_t>{value})).build());
  };
  EXPECT_CONTAINS(alignment_error(0), "general.alignment is 0, it should be a power of two up to 1048576");
  EXPECT_CONTAINS(alignment_error(48), "general.alignment is 48");
  EXPECT_CONTAINS(alignment_error(1u << 31), "general.alignment is 2147483648");
  EXPECT_CONTAINS(open_error(GgufBuilder().pair("general.alignment", 10, Bytes(8)).build()), "it should be u32");
  EXPECT_CONTAINS(open_error(GgufBuilder().pair("k", 13, Bytes(8)).build()), "key k has the unknown value type 13");
  EXPECT_CONTAINS(open_error(GgufBuilder().pair("k", 0, {1}).pair("k", 0, {1}).build()), "has the key k twice");
  EXPECT_CONTAINS(open_error(GgufBuilder().pair("k", string_value, Bytes(8, 0xFF)).build()), "inside a string of");
  Bytes long_array;
  append(long_array, std::uint32_t{12});
  append(long_array, std::uint64_t{1} << 61);
  EXPECT_CONTAINS(open_error(GgufBuilder().pair("k", array_value, long_array).build()), "an array length is 23058430");
  Bytes deep;
  for (int i = 0; i < 1000; ++i) {
    append(deep, array_value);
    append(deep, std::uint64_t{1});
  }
  EXPECT_CONTAINS(open_error(GgufBuilder().pair("k", array_value, deep).build()), "arrays nested deeper than 4");
}

TEST(Gguf, WrongTensorsAreRefused) {
  const auto error = [](const std::string& name, const Shape& dimensions, std::uint32_t type, std::uint64_t offset) {
    GgufBuilder builder;
    builder.tensor("first", {16}, f32, Bytes(64)).tensor_at(name, dimensions, type, offset);
    return open_error(builder.build());
  };
  EXPECT_CONTAINS(error("", {1}, f32, 0), "empty name");
  EXPECT_CONTAINS(error("a\nb", {1}, f32, 0), "not printable");
  EXPECT_CONTAINS(error("a\xff", {1}, f32, 0), R"(a\xff is not printable UTF-8 at byte 1)");
  EXPECT_CONTAINS(error("first", {1}, f32, 0), "has tensor first twice");
  EXPECT_CONTAINS(error("t", {1, 1, 1, 1, 1}, f32, 0), "tensor t has 5 dimensions");
  EXPECT_CONTAINS(error("t", {0}, f32, 33), "tensor t is at offset 33, not a multiple of 32");
  EXPECT_CONTAINS(error("t", {}, f32, 32), "tensors first and t overlap");
  EXPECT_CONTAINS(error("t", {}, f32, 64), "tensor t needs 4 bytes at offset 64");
  EXPECT_CONTAINS(error("t", {1ull << 63}, f32, 0), "tensor t has a dimension of 9223372036854775808");
  EXPECT_CONTAINS(error("t", {1u << 30, 1u << 30, 1u << 30, 1}, f32, 0), "more bytes than there can be");
  EXPECT_CONTAINS(error("t", {31, 1}, q4_0, 32), "tensor t has rows of 31 values, q4_0 needs a multiple of 32");
  EXPECT_CONTAINS(error("t", {8}, f32, 33), "tensor t is at offset 33, not a multiple of 32");
  EXPECT_CONTAINS(error("t", {1}, f32, 64), "tensor t needs 4 bytes at offset 64, but the file has 64 bytes of data");
  EXPECT_CONTAINS(error("t", {1}, f32, 0ull - 32), "tensor t needs 4 bytes at offset 18446744073709551584");
  EXPECT_CONTAINS(error("t", {1}, 99, 96), "tensor t needs 0 bytes at offset 96");
  EXPECT_CONTAINS(error("t", {8}, f32, 32), "tensors first and t overlap");
  EXPECT_CONTAINS(error("t", {1}, 99, 32), "tensors first and t overlap");
}

}  // namespace
}  // namespace zenwoq::formats::testing
