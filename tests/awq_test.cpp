// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// Import of AWQ: both versions, what is left alone, what is refused.
#include "tests/support/quantized.h"

namespace zenwoq::formats::testing {
namespace {

using nlohmann::json;

json config(std::int64_t group, const char* version) {
  return {{"quant_method", "awq"}, {"bits", 4}, {"group_size", group}, {"version", version}, {"zero_point", true}};
}

constexpr std::size_t kOrder[] = {0, 2, 4, 6, 1, 3, 5, 7};

SafetensorsBuilder gemm_file(const Quantized& q, bool with_zeros = true) {
  const auto code = [&](std::size_t k, std::size_t c, std::size_t i) { return q.code(8 * c + kOrder[i], k); };
  const auto zero = [&](std::size_t g, std::size_t c, std::size_t i) { return q.zero(8 * c + kOrder[i], g); };
  SafetensorsBuilder tensors;
  tensors.tensor("m.q.qweight", "I32", {q.k, q.n / 8}, words(q.k, q.n / 8, code));
  tensors.tensor("m.q.scales", "F16", {q.groups(), q.n}, q.scales_by_group());
  if (with_zeros) tensors.tensor("m.q.qzeros", "I32", {q.groups(), q.n / 8}, words(q.groups(), q.n / 8, zero));
  return tensors;
}

SafetensorsBuilder gemv_file(const Quantized& q, std::size_t zero_words) {
  const auto code = [&](std::size_t n, std::size_t c, std::size_t i) { return q.code(n, 8 * c + i); };
  const auto zero = [&](std::size_t n, std::size_t c, std::size_t i) { return q.zero(n, 8 * c + i); };
  std::vector<std::uint16_t> scales;
  for (std::size_t n = 0; n < q.n; ++n) {
    for (std::size_t g = 0; g < 8 * zero_words; ++g) {
      scales.push_back(g < q.groups() ? q.scales[n * q.groups() + g] : std::uint16_t{0x7C00});
    }
  }
  SafetensorsBuilder tensors;
  tensors.tensor("m.q.qweight", "I32", {q.n, q.k / 8}, words(q.n, q.k / 8, code));
  tensors.tensor("m.q.scales", "F16", {q.n, 8 * zero_words}, bytes_of(scales));
  return tensors.tensor("m.q.qzeros", "I32", {q.n, zero_words}, words(q.n, zero_words, zero));
}

tools::Layer loaded(const SafetensorsBuilder& tensors, const json& quantization) {
  const FileMap files = model_files(tensors, quantization);
  const auto checkpoint = open_files(files, "model.safetensors");
  EXPECT_TRUE(checkpoint->left_alone().empty()) << checkpoint->left_alone()[0].reason;
  return load(*checkpoint, 0);
}

TEST(Awq, GoldenWord) {
  Quantized q(8, 8, 8, true);
  for (std::size_t i = 0; i < 64; ++i) q.codes[i] = static_cast<unsigned>(i / 8);
  SafetensorsBuilder tensors;
  tensors.tensor("m.q.qweight", "I32", {8, 1}, bytes_of(std::vector<std::uint32_t>(8, 0x75316420)));
  tensors.tensor("m.q.scales", "F16", {1, 8}, q.scales_by_group());
  json fields = config(8, "gemm");
  fields.erase("zero_point");
  expect_equal(loaded(tensors, fields), q);
}

TEST(Awq, GemmWeights) {
  for (const auto& [n, k, group] : {std::tuple(24, 64, 32), std::tuple(8, 128, 128), std::tuple(40, 96, 32)}) {
    const Quantized q(n, k, group);
    const tools::Layer layer = loaded(gemm_file(q), config(group, "GEMM"));
    EXPECT_EQ(layer.info.format, "awq gemm");
    EXPECT_EQ(layer.info.zero_kind, ZENWOQ_ZERO_INTEGER);
    expect_equal(layer, q);
  }
  const Quantized symmetric(16, 64, 32, true);
  json without_zeros = config(32, "gemm");
  without_zeros["zero_point"] = false;
  const tools::Layer layer = loaded(gemm_file(symmetric, false), without_zeros);
  EXPECT_EQ(layer.info.zero_kind, ZENWOQ_ZERO_NONE);
  expect_equal(layer, symmetric);
}

TEST(Awq, GemvWeightsWithFilledUpRows) {
  for (const auto& [n, k, group, zero_words] :
       {std::tuple(24, 64, 32, 4), std::tuple(5, 128, 128, 1), std::tuple(9, 320, 32, 4)}) {
    const Quantized q(n, k, group);
    const tools::Layer layer = loaded(gemv_file(q, static_cast<std::size_t>(zero_words)), config(group, "gemv"));
    EXPECT_EQ(layer.info.format, "awq gemv");
    expect_equal(layer, q);
  }
}

TEST(Awq, OtherKindsAreLeftAloneOrRefused) {
  const Quantized q(16, 64, 32);
  const SafetensorsBuilder gemm = gemm_file(q);
  EXPECT_EQ(refusal(gemm, config(32, "gemv_fast")), "awq with i32 qweight");
  json eight = config(32, "gemm");
  eight["bits"] = 8;
  EXPECT_EQ(refusal(gemm, eight), "awq of 8 bits, only 4 are read");
  EXPECT_EQ(refusal(gemm, config(0, "gemm")), "awq of group_size 0");
  EXPECT_CONTAINS(refusal(gemm, config(64, "gemm")), "scales has shape [2, 16], it should be [1, 16]");
  EXPECT_CONTAINS(refusal(gemm, config(48, "gemm")), "rows of 64 values do not divide into groups of 48");
  EXPECT_CONTAINS(refusal(gemm, config(32, "gemv")), "weight m.q.weight: ");
  EXPECT_CONTAINS(refusal(gemv_file(q, 1), config(32, "gemm")), "weight m.q.weight: ");
  EXPECT_CONTAINS(refusal(gemm_file(q, false), config(32, "gemm")), "weight m.q.weight: its qzeros is missing");
  SafetensorsBuilder shorts;
  shorts.tensor("m.q.qweight", "I16", {4, 64}, Bytes(512));
  EXPECT_EQ(refusal(shorts, config(32, "gemm")), "awq with i16 qweight");
}

TEST(Awq, DamageIsSurvived) {
  const Quantized q(16, 64, 32);
  expect_damage_is_survived(gemm_file(q), config(32, "gemm"));
  expect_damage_is_survived(gemv_file(q, 4), config(32, "gemv"));
}

}  // namespace
}  // namespace zenwoq::formats::testing
