// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// Compares every layer of the fixtures, value by value, with what TorchAO, ATen and gguf-py dequantise it to.
#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <tuple>

#include "formats/container/mapped_file.h"
#include "formats/container/safetensors.h"
#include "jit/number.h"
#include "tests/support/checkpoint_builder.h"

namespace zenwoq::formats::testing {
namespace {

const std::string fixtures = ZENWOQ_FIXTURES;

using OpaqueLayout = ReadOptions::OpaqueLayout;

// The formula of zenwoq.h in f32, with one rounding.
float value_at(const tools::Layer& layer, std::size_t n, std::size_t k) {
  const tools::LayerInfo& info = layer.info;
  const std::size_t group = n * info.groups() + k / info.group();
  const float scale = load_as_f32(info.scale_type, layer.scales.data(), group);
  const float code_value = info.table.at(code_at(layer, n, k));
  switch (info.zero_kind) {
    case ZENWOQ_ZERO_NONE: return scale * code_value;
    case ZENWOQ_ZERO_INTEGER: return scale * (code_value + 8.0f - static_cast<float>(layer.zeros.at(group)));
    case ZENWOQ_ZERO_OFFSET:
      return std::fma(scale, code_value, load_as_f32(info.scale_type, layer.zeros.data(), group));
    case ZENWOQ_ZERO_FLOAT: break;  // of no format here
  }
  return NAN;
}

// A file of expected values.
class Expected {
 public:
  explicit Expected(const std::string& file)
      : file_(fixtures + "/" + file), set_(parse_safetensors(file_.bytes(), file)) {}

  std::size_t count() const { return set_.tensors.size(); }

  // Expects the same bits of every value, after rounding to bf16 if the expected values are bf16.
  void compare(const tools::Layer& layer, const std::string& suffix) const {
    const Tensor& tensor = set_.tensors.at(layer.info.name + suffix);
    ASSERT_EQ(tensor.shape, (std::vector<std::uint64_t>{layer.info.n, layer.info.k}));
    const zenwoq_dtype type = *float_type(tensor.dtype);
    std::size_t differing = 0;
    for (std::size_t i = 0; i < layer.info.n * layer.info.k; ++i) {
      const float value = value_at(layer, i / layer.info.k, i % layer.info.k);
      const float rounded = type == ZENWOQ_BF16 ? bf16_to_f32(f32_to_bf16(value)) : value;
      const float expected = load_as_f32(type, tensor.data.data(), i);
      differing += std::bit_cast<std::uint32_t>(rounded) != std::bit_cast<std::uint32_t>(expected);
    }
    EXPECT_EQ(differing, 0u) << layer.info.name << suffix << ": of " << layer.info.n * layer.info.k << " values";
  }

