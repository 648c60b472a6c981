// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// Import of TorchAO intx weights: values, dialects of names, what is left alone, what is refused.
#include <gtest/gtest.h>

#include "tests/support/checkpoint_builder.h"

namespace zenwoq::formats::testing {
namespace {

using nlohmann::json;

constexpr std::uint16_t bf16_one = 0x3F80;

json dtype_json(const char* name) { return {{"_type", "torch.dtype"}, {"_data", name}}; }

json intx_entry(std::uint64_t group) {
  return {{"_type", "IntxUnpackedToInt8Tensor"},
          {"_data",
           {{"target_dtype", dtype_json("int4")},
            {"block_size", {1, group}},
            {"dtype", dtype_json("bfloat16")},
            {"activation_quantization", nullptr}}},
          {"_tensor_data_names", {"qdata", "scale", "zero_point"}}};
}

// One intx weight "m.q.weight" of 2 x 16 in groups of 8, for tests to change before it is built.
struct IntxFile {
  json entry = intx_entry(8);
  Shape qdata_shape = {2, 16};
  Bytes qdata;
  std::string scale_type = "BF16";
  Shape scale_shape = {2, 2};
  Bytes scale = bytes_of(std::vector<std::uint16_t>(4, bf16_one));
  std::string zero_type = "I8";
  Shape zero_shape = {2, 2};
  Bytes zero = Bytes(4);

