// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// Import of compressed-tensors: values, group and channel and tensor scales, what is left alone, what is refused.
#include "tests/support/quantized.h"

namespace zenwoq::formats::testing {
namespace {

using nlohmann::json;

const json kConfig = {{"quant_method", "compressed-tensors"},
                      {"format", "pack-quantized"},
                      {"config_groups",
                       {{"group_0",
                         {{"weights", {{"num_bits", 4}, {"type", "int"}, {"group_size", 32}}},
                          {"input_activations", nullptr},
                          {"targets", {"Linear"}}}}}}};

// The tensors of a weight, for tests to change before they are built.
struct PackedFile {
  Quantized q;
  bool symmetric;
  Bytes packed, scale, zero_point;
  Shape packed_shape, scale_shape;
  std::string packed_type = "I32", scale_type = "F16", zero_type = "I32";
  std::vector<std::int64_t> shape;
  Shape zero_shape;

  PackedFile(std::size_t n, std::size_t k, std::size_t group, bool is_symmetric)
      : q(n, k, group, is_symmetric), symmetric(is_symmetric) {
    const std::size_t word_count = (k + 7) / 8;
    packed = words(n, word_count, [&](std::size_t r, std::size_t c, std::size_t i) { return q.code(r, 8 * c + i); });
    packed_shape = {n, word_count};
    scale = bytes_of(q.scales);
    scale_shape = {n, q.groups()};
    zero_shape = {(n + 7) / 8, q.groups()};
    zero_point = words(zero_shape[0], q.groups(),
                       [&](std::size_t r, std::size_t g, std::size_t i) { return q.zero(8 * r + i, g); });
    shape = {static_cast<std::int64_t>(n), static_cast<std::int64_t>(k)};
  }
  SafetensorsBuilder builder() const {
    SafetensorsBuilder tensors;
    tensors.tensor("m.q.weight_packed", packed_type, packed_shape, packed);
    tensors.tensor("m.q.weight_scale", scale_type, scale_shape, scale);
    tensors.tensor("m.q.weight_shape", "I64", {shape.size()}, bytes_of(shape));
    if (!symmetric) tensors.tensor("m.q.weight_zero_point", zero_type, zero_shape, zero_point);
    return tensors;
  }
  std::string error() const { return refusal(builder(), kConfig); }
};

TEST(CompressedTensors, GoldenWord) {
  PackedFile file(1, 8, 8, true);
  file.packed = bytes_of(std::vector<std::uint32_t>{0x76543210});  // -8 to -1
  const FileMap files = model_files(file.builder(), kConfig);
  const tools::Layer layer = load(*open_files(files, "model.safetensors"), 0);
  for (std::size_t k = 0; k < 8; ++k) {
    EXPECT_EQ(layer.info.table[code_at(layer, 0, k)], static_cast<float>(k) - 8.0f);
  }
}

TEST(CompressedTensors, WeightsOfEveryGroupingBecomeLayers) {
  for (const bool symmetric : {true, false}) {
    for (const auto& [n, k, group] :
         {std::tuple(24, 64, 32), std::tuple(7, 96, 32), std::tuple(16, 40, 40), std::tuple(9, 77, 77)}) {
      const PackedFile file(n, k, group, symmetric);
      const FileMap files =
          model_files(file.builder().tensor("m.q.bias", "BF16", {file.q.n}, Bytes(2 * n, 3)), kConfig);
      const auto checkpoint = open_files(files, "model.safetensors");
      ASSERT_EQ(checkpoint->layers().size(), 1u);
      EXPECT_TRUE(checkpoint->left_alone().empty());
      EXPECT_EQ(checkpoint->layers()[0]->format, "compressed-tensors");
      const tools::Layer layer = load(*checkpoint, 0);
      EXPECT_EQ(layer.info.name, "m.q");
      EXPECT_EQ(layer.info.zero_kind, symmetric ? ZENWOQ_ZERO_NONE : ZENWOQ_ZERO_INTEGER);
      EXPECT_EQ(layer.bias, Bytes(2 * n, 3));
      expect_equal(layer, file.q);
    }
  }
}

TEST(CompressedTensors, CodesStayInTheFile) {
  const PackedFile file(8, 64, 32, true);
  const FileMap files = model_files(file.builder(), kConfig);
  const auto checkpoint = open_files(files, "model.safetensors");
  const Prepared prepared = checkpoint->layers()[0]->prepare(0);
  const Bytes& bytes = files.at("model.safetensors");
  for (const void* pointer : {prepared.source.codes, prepared.source.scales}) {
    EXPECT_GE(pointer, bytes.data());
    EXPECT_LT(pointer, bytes.data() + bytes.size());
  }
}

TEST(CompressedTensors, OneScaleOfATensorIsEveryRows) {
  PackedFile file(5, 16, 16, true);
  file.scale_shape = {1};
  file.scale.resize(2);
  file.q.scales.assign(5, file.q.scales[0]);
  const FileMap files = model_files(file.builder(), kConfig);
  expect_equal(load(*open_files(files, "model.safetensors"), 0), file.q);
}

TEST(CompressedTensors, GroupsOfColumnsAreInOrderOrPermuted) {
  const PackedFile file(8, 64, 32, true);
  const auto reason = [&](const std::vector<std::int32_t>& g_idx) {
    return refusal(file.builder().tensor("m.q.weight_g_idx", "I32", {g_idx.size()}, bytes_of(g_idx)), kConfig);
  };
  std::vector<std::int32_t> g_idx(64, -1);
  EXPECT_EQ(reason(g_idx), "");
  for (std::int32_t k = 0; k < 64; ++k) g_idx[static_cast<std::size_t>(k)] = k / 32;
  EXPECT_EQ(reason(g_idx), "");
  std::swap(g_idx.front(), g_idx.back());
  EXPECT_EQ(reason(g_idx), "");  // act-order
  g_idx = std::vector<std::int32_t>(64, -1);
  g_idx[5] = 0;
  EXPECT_EQ(reason(g_idx), "g_idx[0] is -1: must be in 0..1, k = 64 has 2 groups of 32");
  EXPECT_CONTAINS(reason(std::vector<std::int32_t>(63, -1)), "weight_g_idx has shape [63], it should be [64]");
}

TEST(CompressedTensors, OtherKindsAreLeftAlone) {
  PackedFile wide(8, 64, 32, true);
  wide.packed_shape = {8, 16};
  wide.packed.resize(8 * 16 * 4);
  EXPECT_EQ(wide.error(), "4 values in a word, only 8 of 4 bits are read");
  PackedFile fp4(8, 64, 32, true);
  fp4.packed_type = "U8";
  fp4.packed_shape = {8, 32};
  EXPECT_EQ(fp4.error(), "fp4 with f16 scales");
  PackedFile bytes(8, 64, 32, false);
  bytes.zero_type = "I8";
  bytes.zero_shape = {8, 2};
  bytes.zero_point.resize(16);
  EXPECT_EQ(bytes.error(), "i8 zero points, only i32 ones are read");
  PackedFile small_groups(8, 64, 4, true);
  EXPECT_EQ(small_groups.error(), "groups of 4, not a multiple of 8");
  const SafetensorsBuilder good = PackedFile(8, 64, 32, true).builder();
  json config = kConfig;
  config["format"] = "marlin-24";
  EXPECT_EQ(refusal(good, config), "compressed-tensors marlin-24, not read");
  config = kConfig;
  config["config_groups"]["group_0"]["input_activations"] = {{"num_bits", 8}};
  EXPECT_EQ(refusal(good, config), "activations are quantized too (input_activations)");
  EXPECT_EQ(refusal(good, nullptr), "");
}

TEST(CompressedTensors, ContradictionsAreRefused) {
  const auto changed = [](const std::function<void(PackedFile&)>& change) {
    PackedFile file(8, 64, 32, false);
    change(file);
    return file.error();
  };
  EXPECT_CONTAINS(changed([](PackedFile& f) { f.shape = {8, 63, 1}; }), "weight_shape has shape [3], it should be [2]");
  EXPECT_CONTAINS(changed([](PackedFile& f) { f.shape = {8, -64}; }), "weight_shape says [-64, ...]");
  EXPECT_CONTAINS(changed([](PackedFile& f) {
                    f.shape = {9, 64};
                  }),
                  "weight_packed has shape [8, 8], it should be [9, 8]");
  EXPECT_CONTAINS(changed([](PackedFile& f) { f.shape = {8, 75}; }), "it should be [8, 10]");
  EXPECT_CONTAINS(changed([](PackedFile& f) {
                    f.shape = {8, INT64_MAX};
                  }),
                  "weight m.q.weight: weight_packed has shape");
  EXPECT_CONTAINS(changed([](PackedFile& f) {
                    f.scale_shape = {2, 8};
                  }),
                  "weight_scale has shape [2, 8], it should be");
  EXPECT_CONTAINS(changed([](PackedFile& f) { f.zero_shape = {2, 1}; }), "weight_zero_point has shape [2, 1]");
  const SafetensorsBuilder alone = SafetensorsBuilder().tensor("m.q.weight_packed", "I32", {1, 1}, Bytes(4));
  EXPECT_CONTAINS(refusal(alone, kConfig), "its weight_shape is missing");
  json asymmetric = kConfig;
  asymmetric["config_groups"]["group_0"]["weights"]["symmetric"] = false;
  EXPECT_CONTAINS(refusal(PackedFile(8, 64, 32, true).builder(), asymmetric), "its weight_zero_point is missing");
  EXPECT_EQ(refusal(PackedFile(8, 64, 32, false).builder(), asymmetric), "");
}

TEST(CompressedTensors, AGlobalScaleIsOneNumberThatDivides) {
  json config = kConfig;
  config["format"] = "nvfp4-pack-quantized";
  config["config_groups"]["group_0"]["weights"]["type"] = "float";
  config["config_groups"]["group_0"]["weights"]["group_size"] = 16;
  const auto error = [&](const std::string& dtype, const Shape& shape, const Bytes& scale) {
    const SafetensorsBuilder file = SafetensorsBuilder()
                                        .tensor("m.q.weight_packed", "U8", {1, 8}, Bytes(8))
                                        .tensor("m.q.weight_scale", "F8_E4M3", {1, 1}, Bytes(1))
                                        .tensor("m.q.weight_global_scale", dtype, shape, scale);
    return refusal(file, config);
  };
  EXPECT_EQ(error("F32", {1}, bytes_of<float>({2})), "");
  EXPECT_CONTAINS(error("F32", {1}, bytes_of<float>({0})), "weight m.q.weight: tensor_scale is 0");
  EXPECT_CONTAINS(error("F32", {2}, bytes_of<float>({1, 1})),
                  "its tensor scale is F32 of shape [2], it should be one F32");
  EXPECT_CONTAINS(error("I32", {1}, bytes_of<float>({2})),
                  "its tensor scale is I32 of shape [1], it should be one F32");
}

TEST(CompressedTensors, WrongConfigurationsAreRefused) {
  const SafetensorsBuilder good = PackedFile(8, 64, 32, true).builder();
  EXPECT_CONTAINS(refusal(good, 7), "config.json: quantization_config is no JSON object");
  EXPECT_CONTAINS(refusal(good, {{"format", 7}}), "config.json: quantization_config: format is no string");
  EXPECT_CONTAINS(refusal(good, {{"config_groups", {{"a", 7}}}}), "config_groups: a is no JSON object");
  FileMap files = model_files(good, nullptr);
  files["config.json"] = Bytes(1u << 21, ' ');
  EXPECT_CONTAINS(error_of([&] { open_files(files, "model.safetensors"); }), "has 2097152 bytes, the limit is 1048576");
  files["config.json"] = Bytes(3, '[');
  EXPECT_CONTAINS(error_of([&] { open_files(files, "model.safetensors"); }), "config.json: bad JSON");
}

TEST(CompressedTensors, DamageIsSurvived) {
  expect_damage_is_survived(PackedFile(16, 64, 32, false).builder(), kConfig);
}

}  // namespace
}  // namespace zenwoq::formats::testing
