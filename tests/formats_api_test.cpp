// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// The C API of checkpoints: what entries say, loading, errors, older and newer callers.
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstring>
#include <thread>

#include "tests/support/checkpoint_builder.h"
#include "zenwoq/formats.h"

namespace zenwoq::formats::testing {
namespace {

#define EXPECT_ERROR(call, status, text) \
  EXPECT_EQ(call, status);               \
  EXPECT_CONTAINS(std::string(zenwoq_last_error()), text)

struct CheckpointDeleter {
  void operator()(zenwoq_checkpoint* checkpoint) const { zenwoq_checkpoint_destroy(checkpoint); }
};
using CheckpointHandle = std::unique_ptr<zenwoq_checkpoint, CheckpointDeleter>;

CheckpointHandle open_fixture(const std::string& name) {
  zenwoq_checkpoint* checkpoint = nullptr;
  EXPECT_EQ(zenwoq_checkpoint_open((ZENWOQ_FIXTURES "/" + name).c_str(), nullptr, &checkpoint), ZENWOQ_OK)
      << zenwoq_last_error();
  return CheckpointHandle(checkpoint);
}

zenwoq_tensor_info info_at(const CheckpointHandle& checkpoint, std::size_t index) {
  zenwoq_tensor_info info;
  zenwoq_tensor_info_init(&info);
  EXPECT_EQ(zenwoq_checkpoint_info(checkpoint.get(), index, &info), ZENWOQ_OK) << zenwoq_last_error();
  return info;
}

std::size_t index_of(const CheckpointHandle& checkpoint, const char* name) {
  std::size_t index = SIZE_MAX;
  EXPECT_EQ(zenwoq_checkpoint_find(checkpoint.get(), name, &index), ZENWOQ_OK) << zenwoq_last_error();
  return index;
}

tools::WeightHandle load_at(const CheckpointHandle& checkpoint, std::size_t index) {
  zenwoq_weight* weight = nullptr;
  EXPECT_EQ(zenwoq_checkpoint_load(checkpoint.get(), index, 0, packing_context(), &weight), ZENWOQ_OK)
      << zenwoq_last_error();
  return tools::WeightHandle(weight);
}

TEST(FormatsApi, EntriesSayWhatTheyAre) {
  const CheckpointHandle checkpoint = open_fixture("torchao_intx.safetensors");
  std::size_t count = 0;
  ASSERT_EQ(zenwoq_checkpoint_count(checkpoint.get(), &count), ZENWOQ_OK);
  ASSERT_EQ(count, 4u);
  const zenwoq_tensor_info layer = info_at(checkpoint, index_of(checkpoint, "asym_group64.down_proj"));
  EXPECT_EQ(layer.kind, ZENWOQ_TENSOR_LAYER);
  EXPECT_STREQ(layer.name, "asym_group64.down_proj");
  EXPECT_STREQ(layer.reason, "");
  EXPECT_STREQ(layer.format, "torchao intx");
  EXPECT_STREQ(layer.quantization, "int4 asym per-group 64, scale bf16");
  EXPECT_EQ(layer.experts, 1u);
  EXPECT_EQ(layer.has_bias, 1u);
  EXPECT_EQ(layer.bias_type, ZENWOQ_BF16);
  EXPECT_EQ(layer.source_bytes, layer.n * layer.k + layer.n * layer.k / 64 * 3);
  const zenwoq_tensor_info norm = info_at(checkpoint, 3);
  EXPECT_EQ(norm.kind, ZENWOQ_TENSOR_DENSE);
  EXPECT_STREQ(norm.name, "norm.weight");
  EXPECT_STREQ(norm.reason, "1-D bf16");
  EXPECT_STREQ(norm.format, "");
  EXPECT_EQ(norm.n + norm.k + norm.experts + norm.source_bytes + norm.packed_bytes, 0u);
  const CheckpointHandle gguf = open_fixture("mixed.gguf");
  EXPECT_EQ(info_at(gguf, index_of(gguf, "token_embd.weight")).kind, ZENWOQ_TENSOR_OTHER);
}

TEST(FormatsApi, WeightsAreWhatTheirEntriesSay) {
  for (const char* file : {"torchao_intx.safetensors", "sharded", "opaque_avx512.safetensors", "mixed.gguf"}) {
    const CheckpointHandle checkpoint = open_fixture(file);
    std::size_t count = 0, layers = 0;
    ASSERT_EQ(zenwoq_checkpoint_count(checkpoint.get(), &count), ZENWOQ_OK);
    for (std::size_t i = 0; i < count; ++i) {
      const zenwoq_tensor_info info = info_at(checkpoint, i);
      if (info.kind != ZENWOQ_TENSOR_LAYER) continue;
      EXPECT_EQ(i, layers++) << "layers come first";
      const tools::WeightHandle weight = load_at(checkpoint, i);
      const void* packed = nullptr;
      std::size_t bytes = 0;
      ASSERT_EQ(zenwoq_weight_packed(weight.get(), &packed, &bytes), ZENWOQ_OK);
      EXPECT_EQ(bytes, info.packed_bytes);
      EXPECT_STREQ(info.quantization, zenwoq_weight_text(weight.get()));
      zenwoq_weight_desc packed_desc, desc;
      zenwoq_weight_desc_init(&packed_desc);
      zenwoq_weight_desc_init(&desc);
      ASSERT_EQ(zenwoq_weight_describe(weight.get(), &packed_desc), ZENWOQ_OK);
      ASSERT_EQ(zenwoq_checkpoint_describe(checkpoint.get(), i, &desc), ZENWOQ_OK) << zenwoq_last_error();
      EXPECT_EQ(std::memcmp(&desc, &packed_desc, sizeof desc), 0);
      EXPECT_EQ(desc.n, info.n);
      EXPECT_EQ(desc.k, info.k);
      EXPECT_EQ(index_of(checkpoint, (std::string(info.name) + ".weight").c_str()), i);
    }
    EXPECT_GT(layers, 0u);
  }
}

TEST(FormatsApi, WeightsOutliveTheirCheckpoint) {
  CheckpointHandle checkpoint = open_fixture("mixed.gguf");
  const tools::WeightHandle weight = load_at(checkpoint, 0);
  checkpoint.reset();
  std::vector<float> row(info_at(open_fixture("mixed.gguf"), 0).k);
  EXPECT_EQ(zenwoq_weight_dequantize(weight.get(), 0, 1, row.data(), row.size() * sizeof(float)), ZENWOQ_OK);
}

TEST(FormatsApi, ManyThreadsLoad) {
  const CheckpointHandle checkpoint = open_fixture("sharded");
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&] {
      for (std::size_t layer = 0; layer < 7; ++layer) load_at(checkpoint, layer);
    });
  }
  for (std::thread& thread : threads) thread.join();
}