 private:
  MappedFile file_;
  TensorSet set_;
};

std::vector<std::string> sorted_names(const Checkpoint& checkpoint) {
  std::vector<std::string> names;
  for (const auto& layer : checkpoint.layers()) names.push_back(layer->name);
  std::sort(names.begin(), names.end());
  return names;
}

std::vector<std::string> left_alone_lines(const Checkpoint& checkpoint) {
  std::vector<std::string> lines;
  for (const LeftAlone& left : checkpoint.left_alone()) lines.push_back(left.name + ": " + left.reason);
  return lines;
}

using Lines = std::vector<std::string>;

TEST(Fixtures, TorchaoIntx) {
  const auto checkpoint = open_checkpoint(fixtures + "/torchao_intx.safetensors");
  EXPECT_EQ(sorted_names(*checkpoint),
            (Lines{"asym_group64.down_proj", "sym_channel.down_proj", "sym_group128.down_proj"}));
  EXPECT_EQ(left_alone_lines(*checkpoint), Lines{"norm.weight: 1-D bf16"});
  const Expected expected("expected_torchao_intx.safetensors");
  ASSERT_EQ(expected.count(), checkpoint->layers().size());
  for (std::size_t i = 0; i < checkpoint->layers().size(); ++i) {
    const tools::Layer layer = load(*checkpoint, i);
    const bool asymmetric = layer.info.name == "asym_group64.down_proj";
    EXPECT_EQ(layer.info.zero_kind, asymmetric ? ZENWOQ_ZERO_INTEGER : ZENWOQ_ZERO_NONE);
    EXPECT_EQ(layer.info.has_bias, asymmetric);
    EXPECT_EQ(layer.bias.size(), asymmetric ? layer.info.n * 2 : 0u);
    expected.compare(layer, ".dequantized");
  }
}

TEST(Fixtures, ShardedTorchaoIntx) {
  const auto checkpoint = open_checkpoint(fixtures + "/sharded");
  const Expected expected("expected_sharded.safetensors");
  ASSERT_EQ(checkpoint->layers().size(), 7u);
  ASSERT_EQ(expected.count(), 7u);
  for (std::size_t i = 0; i < checkpoint->layers().size(); ++i) {
    const tools::Layer layer = load(*checkpoint, i);
    EXPECT_EQ(layer.info.has_bias, layer.info.name.find("self_attn") != std::string::npos);
    expected.compare(layer, ".dequantized");
  }
  EXPECT_EQ(left_alone_lines(*checkpoint),
            (Lines{"lm_head.weight: 2-D bf16, not quantized", "model.embed_tokens.weight: 2-D bf16, not quantized",
                   "model.layers.0.input_layernorm.weight: 1-D bf16",
                   "model.layers.0.post_attention_layernorm.weight: 1-D bf16", "model.norm.weight: 1-D bf16"}));
}

TEST(Fixtures, TorchaoOpaque) {
  const Expected expected("expected_opaque.safetensors");
  for (const auto& [file, layout] : {std::pair("/opaque_avx512.safetensors", OpaqueLayout::avx512),
                                     std::pair("/opaque_avx2.safetensors", OpaqueLayout::avx2)}) {
    const auto checkpoint = open_checkpoint(fixtures + file, {layout});
    EXPECT_EQ(sorted_names(*checkpoint), Lines{"down_proj"});
    EXPECT_EQ(left_alone_lines(*checkpoint), Lines{"norm.weight: 1-D bf16"});
    const tools::Layer layer = load(*checkpoint, 0);
    expected.compare(layer, ".dequantized");
  }
}

TEST(Fixtures, TheWrongOpaqueLayoutIsNoticed) {
  const auto avx2 = open_checkpoint(fixtures + "/opaque_avx2.safetensors", {OpaqueLayout::avx512});
  const auto avx512 = open_checkpoint(fixtures + "/opaque_avx512.safetensors", {OpaqueLayout::avx2});
  EXPECT_THROW(load(*avx2, 0), ReadError);
  EXPECT_THROW(load(*avx512, 0), ReadError);
}

// The groups of zeros have one code in the right layout, and are no sign of another. Read in the wrong layout, signs_*
// have codes 0 and 15 in nearly every group.
TEST(Fixtures, OpaqueWeightsWithRowsAndGroupsOfZeros) {
  const Expected expected("expected_opaque_zeros.safetensors");
  for (const auto& [file, right, wrong] :
       {std::tuple("/opaque_zeros_avx512.safetensors", OpaqueLayout::avx512, OpaqueLayout::avx2),
        std::tuple("/opaque_zeros_avx2.safetensors", OpaqueLayout::avx2, OpaqueLayout::avx512)}) {
    const auto checkpoint = open_checkpoint(fixtures + file, {right});
    EXPECT_EQ(sorted_names(*checkpoint), (Lines{"real_groups", "real_rows", "signs_groups", "signs_rows"}));
    for (std::size_t i = 0; i < 4; ++i) expected.compare(load(*checkpoint, i), ".dequantized");
    const auto mistaken = open_checkpoint(fixtures + file, {wrong});
    for (std::size_t i = 0; i < 4; ++i) EXPECT_THROW(load(*mistaken, i), ReadError) << file << " " << i;
  }
}

TEST(Fixtures, Gguf) {
  const auto checkpoint = open_checkpoint(fixtures + "/mixed.gguf");
  EXPECT_EQ(sorted_names(*checkpoint), (Lines{"blk.0.attn_k", "blk.0.attn_q"}));
  EXPECT_EQ(left_alone_lines(*checkpoint),
            (Lines{"token_embd.weight: q8_0, unpacked to f32: no kernel for it", "blk.0.attn_norm.weight: 1-D f32"}));
  const Expected expected("expected_gguf.safetensors");
  for (std::size_t i = 0; i < checkpoint->layers().size(); ++i) {
    expected.compare(load(*checkpoint, i), ".dequantized");
  }
}

TEST(Fixtures, WholeGgufLayers) {
  const auto checkpoint = open_checkpoint(fixtures + "/attention.gguf");
  EXPECT_EQ(sorted_names(*checkpoint), (Lines{"blk.0.attn_k", "blk.0.attn_q", "blk.0.attn_v"}));
  // The first 48 rows of attn_q are those of mixed.gguf, whose values are expected ones.
  const tools::Layer part = load(*open_checkpoint(fixtures + "/mixed.gguf"), 0);
  const tools::Layer whole = load(*checkpoint, 0);
  ASSERT_EQ(part.info.name, whole.info.name);
  EXPECT_TRUE(std::equal(part.codes.begin(), part.codes.end(), whole.codes.begin()));
  EXPECT_TRUE(std::equal(part.scales.begin(), part.scales.end(), whole.scales.begin()));
  EXPECT_TRUE(std::equal(part.zeros.begin(), part.zeros.end(), whole.zeros.begin()));
}

}  // namespace
}  // namespace zenwoq::formats::testing