  IntxFile() {
    for (int i = 0; i < 32; ++i) qdata.push_back(static_cast<std::uint8_t>(i % 16 - 8));
  }
  SafetensorsBuilder builder(const std::string& prefix = "m.q._weight_") const {
    SafetensorsBuilder builder;
    builder.tensor(prefix + "qdata", "I8", qdata_shape, qdata);
    builder.tensor(prefix + "scale", scale_type, scale_shape, scale);
    builder.tensor(prefix + "zero_point", zero_type, zero_shape, zero);
    return builder.metadata("m.q.weight", entry).metadata("tensor_names", json{"m.q.weight"});
  }
  Bytes build() const { return builder().build(); }
  std::string reason() const {
    const Bytes file = build();
    return reason_for(*open_bytes(file), "m.q.weight");
  }
};

TEST(TorchaoIntx, SymmetricWeightBecomesALayer) {
  const Bytes file = IntxFile().build();
  const auto checkpoint = open_bytes(file);
  ASSERT_EQ(checkpoint->layers().size(), 1u);
  EXPECT_TRUE(checkpoint->left_alone().empty());
  const tools::Layer layer = load(*checkpoint, 0);
  EXPECT_EQ(layer.info.name, "m.q");
  EXPECT_EQ(layer.info.format, "torchao intx");
  EXPECT_EQ(layer.info.n, 2u);
  EXPECT_EQ(layer.info.k, 16u);
  EXPECT_EQ(layer.info.group_size, 8u);
  EXPECT_EQ(layer.info.scale_type, ZENWOQ_BF16);
  EXPECT_EQ(layer.info.zero_kind, ZENWOQ_ZERO_NONE);
  EXPECT_FALSE(layer.info.has_bias);
  EXPECT_EQ(layer.scales.size(), 8u);
  EXPECT_TRUE(layer.zeros.empty());
  const Bytes row = {0x98, 0xBA, 0xDC, 0xFE, 0x10, 0x32, 0x54, 0x76};  // -8, -7, ... 7 as two's complement
  EXPECT_EQ(Bytes(layer.codes.begin(), layer.codes.begin() + 8), row);
  for (std::size_t k = 0; k < 16; ++k) {
    EXPECT_EQ(layer.info.table[code_at(layer, 1, k)], static_cast<float>(k) - 8);
  }
}

TEST(TorchaoIntx, ZeroPointsAreShiftedByEight) {
  IntxFile intx;
  intx.zero = {0, 0xF8, 7, 8};  // 0, -8, 7, 8
  const Bytes file = intx.build();
  const tools::Layer layer = load(*open_bytes(file), 0);
  EXPECT_EQ(layer.info.zero_kind, ZENWOQ_ZERO_INTEGER);
  EXPECT_EQ(layer.zeros, (Bytes{8, 0, 15, 16}));
}

TEST(TorchaoIntx, FloatZeroPointsThatAreZeroAreNone) {
  IntxFile intx;
  intx.zero_type = "BF16";
  intx.zero = bytes_of(std::vector<std::uint16_t>{0, 0x8000, 0, 0});
  const Bytes file = intx.build();
  EXPECT_EQ(load(*open_bytes(file), 0).info.zero_kind, ZENWOQ_ZERO_NONE);
  intx.zero = bytes_of(std::vector<std::uint16_t>{0, 1, 0, 0});
  EXPECT_EQ(intx.reason(), "bf16 zero points, only int8 ones are read");
}

TEST(TorchaoIntx, ScalesKeepTheirType) {
  IntxFile intx;
  intx.scale_type = "F32";
  intx.scale = bytes_of(std::vector<float>{1, 2, 3, 4});
  const Bytes f32_file = intx.build();
  EXPECT_EQ(load(*open_bytes(f32_file), 0).scales, intx.scale);
  EXPECT_EQ(open_bytes(f32_file)->layers()[0]->desc.scale_type, ZENWOQ_F32);
  intx.scale_type = "F16";
  intx.scale = Bytes(8, 1);
  const Bytes f16_file = intx.build();
  EXPECT_EQ(open_bytes(f16_file)->layers()[0]->desc.scale_type, ZENWOQ_F16);
}

TEST(TorchaoIntx, OneGroupARowIsPerChannelEvenWithAnOddK) {
  IntxFile intx;
  intx.entry = intx_entry(3);
  intx.qdata_shape = {2, 3};
  intx.qdata = {1, 2, 3, 4, 5, 0xFF};
  intx.scale_shape = intx.zero_shape = {2, 1};
  intx.scale = Bytes(4);
  intx.zero = Bytes(2);
  const Bytes file = intx.build();
  const tools::Layer layer = load(*open_bytes(file), 0);
  EXPECT_EQ(layer.info.group_size, 0u);
  EXPECT_EQ(layer.codes, (Bytes{0x21, 0x03, 0x54, 0x0F}));
}

TEST(TorchaoIntx, BiasBelongsToTheLayer) {
  const Bytes bias = {1, 2, 3, 4};
  const Bytes file = IntxFile().builder().tensor("m.q.bias", "F16", {2}, bias).build();
  const auto checkpoint = open_bytes(file);
  EXPECT_TRUE(checkpoint->left_alone().empty());
  const tools::Layer layer = load(*checkpoint, 0);
  EXPECT_TRUE(layer.info.has_bias);
  EXPECT_EQ(layer.info.bias_type, ZENWOQ_F16);
  EXPECT_EQ(layer.bias, bias);
}

TEST(TorchaoIntx, WrongBiasIsNotLost) {
  const Bytes wide = IntxFile().builder().tensor("m.q.bias", "F64", {2}, Bytes(16)).build();
  EXPECT_EQ(reason_for(*open_bytes(wide), "m.q.weight"), "its bias is f64");
  EXPECT_EQ(reason_for(*open_bytes(wide), "m.q.bias"), "1-D f64");
  const Bytes longer = IntxFile().builder().tensor("m.q.bias", "F32", {3}, Bytes(12)).build();
  EXPECT_CONTAINS(open_error(longer), "test: weight m.q.weight: bias has shape [3], it should be [2]");
}

TEST(TorchaoIntx, DialectOf014IsRead) {
  const json plain = {{"_type", "Tensor"}};
  SafetensorsBuilder builder = IntxFile().builder("m.q.weight:");
  builder.tensor("m.q.bias:_data", "BF16", {2}, Bytes(4)).metadata("m.q.bias", plain);
  builder.tensor("norm.weight:_data", "BF16", {2}, Bytes(4)).metadata("norm.weight", plain);
  const Bytes file = builder.build();
  const auto checkpoint = open_bytes(file);
  ASSERT_EQ(checkpoint->layers().size(), 1u);
  EXPECT_EQ(checkpoint->layers()[0]->name, "m.q");
  EXPECT_TRUE(checkpoint->layers()[0]->has_bias());
  ASSERT_EQ(checkpoint->left_alone().size(), 1u);
  EXPECT_EQ(reason_for(*checkpoint, "norm.weight:_data"), "1-D bf16");
}

TEST(TorchaoIntx, OtherKindsAreLeftAloneByName) {
  const auto reason = [](const char* pointer, const json& value) {
    IntxFile intx;
    intx.entry[json::json_pointer(pointer)] = value;
    return intx.reason();
  };
  EXPECT_EQ(reason("/_type", "Int4TilePackedTo4dTensor"), "torchao Int4TilePackedTo4dTensor, not read");
  EXPECT_EQ(reason("/_type", "Bad\nType"), R"(torchao Bad\x0aType, not read)");
  EXPECT_EQ(reason("/_data/target_dtype/_data", "int8"), "int8 values, not int4");
  EXPECT_EQ(reason("/_data/activation_quantization", "int8_asym_per_token"),
            "activations are quantized too (int8_asym_per_token)");
  EXPECT_EQ(reason("/_data/block_size", {2, 8}), "block_size [2, 8], only [1, g] is read");
  EXPECT_EQ(reason("/_data/block_size", {1, 1, 8}), "block_size [1, 1, 8], only [1, g] is read");
  EXPECT_EQ(reason("/_data/block_size", {1, 4}), "groups of 4, not a multiple of 8");
  IntxFile convolution;
  convolution.qdata_shape = {2, 4, 2, 2};
  EXPECT_EQ(convolution.reason(), "4-D, not the weight of a linear");
  IntxFile doubles;
  doubles.scale_type = "F64";
  doubles.scale = Bytes(32);
  EXPECT_EQ(doubles.reason(), "f64 scales");
}

TEST(TorchaoIntx, WeightsWithoutMetadataAreLeftAlone) {
  SafetensorsBuilder builder;
  builder.tensor("a._weight_qdata", "I8", {1, 8}, Bytes(8)).tensor("a._weight_scale", "F32", {1, 1}, Bytes(4));
  builder.tensor("b.weight:qdata", "I8", {1, 8}, Bytes(8));
  const Bytes file = builder.build();
  const auto checkpoint = open_bytes(file);
  EXPECT_EQ(checkpoint->left_alone().size(), 2u);
  EXPECT_EQ(reason_for(*checkpoint, "a.weight"), "no torchao metadata says what it is");
  EXPECT_EQ(reason_for(*checkpoint, "b.weight"), "no torchao metadata says what it is");
}

TEST(TorchaoIntx, MetadataOfOtherFilesIsNoError) {
  const Bytes file = IntxFile().builder().metadata("elsewhere.weight", intx_entry(8)).build();
  EXPECT_EQ(open_bytes(file)->layers().size(), 1u);
}

TEST(TorchaoIntx, WrongMetadataIsRefused) {
  const auto error = [](const char* pointer, const json& value) {
    IntxFile intx;
    intx.entry[json::json_pointer(pointer)] = value;
    return open_error(intx.build());
  };
  EXPECT_CONTAINS(error("/_type", 1), "test: weight m.q.weight: _type is no string");
  EXPECT_CONTAINS(error("/_data", 1), "what should hold target_dtype is no JSON object");
  EXPECT_CONTAINS(error("/_data", json::object()), "target_dtype is missing");
  EXPECT_CONTAINS(error("/_data/target_dtype", "int4"), "what should hold _data is no JSON object");
  EXPECT_CONTAINS(error("/_data/block_size", 8), "block_size is no array");
  EXPECT_CONTAINS(error("/_data/block_size", {1, 0}), "block_size holds something else than sizes");
  EXPECT_CONTAINS(error("/_data/block_size", {1, -8}), "block_size holds something else than sizes");
  EXPECT_CONTAINS(error("/_data/activation_quantization", 8), "activation_quantization is neither null nor a name");
  IntxFile intx;
  intx.entry = "no JSON";
  EXPECT_CONTAINS(open_error(intx.build()), "test: weight m.q.weight: metadata: bad JSON");
}

TEST(TorchaoIntx, ContradictionsAreRefused) {
  IntxFile k_and_group;
  k_and_group.entry = intx_entry(24);
  EXPECT_CONTAINS(open_error(k_and_group.build()), "rows of 16 values do not divide into groups of 24");
  IntxFile scales;
  scales.scale_shape = {4, 1};
  EXPECT_CONTAINS(open_error(scales.build()), "scale has shape [4, 1], it should be [2, 2]");
  IntxFile zeros;
  zeros.zero_shape = {2, 1, 2};
  EXPECT_CONTAINS(open_error(zeros.build()), "zero_point has shape [2, 1, 2], it should be [2, 2]");
  IntxFile empty;
  empty.qdata_shape = {0, 16};
  empty.qdata.clear();
  EXPECT_EQ(empty.reason(), "shape [0, 16], no values");
  const Bytes lost_bias = IntxFile().builder().metadata("m.q.bias", json{{"_type", "Tensor"}}).build();
  EXPECT_CONTAINS(open_error(lost_bias), "weight m.q.weight: its bias is named by the metadata, but missing");
  const Bytes unsigned_codes = SafetensorsBuilder()
                                   .tensor("m.q._weight_qdata", "U8", {1, 8}, Bytes(8))
                                   .tensor("m.q._weight_scale", "F32", {1, 1}, Bytes(4))
                                   .tensor("m.q._weight_zero_point", "I8", {1, 1}, Bytes(1))
                                   .metadata("m.q.weight", intx_entry(8))
                                   .build();
  EXPECT_CONTAINS(open_error(unsigned_codes), "qdata has type U8, it should be I8");
  const Bytes parts = SafetensorsBuilder()
                          .tensor("m.q._weight_qdata", "I8", {1, 8}, Bytes(8))
                          .metadata("m.q.weight", intx_entry(8))
                          .build();
  EXPECT_CONTAINS(open_error(parts), "its scale is missing");
}

TEST(TorchaoIntx, ValuesOutOfRangeAreRefusedAtLoad) {
  IntxFile intx;
  intx.qdata[16 + 3] = 9;
  EXPECT_CONTAINS(load_error(intx.build()), "weight m.q.weight: code 9 at row 1, column 3: must be in -8..7");
  intx.qdata[16 + 3] = 0xF7;
  EXPECT_CONTAINS(load_error(intx.build()), "code -9 at row 1, column 3");
  intx.qdata[16 + 3] = 0;
  intx.zero = {0, 0, 0, 9};
  EXPECT_CONTAINS(load_error(intx.build()), "row 1, group 1 of zero_point holds 9, zero points are -8 to 8");
  intx.zero = {0, 0, 0xF7, 0};
  EXPECT_CONTAINS(load_error(intx.build()), "row 1, group 0 of zero_point holds -9");
}

TEST(TorchaoIntx, ShardsMustAgree) {
  const IntxFile intx;
  FileMap files;
  files["one"] = SafetensorsBuilder()
                     .tensor("m.q._weight_qdata", "I8", intx.qdata_shape, intx.qdata)
                     .metadata("m.q.weight", intx.entry)
                     .build();
  SafetensorsBuilder two;
  two.tensor("m.q._weight_scale", "BF16", intx.scale_shape, intx.scale);
  two.tensor("m.q._weight_zero_point", "I8", intx.zero_shape, intx.zero);
  const std::string index = R"({"weight_map":{"m.q._weight_qdata":"one","m.q._weight_scale":"two",)"
                            R"("m.q._weight_zero_point":"two"}})";
  files["i.index.json"] = Bytes(index.begin(), index.end());
  const auto open = [&] { return open_files(files, "i.index.json"); };

  files["two"] = two.build();
  EXPECT_EQ(load(*open(), 0).codes.size(), 16u);
  files["two"] = two.metadata("m.q.weight", intx_entry(16)).build();
  EXPECT_CONTAINS(error_of(open), "i.index.json: weight m.q.weight: 2 shards have different metadata for it");
}

}  // namespace
}  // namespace zenwoq::formats::testing