TEST(FormatsApi, BiasesInTheirTypeAndInF32) {
  const CheckpointHandle checkpoint = open_fixture("torchao_intx.safetensors");
  const std::size_t index = index_of(checkpoint, "asym_group64.down_proj");
  const std::size_t n = info_at(checkpoint, index).n;
  std::vector<std::uint16_t> bf16(n);
  std::vector<float> f32(n);
  const auto bias = [&](std::size_t expert, zenwoq_dtype type, void* values, std::size_t bytes) {
    return zenwoq_checkpoint_bias(checkpoint.get(), index, expert, type, values, bytes);
  };
  ASSERT_EQ(bias(0, ZENWOQ_BF16, bf16.data(), n * 2), ZENWOQ_OK) << zenwoq_last_error();
  ASSERT_EQ(bias(0, ZENWOQ_F32, f32.data(), n * 4), ZENWOQ_OK) << zenwoq_last_error();
  for (std::size_t i = 0; i < n; ++i) EXPECT_EQ(f32[i], bf16_value(bf16[i]));
  EXPECT_NE(f32, std::vector<float>(n));
  EXPECT_ERROR(bias(0, ZENWOQ_F16, f32.data(), n * 4), ZENWOQ_ERROR_UNSUPPORTED, "bias as type 2: must be");
  EXPECT_ERROR(bias(0, ZENWOQ_F32, f32.data(), n * 4 - 1), ZENWOQ_ERROR_BUFFER_TOO_SMALL, "bias_bytes is ");
  EXPECT_ERROR(bias(1, ZENWOQ_F32, f32.data(), n * 4), ZENWOQ_ERROR_INVALID_ARGUMENT, "expert 1: asym_group64");
  EXPECT_ERROR(bias(0, ZENWOQ_F32, nullptr, n * 4), ZENWOQ_ERROR_INVALID_ARGUMENT, "bias is NULL");
  const std::size_t other = index_of(checkpoint, "sym_channel.down_proj");
  EXPECT_ERROR(zenwoq_checkpoint_bias(checkpoint.get(), other, 0, ZENWOQ_F32, f32.data(), n * 4),
               ZENWOQ_ERROR_INVALID_ARGUMENT, "sym_channel.down_proj has no bias");
}

