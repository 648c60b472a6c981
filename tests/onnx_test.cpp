// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// ONNX: what becomes a layer and how it is called, what is left alone and why, and files that are wrong.
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "tests/support/onnx_builder.h"

namespace zenwoq::formats::testing {
namespace {

namespace fs = std::filesystem;

using Lines = std::vector<std::string>;

constexpr const char* microsoft = "com.microsoft";

std::unique_ptr<Checkpoint> open_onnx(const FileMap& files) { return open_files(files, "m.onnx"); }

// Of a model that must outlive the checkpoint.
FileMap files_of(const OnnxBuilder& model) { return {{"m.onnx", model.build()}}; }

std::string error_of_files(const FileMap& files) {
  return error_of([&] {
    const auto checkpoint = open_onnx(files);
    for (std::size_t i = 0; i < checkpoint->layers().size(); ++i) load(*checkpoint, i);
  });
}

std::string error_of_model(const OnnxBuilder& model) { return error_of_files(files_of(model)); }

Lines layer_names(const Checkpoint& checkpoint) {
  Lines names;
  for (const auto& layer : checkpoint.layers()) names.push_back(layer->name);
  std::sort(names.begin(), names.end());
  return names;
}

// Row-major [N, K] of the only layer.
std::vector<float> values_of(const FileMap& files) {
  const auto checkpoint = open_onnx(files);
  const LayerSource& source = *checkpoint->layers().at(0);
  const Weight weight = pack(packing_context(), source, source.prepare(0));
  std::vector<float> values(source.desc.n * source.desc.k);
  EXPECT_EQ(zenwoq_weight_dequantize(weight.get(), 0, source.desc.n, values.data(), values.size() * 4), ZENWOQ_OK);
  return values;
}

// ---- MatMulNBits ----

OnnxNodeBuilder matmul(const Lines& inputs, std::int64_t n, std::int64_t k, std::int64_t block,
                       const std::string& name = "") {
  OnnxNodeBuilder node("MatMulNBits", inputs, {"y"}, name, microsoft);
  node.integer("N", n).integer("K", k).integer("block_size", block);
  return node;
}

// Codes 0 to 15 in both rows of [2, 1, 8], scales 1 and 2.
OnnxBuilder two_rows() {
  OnnxBuilder model;
  model.tensor("w_Q4", {2, 1, 8}, onnx_u8,
               {0x10, 0x32, 0x54, 0x76, 0x98, 0xBA, 0xDC, 0xFE, 0x10, 0x32, 0x54, 0x76, 0x98, 0xBA, 0xDC, 0xFE});
  model.tensor("w_scales", {2}, onnx_f32, bytes_of<float>({1, 2}));
  return model;
}

TEST(OnnxMatMulNBits, CodesScalesAndBias) {
  OnnxBuilder model = two_rows();
  model.node(matmul({"x", "w_Q4", "w_scales", "", "", "w_bias"}, 2, 16, 16));
  model.tensor("w_bias", {2}, onnx_f32, bytes_of<float>({-3, 4}));
  const FileMap files = files_of(model);
  const auto checkpoint = open_onnx(files);
  ASSERT_EQ(layer_names(*checkpoint), Lines{"w"});
  const tools::Layer layer = load(*checkpoint, 0);
  EXPECT_EQ(layer.info.format, "onnx matmulnbits");
  EXPECT_EQ(layer.bias, bytes_of<float>({-3, 4}));
  EXPECT_EQ(checkpoint->layers()[0]->bytes, 24u);
  EXPECT_TRUE(checkpoint->left_alone().empty());
  const std::vector<float> values = values_of(files);
  for (int k = 0; k < 16; ++k) {
    EXPECT_EQ(values[static_cast<std::size_t>(k)], static_cast<float>(k - 8));
    EXPECT_EQ(values[static_cast<std::size_t>(16 + k)], static_cast<float>(2 * (k - 8)));
  }
}

// Packed zero points of columns in another order, by the operator's definition; the order is that of padded columns.
TEST(OnnxMatMulNBits, ZeroPointsBesideAnOrder) {
  std::vector<std::int32_t> g_idx(32);
  for (std::size_t k = 0; k < 32; ++k) g_idx[k] = k % 2 == 0 ? 1 : 0;
  OnnxBuilder model;
  model.tensor("w_Q4", {1, 2, 8}, onnx_u8, Bytes(16, 0x77)).tensor("s", {1, 2}, onnx_f32, bytes_of<float>({1, 10}));
  model.tensor("z", {1}, onnx_u8, {0x52}).tensor("g", {32}, onnx_i32, bytes_of(g_idx));
  model.node(matmul({"x", "w_Q4", "s", "z", "g"}, 1, 32, 16));
  const std::vector<float> values = values_of(files_of(model));
  for (std::size_t k = 0; k < 32; ++k) EXPECT_EQ(values[k], k % 2 == 0 ? 10.0f * (7 - 5) : 1.0f * (7 - 2)) << k;
}

TEST(OnnxMatMulNBits, PaddedOrdersAreCut) {
  OnnxBuilder model;
  model.tensor("w_Q4", {1, 2, 8}, onnx_u8, Bytes(16, 0x77)).tensor("s", {1, 2}, onnx_f32, bytes_of<float>({1, 10}));
  std::vector<std::int32_t> g_idx(32, 0);
  for (std::size_t k = 16; k < 32; ++k) g_idx[k] = 1;
  model.tensor("g", {32}, onnx_i32, bytes_of(g_idx)).node(matmul({"x", "w_Q4", "s", "", "g"}, 1, 24, 16));
  const std::vector<float> values = values_of(files_of(model));
  ASSERT_EQ(values.size(), 24u);
  EXPECT_EQ(values[15], -1.0f);
  EXPECT_EQ(values[16], -10.0f);
}

TEST(OnnxMatMulNBits, WhatIsNotReadIsLeftAlone) {
  const auto reason = [](const OnnxNodeBuilder& node, const Message& more = onnx_tensor("_", {1}, onnx_u8, {0})) {
    const FileMap files = files_of(two_rows().node(node).tensor(more));
    const auto checkpoint = open_onnx(files);
    EXPECT_TRUE(checkpoint->layers().empty());
    return reason_for(*checkpoint, "w_Q4");
  };
  const Lines inputs = {"x", "w_Q4", "w_scales"};
  EXPECT_EQ(reason(matmul(inputs, 2, 16, 16).integer("bits", 8)), "MatMulNBits of 8 bits, only 4 are read");
  EXPECT_EQ(reason(matmul(inputs, 2, 16, 24)), "MatMulNBits of block_size 24, not a power of two from 16 on");
  EXPECT_EQ(reason(matmul(inputs, 2, 16, 8)), "MatMulNBits of block_size 8, not a power of two from 16 on");
  EXPECT_EQ(reason(matmul(inputs, 2, 16, INT64_MIN)),
            "MatMulNBits of block_size -9223372036854775808, not a power of two from 16 on");
  EXPECT_EQ(reason(matmul(inputs, 2, 16, 16).integer("weight_prepacked", 1)),
            "MatMulNBits whose weight is packed for one machine");
  EXPECT_EQ(reason(matmul({"x", "w_Q4"}, 2, 16, 16)), "it has no scales");
  EXPECT_EQ(reason(matmul({"x", "w_Q4", "made"}, 2, 16, 16)), "its scales is no initializer");
  EXPECT_EQ(reason(matmul({"x", "w_Q4", "w_scales", "made"}, 2, 16, 16)), "its zero_points is no initializer");
  EXPECT_EQ(reason(matmul({"x", "w_Q4", "w_scales", "", "", "made"}, 2, 16, 16)), "its bias is no initializer");
  EXPECT_EQ(reason(matmul({"x", "w_Q4", "t"}, 2, 16, 16), onnx_tensor("t", {2}, onnx_u8, Bytes(2))),
            "its scales is u8");
  EXPECT_EQ(reason(matmul({"x", "w_Q4", "w_scales", "t"}, 2, 16, 16), onnx_tensor("t", {2}, onnx_i32, Bytes(8))),
            "i32 zero_points");
  EXPECT_EQ(reason(matmul({"x", "w_Q4", "w_scales", "", "g"}, 2, 16, 16),
                   onnx_shape("g", {16}, onnx_i32).bytes(5, Bytes(16))),
            "its g_idx has values in a form that is not read");
  const FileMap files = files_of(OnnxBuilder().node(matmul({"x", "made"}, 2, 16, 16, "the\nnode")));
  EXPECT_EQ(reason_for(*open_onnx(files), R"(the\x0anode)"), "its B is no initializer");
}

TEST(OnnxMatMulNBits, ContradictionsAreErrors) {
  const auto error = [](const OnnxNodeBuilder& node, const Message& more = onnx_tensor("_", {1}, onnx_u8, {0})) {
    return error_of_model(two_rows().node(node).tensor(more));
  };
  const Lines inputs = {"x", "w_Q4", "w_scales"};
  EXPECT_CONTAINS(error(matmul(inputs, 3, 16, 16)),
                  "m.onnx: weight w_Q4: B has shape [2, 1, 8], it should be [3, 1, 8]");
  EXPECT_CONTAINS(error(matmul(inputs, 2, 17, 16)), "B has shape [2, 1, 8], it should be [2, 2, 8]");
  EXPECT_CONTAINS(error(matmul(inputs, 2, 0, 16)), "MatMulNBits of K = 0, N = 2: both must be at least 1");
  EXPECT_CONTAINS(error(matmul(inputs, INT64_MAX, INT64_MAX, 1ll << 62)), "B has shape [2, 1, 8], it should be");
  EXPECT_CONTAINS(error(matmul({"x", "w_Q4", "t"}, 2, 16, 16), onnx_tensor("t", {3}, onnx_f32, Bytes(12))),
                  "scales has shape [3], it should be [2, 1]");
  EXPECT_CONTAINS(error(matmul({"x", "w_Q4", "w_scales", "t"}, 2, 16, 16), onnx_tensor("t", {2, 2}, onnx_u8, Bytes(4))),
                  "zero_points has shape [2, 2], it should be [2, 1]");
  EXPECT_CONTAINS(
      error(matmul({"x", "w_Q4", "w_scales", "", "t"}, 2, 16, 16), onnx_tensor("t", {15}, onnx_i32, Bytes(60))),
      "g_idx has shape [15], it should be [16]");
  EXPECT_CONTAINS(
      error(matmul({"x", "w_Q4", "w_scales", "", "", "t"}, 2, 16, 16), onnx_tensor("t", {1}, onnx_f32, Bytes(4))),
      "bias has shape [1], it should be [2]");
}

TEST(OnnxMatMulNBits, SharedWeightsAreOneLayer) {
  OnnxBuilder model = two_rows();
  model.node(matmul({"x", "w_Q4", "w_scales"}, 2, 16, 16, "first"));
  model.node(matmul({"z", "w_Q4", "w_scales"}, 2, 16, 16, "second"));
  model.tensor("v_Q4", {2, 1, 8}, onnx_u8, Bytes(16)).node(matmul({"x", "v_Q4", "w_scales"}, 2, 16, 16));
  const FileMap files = files_of(model);
  EXPECT_EQ(layer_names(*open_onnx(files)), (Lines{"v", "w"}));
  EXPECT_TRUE(open_onnx(files)->left_alone().empty());
}

TEST(OnnxMatMulNBits, LayersAreCalledAsTheirInitializers) {
  const auto names = [](const Lines& initializers, const Lines& nodes) {
    OnnxBuilder model;
    model.tensor("s", {1}, onnx_f32, bytes_of<float>({1}));
    for (std::size_t i = 0; i < initializers.size(); ++i) {
      model.tensor(initializers[i], {1, 1, 8}, onnx_u8, Bytes(8));
      model.node(matmul({"x", initializers[i], "s"}, 1, 16, 16, nodes[i]));
    }
    const FileMap files = files_of(model);
    return layer_names(*open_onnx(files));
  };
  for (const char* suffix : {"_Q4", ".weight_Q4", ".MatMul.weight_Q4", ".MatMul.weight_Q4G32", ".MatMulNBits.qweight",
                             ".qweight", ".weight_DQ_Q4", ".weight_quantized", ".weight", ""}) {
    EXPECT_EQ(names({"model.layers.0.q_proj" + std::string(suffix)}, {"/n"}), Lines{"model.layers.0.q_proj"}) << suffix;
  }
  EXPECT_EQ(names({"onnx::MatMul_17_Q4"}, {"/q_proj/MatMul_Q4"}), Lines{"/q_proj/MatMul_Q4"});
  EXPECT_EQ(names({"17_Q4G32"}, {"/q"}), Lines{"/q"});
  EXPECT_EQ(names({"17_Q4"}, {""}), Lines{"17_Q4"});
  EXPECT_EQ(names({"17_Q4"}, {"a\nb"}), Lines{"17_Q4"});
  EXPECT_EQ(names({"a.weight_Q4", "a_Q4"}, {"/one", "/two"}), (Lines{"/one", "/two"}));
  EXPECT_EQ(names({"a.weight_Q4", "a_Q4"}, {"/one", "/one"}), (Lines{"a.weight_Q4", "a_Q4"}));
  EXPECT_EQ(names({"_Q4"}, {"/n"}), Lines{"_Q4"});
}

// What a hostile file could repeat without end is made once.
TEST(OnnxMatMulNBits, OrdersAreSharedAndCodesAreNot) {
  OnnxBuilder model = two_rows();
  model.tensor("g", {16}, onnx_i32, bytes_of(std::vector<std::int32_t>(16))).tensor("s", {2}, onnx_f32, Bytes(8));
  model.tensor("v_Q4", {2, 1, 8}, onnx_u8, Bytes(16)).tensor("u_Q4", {2, 1, 16}, onnx_u8, Bytes(32));
  model.node(matmul({"x", "w_Q4", "w_scales", "", "g"}, 2, 16, 16));
  model.node(matmul({"x", "w_Q4", "s", "", "g"}, 2, 16, 16));
  model.node(matmul({"x", "v_Q4", "s", "", "g"}, 2, 16, 16)).node(matmul({"x", "u_Q4", "s", "", "g"}, 2, 16, 32));
  const FileMap files = files_of(model);
  const auto checkpoint = open_onnx(files);
  EXPECT_EQ(layer_names(*checkpoint), (Lines{"v", "w"}));
  EXPECT_EQ(reason_for(*checkpoint, "w_Q4"), "its codes are those of another weight too");
  EXPECT_EQ(reason_for(*checkpoint, "u_Q4"), "its g_idx is that of another K or block_size too");
}

// No two layers have one name, wherever their names come from.
TEST(OnnxMatMulNBits, NamesOfLayersAreDifferent) {
  const auto names = [](const std::vector<std::pair<std::string, std::string>>& layers) {
    OnnxBuilder model;
    model.tensor("s", {1}, onnx_f32, bytes_of<float>({1}));
    for (const auto& [initializer, node] : layers) {
      model.tensor(initializer, {1, 1, 8}, onnx_u8, Bytes(8)).node(matmul({"x", initializer, "s"}, 1, 16, 16, node));
    }
    const FileMap files = files_of(model);
    return layer_names(*open_onnx(files));
  };
  EXPECT_EQ(names({{"a_Q4", ""}, {"17", "a"}}), (Lines{"17", "a_Q4"}));
  EXPECT_EQ(names({{"a_Q4", "b"}, {"17", "a"}, {"18", "b"}}), (Lines{"17", "18", "a_Q4"}));
  EXPECT_EQ(names({{"17_Q4", "18_Q4"}, {"18_Q4", ""}}), (Lines{"17_Q4", "18_Q4"}));
  EXPECT_EQ(names({{"a", "a"}, {"b", "b"}}), (Lines{"a", "b"}));
}

// ---- DequantizeLinear ----

// A [2, 16] matrix of INT4 with a scale for each row, its result "d".
OnnxBuilder dequantized(const Shape& shape = {2, 16}, std::int64_t axis = 0, const Shape& scales = {2},
                        std::int64_t block = 0) {
  std::size_t values = 1, count = 1;
  for (const std::uint64_t dimension : shape) values *= dimension;
  for (const std::uint64_t dimension : scales) count *= dimension;
  OnnxBuilder model;
  model.tensor("w", shape, onnx_i4, Bytes((values + 1) / 2, 0xF7));
  model.tensor("w_scale", scales, onnx_f32, bytes_of(std::vector<float>(count, 1)));
  model.node(
      OnnxNodeBuilder("DequantizeLinear", {"w", "w_scale"}, {"d"}).integer("axis", axis).integer("block_size", block));
  return model;
}

std::string dequantize_reason(OnnxBuilder model, const std::vector<OnnxNodeBuilder>& users) {
  for (const OnnxNodeBuilder& user : users) model.node(user);
  const FileMap files = files_of(model);
  const auto checkpoint = open_onnx(files);
  EXPECT_EQ(checkpoint->layers().empty(), !reason_for(*checkpoint, "w").empty());
  return reason_for(*checkpoint, "w");
}

TEST(OnnxDequantizeLinear, WhatIsNotReadIsLeftAlone) {
  const OnnxNodeBuilder matmul("MatMul", {"x", "d"}, {"y"}), gemm = OnnxNodeBuilder("Gemm", {"x", "d"}, {"y"});
  const OnnxNodeBuilder gemm_b = OnnxNodeBuilder("Gemm", {"x", "d"}, {"y"}).integer("transB", 1);
  EXPECT_EQ(dequantize_reason(dequantized(), {gemm_b}), "");
  EXPECT_EQ(dequantize_reason(dequantized(), {}), "4-bit, but not the weight of a MatMul or Gemm");
  EXPECT_EQ(dequantize_reason(dequantized(), {OnnxNodeBuilder("Gather", {"d", "i"}, {"y"})}),
            "4-bit, but not the weight of a MatMul or Gemm");
  EXPECT_EQ(dequantize_reason(dequantized(), {OnnxNodeBuilder("MatMul", {"d", "x"}, {"y"})}),
            "is multiplied from the left");
  EXPECT_EQ(dequantize_reason(dequantized(), {gemm_b, OnnxNodeBuilder("Gemm", {"d", "x"}, {"y"})}),
            "is used by several nodes in different ways");
  EXPECT_EQ(dequantize_reason(dequantized(), {gemm_b, gemm}), "is used by several nodes in different ways");
  EXPECT_EQ(dequantize_reason(dequantized(), {gemm_b, gemm_b}), "");
  EXPECT_EQ(dequantize_reason(dequantized(), {matmul}), "a scale for each k");
  EXPECT_EQ(dequantize_reason(dequantized({2, 16}, 0, {1, 16}, 2), {gemm_b}), "blocks along n");
  EXPECT_EQ(dequantize_reason(dequantized({2, 16}, 2, {2}), {gemm_b}), "DequantizeLinear of axis 2, block_size 0");
  EXPECT_EQ(dequantize_reason(dequantized({2, 16}, 1, {2, 4}, 4), {gemm_b}), "groups of 4, not a multiple of 8");
  EXPECT_EQ(dequantize_reason(dequantized({2, 16}, 0, {2}), {OnnxNodeBuilder(gemm_b).number("alpha", 2)}),
            "is multiplied by a Gemm with factors");
  EXPECT_EQ(dequantize_reason(dequantized({1, 2, 16}, 0, {1}), {matmul}), "3-D, not the weight of a linear");
  EXPECT_EQ(dequantize_reason(dequantized({0, 16}, 1, {1}), {matmul}), "shape [0, 16], no values");
}

// One initializer is the codes of one weight: the first one.
TEST(OnnxDequantizeLinear, CodesOfDifferentWeightsAreThoseOfTheFirst) {
  OnnxBuilder model = dequantized();
  model.node(OnnxNodeBuilder("DequantizeLinear", {"w", "w_scale"}, {"same"}).integer("axis", 0).integer("bits", 4));
  model.node(OnnxNodeBuilder("Gemm", {"x", "d"}, {"y"}).integer("transB", 1));
  model.node(OnnxNodeBuilder("Gemm", {"x", "same"}, {"z"}).integer("transB", 1));
  FileMap files = files_of(model);
  auto checkpoint = open_onnx(files);
  EXPECT_EQ(layer_names(*checkpoint), Lines{"w"});
  EXPECT_TRUE(checkpoint->left_alone().empty());
  for (const std::int64_t block : {8, 16}) {
    model.node(OnnxNodeBuilder("DequantizeLinear", {"w", "w_scale"}, {"other"}).integer("block_size", block));
    model.node(OnnxNodeBuilder("MatMul", {"x", "other"}, {"u"}));
  }
  files = files_of(model);
  checkpoint = open_onnx(files);
  EXPECT_EQ(layer_names(*checkpoint), Lines{"w"});
  ASSERT_EQ(checkpoint->left_alone().size(), 1u);
  EXPECT_EQ(reason_for(*checkpoint, "w"), "its codes are those of another weight too");
}

// Nodes of two operators with the same inputs and no attributes.
TEST(OnnxDequantizeLinear, CodesOfAMatMulNBitsAreNoOthers) {
  OnnxBuilder model;
  model.tensor("w", {16}, onnx_i4, Bytes(8)).tensor("s", {}, onnx_f32, Bytes(4));
  model.node(OnnxNodeBuilder("MatMulNBits", {"x", "w", "s"}, {"y"}, "", microsoft));
  model.node(OnnxNodeBuilder("DequantizeLinear", {"w", "s"}, {"d"})).node(OnnxNodeBuilder("MatMul", {"x", "d"}, {"z"}));
  const FileMap files = files_of(model);
  const auto checkpoint = open_onnx(files);
  EXPECT_TRUE(checkpoint->layers().empty());
  ASSERT_EQ(checkpoint->left_alone().size(), 2u);
  EXPECT_EQ(checkpoint->left_alone()[0].reason, "MatMulNBits of block_size 0, not a power of two from 16 on");
  EXPECT_EQ(checkpoint->left_alone()[1].reason, "its codes are those of another weight too");
}

TEST(OnnxDequantizeLinear, TheBiasOfGemmIsTheLayers) {
  const auto with_bias = [](const Shape& shape, float beta) {
    OnnxBuilder model = dequantized();
    model.node(OnnxNodeBuilder("Gemm", {"x", "d", "c"}, {"y"}).integer("transB", 1).number("beta", beta));
    if (!shape.empty()) model.tensor("c", shape, onnx_f32, bytes_of(std::vector<float>(shape.back(), 5)));
    return files_of(model);
  };
  for (const Shape& shape : {Shape{2}, Shape{1, 2}}) {
    const FileMap files = with_bias(shape, 1);
    const auto checkpoint = open_onnx(files);
    ASSERT_EQ(checkpoint->layers().size(), 1u);
    EXPECT_EQ(load(*checkpoint, 0).bias, bytes_of<float>({5, 5}));
    EXPECT_TRUE(checkpoint->left_alone().empty());
  }
  const FileMap none = with_bias({}, 1), wrong = with_bias({1}, 1), factor = with_bias({2}, 0.5f);
  EXPECT_EQ(reason_for(*open_onnx(none), "w"), "its bias is no initializer");
  EXPECT_EQ(reason_for(*open_onnx(wrong), "w"), "its bias is f32 [1]");
  EXPECT_EQ(reason_for(*open_onnx(factor), "w"), "is multiplied by a Gemm with factors");
  EXPECT_EQ(reason_for(*open_onnx(wrong), "c"), "1-D f32");
}

TEST(OnnxDequantizeLinear, ContradictionsAreErrors) {
  const OnnxNodeBuilder gemm_b = OnnxNodeBuilder("Gemm", {"x", "d"}, {"y"}).integer("transB", 1);
  EXPECT_CONTAINS(error_of_model(dequantized({2, 16}, 0, {3}).node(gemm_b)),
                  "weight w: x_scale has shape [3], it should be [2]");
  EXPECT_CONTAINS(error_of_model(dequantized({2, 16}, 1, {2, 3}, 8).node(gemm_b)),
                  "x_scale has shape [2, 3], it should be [2, 2]");
  OnnxBuilder zeros;
  zeros.tensor("w", {2, 16}, onnx_i4, Bytes(16)).tensor("s", {2}, onnx_f32, Bytes(8));
  zeros.tensor("z", {2}, onnx_u4, Bytes(1));
  zeros.node(OnnxNodeBuilder("DequantizeLinear", {"w", "s", "z"}, {"d"}).integer("axis", 0)).node(gemm_b);
  EXPECT_CONTAINS(error_of_model(zeros), "x_zero_point has type U4, it should be I4");
}

// ---- other tensors ----

TEST(Onnx, OtherTensorsAreEntriesAsThoseOfSafetensors) {
  OnnxBuilder model;
  model.tensor("norm", {2}, onnx_f16, Bytes(4)).tensor("embed", {1, 2}, onnx_f32, Bytes(8));
  model.tensor("ids", {1}, onnx_i64, Bytes(8)).tensor(onnx_shape("names", {1}, onnx_string).text(6, "a"));
  model.tensor("four", {3}, onnx_u4, Bytes(2)).tensor(onnx_tensor("new", {7}, 99, Bytes(1)));
  model.tensor(onnx_shape("none", {0}, onnx_f32))
      .tensor(onnx_shape("listed", {2}, onnx_i64).integer(7, 1).integer(7, 2));
  model.tensor(onnx_shape("loose", {1}, onnx_f32).f32(4, 1));
  model.tensor(onnx_shape("crossed", {1}, onnx_f16).bytes(4, Bytes(4)));
  const FileMap files = files_of(model);
  const auto checkpoint = open_onnx(files);
  Lines dense;
  for (const LeftAlone& left : checkpoint->left_alone()) {
    if (left.dense()) dense.push_back(left.name + " " + left.tensor.type);
  }
  EXPECT_EQ(dense, (Lines{"embed F32", "none F32", "norm F16"}));
  EXPECT_EQ(reason_for(*checkpoint, "norm"), "1-D f16");
  EXPECT_EQ(reason_for(*checkpoint, "embed"), "2-D f32, not quantized");
  EXPECT_EQ(reason_for(*checkpoint, "ids"), "1-D i64");
  EXPECT_EQ(reason_for(*checkpoint, "names"), "unknown type string");
  EXPECT_EQ(reason_for(*checkpoint, "four"), "1-D u4");
  EXPECT_EQ(reason_for(*checkpoint, "new"), "unknown type 99");
  EXPECT_EQ(reason_for(*checkpoint, "listed"), "1-D i64, values in a form that is not read");
  EXPECT_EQ(reason_for(*checkpoint, "crossed"), "1-D f16, values in a form that is not read");
  EXPECT_EQ(reason_for(*checkpoint, "loose"), "1-D f32, values in a form that is not read");
}

// float_data is as raw data are; int32_data are narrowed.
TEST(Onnx, NumbersThatAreNotRaw) {
  OnnxBuilder model;
  model.tensor(onnx_shape("f32", {2}, onnx_f32).bytes(4, bytes_of<float>({1, 2})));
  model.tensor(onnx_shape("f16", {2}, onnx_f16).bytes(5, Message().varint(0x3C00).varint(0xC000).build()));
  const FileMap files = files_of(model);
  const auto checkpoint = open_onnx(files);
  ASSERT_EQ(checkpoint->left_alone().size(), 2u);
  std::vector<float> values(2);
  for (const LeftAlone& left : checkpoint->left_alone()) {
    ASSERT_TRUE(left.dense()) << left.reason;
    copy_values(left.tensor, ZENWOQ_F32, reinterpret_cast<std::uint8_t*>(values.data()));
    EXPECT_EQ(values, (left.name == "f32" ? std::vector<float>{1, 2} : std::vector<float>{1, -2}));
  }
  const auto error = [](const Message& tensor) { return error_of_model(OnnxBuilder().tensor(tensor)); };
  EXPECT_CONTAINS(error(onnx_shape("t", {3}, onnx_f32).bytes(4, Bytes(8))),
                  "tensor t: has 8 bytes, but F32 of shape [3]");
  EXPECT_CONTAINS(error(onnx_shape("t", {3}, onnx_f16).bytes(5, Bytes(2))),
                  "int32_data of 2 bytes cannot have 3 numbers");
  EXPECT_CONTAINS(error(onnx_shape("t", {1}, onnx_f16).bytes(5, Bytes(2))), "int32_data has more than 1 numbers");
  EXPECT_CONTAINS(error(onnx_shape("t", {2}, onnx_f16).bytes(5, {0x80, 0x01})),
                  "has 2 bytes, but F16 of shape [2] take 4");
  EXPECT_CONTAINS(error(onnx_shape("t", {1}, onnx_f16).bytes(5, {0x80})), "an integer is cut off");
  EXPECT_CONTAINS(error(onnx_shape("t", {1}, onnx_f16)), "has 0 bytes, but F16 of shape [1] take 2");
}

// ---- external data ----

TEST(OnnxExternalData, LiesBesideTheModel) {
  const auto files = [](const std::vector<std::pair<std::string, std::string>>& place, const Bytes& data = Bytes(8)) {
    return FileMap{{"m.onnx", OnnxBuilder().tensor(onnx_external("t", {2}, onnx_f16, place)).build()}, {"data", data}};
  };
  const auto error = [&](const std::vector<std::pair<std::string, std::string>>& place, const Bytes& data = Bytes(8)) {
    return error_of_files(files(place, data));
  };
  const FileMap good = files({{"location", "data"}, {"offset", "3"}, {"length", "4"}}, {0, 0, 0, 1, 2, 3, 4, 0});
  const auto checkpoint = open_onnx(good);
  const ByteView data = checkpoint->left_alone().at(0).tensor.data;
  EXPECT_EQ(Bytes(data.begin(), data.end()), (Bytes{1, 2, 3, 4}));
  EXPECT_EQ(error({{"location", "data"}}), "");
  for (const char* name : {"/etc/passwd", "../data", "d/data", "..", ".", "", "a\\b", "data\n", "*/_ORT_MEM_ADDR_/*"}) {
    EXPECT_CONTAINS(error({{"location", name}}), "which is not a plain file name beside the model");
  }
  EXPECT_CONTAINS(error({{"offset", "0"}}), "which is not a plain file name beside the model");
  EXPECT_CONTAINS(error({{"location", "missing"}}), "m.onnx: tensor t: its external data: missing: cannot be opened");
  EXPECT_CONTAINS(error({{"location", "data"}, {"offset", "5"}}), "tensor t: needs 4 bytes at 5 of data, which has 8");
  EXPECT_CONTAINS(error({{"location", "data"}, {"offset", "18446744073709551615"}}), "which has 8 (cut off?)");
  EXPECT_CONTAINS(error({{"location", "data"}, {"length", "5"}}), "has 5 bytes, but F16 of shape [2] take 4");
  for (const char* number : {"", "-1", "0x1", "1 ", "18446744073709551616"}) {
    const std::string text = error({{"location", "data"}, {"offset", number}});
    EXPECT_EQ(text.empty(), *number == '\0') << number;
    if (!text.empty()) {
      EXPECT_CONTAINS(text, "which is no number of bytes");
    }
  }
  OnnxBuilder model;
  for (const char* name : {"a", "b", "c", "d", "e"}) {
    model.tensor(onnx_external(name, {2}, onnx_f16, {{"location", "data"}, {"offset", "0"}}));
  }
  EXPECT_CONTAINS(error_of_files({{"m.onnx", model.build()}, {"data", Bytes(8)}}),
                  "tensor e: tensors take 20 bytes of data, which has 8");
  const std::string pointer = "version https://git-lfs.github.com/spec/v1\n";
  EXPECT_CONTAINS(error({{"location", "data"}}, Bytes(pointer.begin(), pointer.end())), "data: is a git-lfs pointer");
}

// ---- files ----

// Every bit of what is read: all kinds of fields.
Bytes small_model() {
  OnnxBuilder model = two_rows();
  model.node(matmul({"x", "w_Q4", "w_scales", "", "", "w_bias"}, 2, 16, 16, "/n"));
  model.tensor("w_bias", {2}, onnx_f32, Bytes(8)).tensor("d", {2, 16}, onnx_i4, Bytes(16));
  model.tensor("d_s", {}, onnx_f32, Bytes(4)).node(OnnxNodeBuilder("DequantizeLinear", {"d", "d_s"}, {"v"}));
  model.node(OnnxNodeBuilder("Transpose", {"v"}, {"t"}).integers("perm", {1, 0}));
  model.node(OnnxNodeBuilder("Gemm", {"x", "t"}, {"z"}).number("alpha", 1));
  model.tensor(onnx_shape("h", {2}, onnx_f16).bytes(5, Message().varint(0x3C00).varint(1).build()));
  model.tensor(onnx_external("e", {1}, onnx_f32, {{"location", "data"}, {"offset", "0"}}));
  return model.build();
}

TEST(OnnxFiles, EveryCutIsAnError) {
  FileMap files = {{"m.onnx", small_model()}, {"data", Bytes(4)}};
  ASSERT_EQ(error_of_files(files), "");
  const Bytes whole = files["m.onnx"];
  for (std::size_t size = 1; size < whole.size(); ++size) {
    files["m.onnx"] = Bytes(whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(size));
    ASSERT_NE(error_of_files(files), "") << size;
  }
}

TEST(OnnxFiles, DamageIsSurvived) {
  FileMap files = {{"m.onnx", small_model()}, {"data", Bytes(4)}};
  Bytes& file = files["m.onnx"];
  std::size_t refused = 0;
  for (std::size_t at = 0; at < file.size(); ++at) {
    for (const unsigned mask : {0xFFu, 1u << at % 8, 0x80u}) {
      file[at] = static_cast<std::uint8_t>(file[at] ^ mask);
      refused += error_of_files(files).empty() ? 0 : 1;
      file[at] = static_cast<std::uint8_t>(file[at] ^ mask);
    }
  }
  EXPECT_GT(refused, file.size() / 2);
}

TEST(OnnxFiles, WhatIsNoModelIsRefused) {
  const auto error = [](const Bytes& bytes) { return error_of_files({{"m.onnx", bytes}}); };
  EXPECT_CONTAINS(error(Message().integer(1, 10).build()), "m.onnx: is no ONNX model, it has no graph");
  EXPECT_CONTAINS(error(Message().bytes(7, {}).bytes(7, {}).build()), "has two graphs");
  EXPECT_CONTAINS(error(Message().integer(7, 1).build()), "field 7 has wire type 0, it should be 2");
  EXPECT_CONTAINS(error({0x3B}), "field 7 has wire type 3, which is not read");
  EXPECT_CONTAINS(error({0x00, 0x00}), "begins no field of protobuf");
  EXPECT_CONTAINS(error(Bytes(12, 0xFF)), "has more than 64 bits");
  EXPECT_CONTAINS(error(Message().varint(0x3A).varint(UINT64_MAX).build()), "needs 18446744073709551615 bytes at 11");
  EXPECT_CONTAINS(error({0x08, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0x02}), "has more than 64 bits");
}

TEST(OnnxFiles, WrongTensorsAreRefused) {
  const auto error = [](const Message& tensor) { return error_of_model(OnnxBuilder().tensor(tensor)); };
  EXPECT_CONTAINS(error(onnx_tensor("", {1}, onnx_u8, {0})), "a tensor has an empty name");
  EXPECT_CONTAINS(error(onnx_tensor("a\nb", {1}, onnx_u8, {0})), "is not printable");
  EXPECT_CONTAINS(error(onnx_tensor("t", {2}, onnx_u8, {0})),
                  "m.onnx: tensor t: has 1 bytes, but U8 of shape [2] take 2");
  EXPECT_CONTAINS(error(onnx_tensor("t", {UINT64_MAX}, onnx_f32, {0})), "is larger than any file");
  EXPECT_CONTAINS(error(onnx_tensor("t", {1ull << 40, 1ull << 40}, onnx_u4, {0})), "is larger than any file");
  EXPECT_CONTAINS(error(onnx_tensor("t", Shape(17, 1), onnx_u8, {0})), "has more than 16 dimensions");
  EXPECT_CONTAINS(error_of_model(OnnxBuilder().tensor("t", {1}, onnx_u8, {0}).tensor("t", {1}, onnx_u8, {0})),
                  "tensor t: is there twice");
  EXPECT_CONTAINS(error_of_model(OnnxBuilder().node(OnnxNodeBuilder("MatMul", Lines(9, "x"), {"y"}))),
                  "a node has more than 8 inputs or the like");
  EXPECT_EQ(error_of_model(OnnxBuilder().node(OnnxNodeBuilder("Concat", Lines(1000, "x"), {"y"}))), "");
}

// Memory is bounded by what the file has, not by what it could mean.
TEST(OnnxFiles, MoreEntriesThanAModelHasAreRefused) {
  OnnxBuilder tensors, nodes;
  for (int i = 0; i < 40000; ++i) {
    tensors.tensor(Message().text(8, std::to_string(i)));
    nodes.node(OnnxNodeBuilder("MatMul", {}, {}));
  }
  EXPECT_CONTAINS(error_of_model(tensors), "has more tensors than a file of ");
  EXPECT_CONTAINS(error_of_model(nodes), "has more nodes than a file of ");
}

// Graphs inside of nodes are not entered, however deep.
TEST(OnnxFiles, DeepNestingIsSkipped) {
  Bytes graph;
  for (int depth = 0; depth < 500; ++depth) {
    const Message attribute = Message().text(1, "then_branch").bytes(6, graph);
    graph = Message().message(1, Message().text(4, "If").message(5, attribute)).build();
  }
  const FileMap files = {{"m.onnx", Message().bytes(7, graph).build()}};
  EXPECT_TRUE(open_onnx(files)->left_alone().empty());
}

TEST(OnnxFiles, AFolderWithOneModelIsOpened) {
  std::string pattern = (fs::temp_directory_path() / "zenwoq_onnx_XXXXXX").string();
  ASSERT_NE(mkdtemp(pattern.data()), nullptr);
  const fs::path folder = pattern;
  const auto write = [&](const char* name, const char* tensor) {
    const Bytes bytes = OnnxBuilder().tensor(tensor, {1}, onnx_u8, {0}).build();
    std::ofstream(folder / name, std::ios::binary)
        .write(reinterpret_cast<const char*>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
  };
  const auto error = [&] { return error_of([&] { open_checkpoint(folder.string()); }); };
  EXPECT_CONTAINS(error(), "no .gguf, no .onnx and no .zwq file");
  write("a.onnx", "a");
  EXPECT_EQ(reason_for(*open_checkpoint(folder.string()), "a"), "1-D u8");
  write("b.onnx", "b");
  EXPECT_CONTAINS(error(), "the directory has 2 .onnx files, name one of them");
  write("model.onnx", "m");
  EXPECT_EQ(reason_for(*open_checkpoint(folder.string()), "m"), "1-D u8");
  fs::remove_all(folder);
}

}  // namespace
}  // namespace zenwoq::formats::testing
