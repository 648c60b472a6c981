// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// Import of GPTQ: both versions of zero points, labels that the data contradict, what is left alone, what is refused.
#include "tests/support/quantized.h"

namespace zenwoq::formats::testing {
namespace {

using nlohmann::json;

json config(std::int64_t group, const char* format, bool symmetric = false) {
  json fields = {{"quant_method", "gptq"}, {"bits", 4}, {"group_size", group}, {"sym", symmetric}, {"desc_act", false}};
  if (format != nullptr) fields["checkpoint_format"] = format;
  return fields;
}

// subtracted: from each word of zeros, as writers of version 1 do.
SafetensorsBuilder gptq_file(const Quantized& q, std::uint32_t subtracted,
                             const std::vector<std::uint32_t>& g_idx = {}) {
  const auto code = [&](std::size_t r, std::size_t c, std::size_t i) { return q.code(c, 8 * r + i); };
  const auto zero = [&](std::size_t g, std::size_t c, std::size_t i) { return q.zero(8 * c + i, g); };
  Bytes zeros;
  for (const Bytes& all = words(q.groups(), q.n / 8, zero); zeros.size() < all.size();) {
    std::uint32_t word;
    std::memcpy(&word, all.data() + zeros.size(), sizeof word);
    append(zeros, word - subtracted);
  }
  SafetensorsBuilder tensors;
  const std::size_t rows = (q.k + 7) / 8;
  tensors.tensor("m.q.qweight", "I32", {rows, q.n}, words(rows, q.n, code));
  tensors.tensor("m.q.qzeros", "I32", {q.groups(), q.n / 8}, zeros);
  tensors.tensor("m.q.scales", "F16", {q.groups(), q.n}, q.scales_by_group());
  if (!g_idx.empty()) tensors.tensor("m.q.g_idx", "I32", {g_idx.size()}, bytes_of(g_idx));
  return tensors;
}

constexpr std::uint32_t kOnes = 0x11111111;

std::vector<std::uint32_t> in_order(const Quantized& q) {
  std::vector<std::uint32_t> g_idx;
  for (std::size_t k = 0; k < q.k; ++k) g_idx.push_back(static_cast<std::uint32_t>(k / q.group));
  return g_idx;
}

tools::Layer loaded(const SafetensorsBuilder& tensors, const json& quantization) {
  const FileMap files = model_files(tensors, quantization);
  const auto checkpoint = open_files(files, "model.safetensors");
  EXPECT_TRUE(checkpoint->left_alone().empty()) << checkpoint->left_alone()[0].reason;
  return load(*checkpoint, 0);
}

TEST(Gptq, BothVersionsOfZeroPoints) {
  for (const auto& [n, k, group] : {std::tuple(24, 64, 32), std::tuple(40, 80, 32), std::tuple(16, 96, 96)}) {
    const Quantized q(n, k, group);  // with zeros of 0, whose words borrow from their neighbours
    for (const std::vector<std::uint32_t>& g_idx : {std::vector<std::uint32_t>(), in_order(q)}) {
      expect_equal(loaded(gptq_file(q, kOnes, g_idx), config(group, nullptr)), q);
      expect_equal(loaded(gptq_file(q, kOnes, g_idx), config(group, "gptq")), q);
      expect_equal(loaded(gptq_file(q, 0, g_idx), config(group, "gptq_v2")), q);
    }
  }
}

TEST(Gptq, OnlyColumnsOutOfOrderArePermuted) {
  const Quantized q(16, 64, 32);
  const auto permuted = [&](const std::vector<std::uint32_t>& g_idx) {
    const FileMap files = model_files(gptq_file(q, kOnes, g_idx), config(32, "gptq"));
    return open_files(files, "model.safetensors")->layers().at(0)->desc.permuted;
  };
  std::vector<std::uint32_t> g_idx = in_order(q);
  EXPECT_EQ(permuted(g_idx), 0u);
  std::swap(g_idx.front(), g_idx.back());
  EXPECT_EQ(permuted(g_idx), 1u);
}

TEST(Gptq, AWholeRowAsAGroup) {
  const Quantized q(16, 64, 64);
  const tools::Layer layer = loaded(gptq_file(q, kOnes), config(-1, "gptq"));
  EXPECT_EQ(layer.info.group_size, 0u);
  EXPECT_EQ(layer.info.format, "gptq");
  expect_equal(layer, q);
}

TEST(Gptq, ShortLastWordsAndGroups) {
  const Quantized q(8, 61, 32);
  expect_equal(loaded(gptq_file(q, kOnes, in_order(q)), config(32, "gptq")), q);
}

// Symmetric files have zeros of 8 alone: their bytes say which version they are, whatever the label.
TEST(Gptq, OfSymmetricFilesTheDataWin) {
  const Quantized q(16, 64, 32, true);
  for (const char* label : {"gptq", "gptq_v2"}) {
    for (const std::uint32_t subtracted : {0u, kOnes}) {
      const tools::Layer layer = loaded(gptq_file(q, subtracted), config(32, label, true));
      EXPECT_EQ(layer.info.zero_kind, ZENWOQ_ZERO_NONE);
      expect_equal(layer, q);
    }
  }
  const tools::Layer asymmetric = loaded(gptq_file(q, 0), config(32, "gptq", false));
  EXPECT_EQ(asymmetric.zeros, Bytes(32, 9));
}

TEST(Gptq, OlderFilesHaveAConfigurationOfTheirOwn) {
  const Quantized q(16, 64, 32);
  FileMap files = model_files(gptq_file(q, kOnes), nullptr);
  const std::string text = R"({"bits": 4, "group_size": 32, "desc_act": false})";
  files["quantize_config.json"] = Bytes(text.begin(), text.end());
  expect_equal(load(*open_files(files, "model.safetensors"), 0), q);
}

TEST(Gptq, OtherKindsAreLeftAlone) {
  const Quantized q(16, 64, 32);
  const SafetensorsBuilder good = gptq_file(q, kOnes);
  EXPECT_EQ(refusal(good, nullptr), "no quantization_config beside it says what it is");
  json fields = config(32, "marlin");
  EXPECT_EQ(refusal(good, fields), "gptq in the format marlin, not read");
  fields = config(32, "gptq");
  fields["bits"] = 8;
  EXPECT_EQ(refusal(good, fields), "gptq of 8 bits, only 4 are read");
  fields["quant_method"] = "aqlm";
  EXPECT_EQ(refusal(good, fields), "qweight of aqlm, not read");
  EXPECT_EQ(refusal(good, config(0, "gptq")), "gptq of group_size 0");
  EXPECT_EQ(refusal(good, config(64, "gptq")),
            "gptq with qweight [8, 16], qzeros [2, 2], scales [2, 16]: not 4 bits in groups of 64");
  std::vector<std::uint32_t> g_idx = in_order(q);
  std::swap(g_idx.front(), g_idx.back());
  EXPECT_EQ(refusal(gptq_file(q, kOnes, g_idx), config(32, "gptq")), "");  // act-order
  g_idx[3] = 0xFFFFFFFF;
  EXPECT_EQ(refusal(gptq_file(q, kOnes, g_idx), config(32, "gptq")),
            "g_idx[3] is -1: must be in 0..1, k = 64 has 2 groups of 32");
  g_idx[3] = 1;
  EXPECT_EQ(refusal(gptq_file(q, kOnes, g_idx), config(32, "gptq")), "group 0 of g_idx has 31 columns: must have 32");
  SafetensorsBuilder bytes;
  bytes.tensor("m.q.qweight", "U8", {8, 8}, Bytes(64));
  EXPECT_EQ(refusal(bytes, config(32, "gptq")), "gptq with u8 qweight");
  EXPECT_CONTAINS(refusal(SafetensorsBuilder().tensor("m.q.qweight", "I32", {8, 8}, Bytes(256)), config(32, "gptq")),
                  "weight m.q.weight: its qzeros is missing");
  EXPECT_CONTAINS(refusal(good, {{"quant_method", 4}}), "quant_method is no string");
}

TEST(Gptq, DamageIsSurvived) {
  const Quantized q(16, 64, 32);
  expect_damage_is_survived(gptq_file(q, kOnes, in_order(q)), config(32, "gptq", true));
}

}  // namespace
}  // namespace zenwoq::formats::testing