TEST(FormatsApi, OpenErrors) {
  auto* checkpoint = reinterpret_cast<zenwoq_checkpoint*>(8);
  EXPECT_ERROR(zenwoq_checkpoint_open("/no/such/file", nullptr, &checkpoint), ZENWOQ_ERROR_BAD_FILE,
               "/no/such/file: cannot be opened: No such file");
  EXPECT_EQ(checkpoint, nullptr);
  EXPECT_ERROR(zenwoq_checkpoint_open("/dev/null", nullptr, &checkpoint), ZENWOQ_ERROR_BAD_FILE, "not a regular file");
  EXPECT_ERROR(zenwoq_checkpoint_open(nullptr, nullptr, &checkpoint), ZENWOQ_ERROR_INVALID_ARGUMENT, "path is NULL");
  EXPECT_ERROR(zenwoq_checkpoint_open("x", nullptr, nullptr), ZENWOQ_ERROR_INVALID_ARGUMENT, "checkpoint is NULL");
  zenwoq_checkpoint_options options;
  zenwoq_checkpoint_options_init(&options);
  options.opaque_layout = static_cast<zenwoq_opaque_layout>(7);
  EXPECT_ERROR(zenwoq_checkpoint_open("x", &options, &checkpoint), ZENWOQ_ERROR_INVALID_ARGUMENT, "opaque_layout 7");
  zenwoq_checkpoint_options_init(&options);
  options.reserved = 1;
  EXPECT_ERROR(zenwoq_checkpoint_open("x", &options, &checkpoint), ZENWOQ_ERROR_INVALID_ARGUMENT, "reserved is 1");
  options.struct_size = 8;
  EXPECT_ERROR(zenwoq_checkpoint_open("x", &options, &checkpoint), ZENWOQ_ERROR_INVALID_ARGUMENT,
               "zenwoq_checkpoint_options->struct_size is 8, must be 16");
  EXPECT_STREQ(zenwoq_status_name(ZENWOQ_ERROR_BAD_FILE), "ZENWOQ_ERROR_BAD_FILE");
  zenwoq_checkpoint_destroy(nullptr);
}

TEST(FormatsApi, CallErrors) {
  const CheckpointHandle checkpoint = open_fixture("mixed.gguf");
  zenwoq_tensor_info info;
  zenwoq_tensor_info_init(&info);
  EXPECT_ERROR(zenwoq_checkpoint_info(checkpoint.get(), 4, &info), ZENWOQ_ERROR_INVALID_ARGUMENT,
               "index 4: the checkpoint has 4 entries");
  EXPECT_ERROR(zenwoq_checkpoint_info(nullptr, 0, &info), ZENWOQ_ERROR_INVALID_ARGUMENT, "checkpoint is NULL");
  EXPECT_ERROR(zenwoq_checkpoint_info(checkpoint.get(), 0, nullptr), ZENWOQ_ERROR_INVALID_ARGUMENT, "info is NULL");
  info.struct_size = 95;
  EXPECT_ERROR(zenwoq_checkpoint_info(checkpoint.get(), 0, &info), ZENWOQ_ERROR_INVALID_ARGUMENT, "struct_size is 95");
  EXPECT_ERROR(zenwoq_checkpoint_count(checkpoint.get(), nullptr), ZENWOQ_ERROR_INVALID_ARGUMENT, "count is NULL");
  std::size_t index = 77;
  EXPECT_ERROR(zenwoq_checkpoint_find(checkpoint.get(), "no\n", &index), ZENWOQ_ERROR_INVALID_ARGUMENT,
               R"(the checkpoint has no tensor no\x0a)");
  EXPECT_EQ(index, 77u);
  auto* weight = reinterpret_cast<zenwoq_weight*>(8);
  const auto load = [&](std::size_t at, std::size_t expert, zenwoq_context* context) {
    return zenwoq_checkpoint_load(checkpoint.get(), at, expert, context, &weight);
  };
  EXPECT_ERROR(load(0, 1, packing_context()), ZENWOQ_ERROR_INVALID_ARGUMENT, "expert 1: blk.0.attn_");
  EXPECT_EQ(weight, nullptr);
  EXPECT_ERROR(load(0, 0, nullptr), ZENWOQ_ERROR_INVALID_ARGUMENT, "context is NULL");
  EXPECT_ERROR(load(2, 0, packing_context()), ZENWOQ_ERROR_INVALID_ARGUMENT, "is no layer: ");
  zenwoq_weight_desc desc;
  zenwoq_weight_desc_init(&desc);
  EXPECT_ERROR(zenwoq_checkpoint_describe(checkpoint.get(), 2, &desc), ZENWOQ_ERROR_INVALID_ARGUMENT, "is no layer: ");
  EXPECT_EQ(zenwoq_checkpoint_describe(checkpoint.get(), 0, &desc), ZENWOQ_OK);
  EXPECT_STREQ(zenwoq_last_error(), "");
}

TEST(FormatsApi, ANewerCallersStructIsFilledWithZeros) {
  const CheckpointHandle checkpoint = open_fixture("mixed.gguf");
  struct {
    zenwoq_tensor_info info;
    std::uint64_t newer_field;
  } newer{};
  newer.info.struct_size = sizeof newer;
  newer.newer_field = 7;
  EXPECT_EQ(zenwoq_checkpoint_info(checkpoint.get(), 0, &newer.info), ZENWOQ_OK) << zenwoq_last_error();
  EXPECT_EQ(newer.newer_field, 0u);
  EXPECT_EQ(newer.info.struct_size, sizeof newer);
}

// Values are looked at when they are loaded; the sentence names the weight.
TEST(FormatsApi, BadValuesAreErrorsOfTheFile) {
  std::string path = ::testing::TempDir() + "zenwoq_formats_XXXXXX";
  const int file = mkstemp(path.data());
  ASSERT_GE(file, 0);
  Bytes block(18);
  block[0] = 0, block[1] = 0x7C;  // an infinite scale
  GgufBuilder builder;
  builder.tensor("q.weight", {32, 1}, 2, block).tensor("q", {32, 1}, 2, Bytes(18));
  const Bytes bytes = builder.build();
  ASSERT_EQ(write(file, bytes.data(), bytes.size()), static_cast<ssize_t>(bytes.size()));
  close(file);
  zenwoq_checkpoint* opened = nullptr;
  ASSERT_EQ(zenwoq_checkpoint_open(path.c_str(), nullptr, &opened), ZENWOQ_OK) << zenwoq_last_error();
  const CheckpointHandle checkpoint(opened);
  unlink(path.c_str());
  zenwoq_weight* weight = nullptr;
  EXPECT_ERROR(zenwoq_checkpoint_load(opened, 0, 0, packing_context(), &weight), ZENWOQ_ERROR_BAD_FILE,
               ": weight q.weight: scale inf at row 0, group 0: must be finite");
  EXPECT_EQ(weight, nullptr);
  std::size_t index = 0;
  EXPECT_ERROR(zenwoq_checkpoint_find(opened, "q", &index), ZENWOQ_ERROR_INVALID_ARGUMENT,
               "entries 0 and 1 are both called q: use the index");
}

TEST(FormatsApi, TextsOfDescriptions) {
  zenwoq_weight_desc desc;
  zenwoq_weight_desc_init(&desc);
  desc.n = 1, desc.k = 64, desc.group_size = 32;
  char text[96];
  EXPECT_EQ(zenwoq_weight_desc_text(&desc, text, sizeof text), ZENWOQ_OK);
  EXPECT_STREQ(text, "int4 sym per-group 32, scale bf16");
  EXPECT_EQ(zenwoq_weight_desc_text(&desc, text, std::strlen(text) + 1), ZENWOQ_OK);
  EXPECT_ERROR(zenwoq_weight_desc_text(&desc, text, std::strlen(text)), ZENWOQ_ERROR_BUFFER_TOO_SMALL, "are needed");
  EXPECT_ERROR(zenwoq_weight_desc_text(&desc, nullptr, 96), ZENWOQ_ERROR_INVALID_ARGUMENT, "text is NULL");
  EXPECT_EQ(zenwoq_report(ZENWOQ_ERROR_BAD_FILE, "a sentence"), ZENWOQ_ERROR_BAD_FILE);
  EXPECT_STREQ(zenwoq_last_error(), "a sentence");
  EXPECT_EQ(zenwoq_report(ZENWOQ_OK, nullptr), ZENWOQ_OK);
  EXPECT_STREQ(zenwoq_last_error(), "");
}

}  // namespace
}  // namespace zenwoq::formats::testing
