// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// The C API of checkpoints: what entries say, loading, errors, older and newer callers.
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <thread>

#include "formats/container/mapped_file.h"
#include "formats/container/safetensors.h"
#include "tests/support/checkpoint_builder.h"
#include "tests/support/checkpoint_handle.h"
#include "tests/support/expect_error.h"
#include "zenwoq/formats.h"

namespace zenwoq::formats::testing {
namespace {

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
  EXPECT_EQ(norm.n + norm.k + norm.experts + norm.packed_bytes, 0u);
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

Shape shape_of(const zenwoq_tensor_info& info) { return {info.shape, info.shape + std::min(info.rank, 8u)}; }

TEST(FormatsApi, TensorsSayTypeShapeAndSize) {
  const CheckpointHandle layers = open_fixture("torchao_intx.safetensors");
  const zenwoq_tensor_info layer = info_at(layers, 0);
  EXPECT_STREQ(layer.type, "");
  EXPECT_EQ(shape_of(layer), (Shape{layer.n, layer.k}));
  EXPECT_EQ(layer.values_type, 0);
  const zenwoq_tensor_info norm = info_at(layers, 3);
  EXPECT_STREQ(norm.type, "BF16");
  ASSERT_EQ(norm.rank, 1u);
  EXPECT_EQ(norm.values_type, ZENWOQ_BF16);
  EXPECT_EQ(norm.source_bytes, norm.shape[0] * 2);
  const CheckpointHandle gguf = open_fixture("mixed.gguf");
  const zenwoq_tensor_info embedding = info_at(gguf, index_of(gguf, "token_embd.weight"));
  EXPECT_EQ(embedding.kind, ZENWOQ_TENSOR_DENSE);
  EXPECT_STREQ(embedding.type, "q8_0");
  EXPECT_EQ(embedding.values_type, ZENWOQ_F32);
  ASSERT_EQ(embedding.rank, 2u);
  EXPECT_EQ(embedding.source_bytes, embedding.shape[0] * embedding.shape[1] / 32 * 34);
  const CheckpointHandle experts = open_fixture("formats/gguf/experts");
  EXPECT_EQ(shape_of(info_at(experts, index_of(experts, "blk.0.ffn_up_exps"))), (Shape{3, 19, 64}));
  EXPECT_EQ(shape_of(info_at(experts, index_of(experts, "blk.0.ffn_gate_inp.weight"))), (Shape{3, 64}));
}

CheckpointHandle open_as_file(const Bytes& bytes) {
  std::string path = ::testing::TempDir() + "zenwoq_formats_XXXXXX";
  const int file = mkstemp(path.data());
  EXPECT_GE(file, 0);
  EXPECT_EQ(write(file, bytes.data(), bytes.size()), static_cast<ssize_t>(bytes.size()));
  close(file);
  zenwoq_checkpoint* checkpoint = nullptr;
  EXPECT_EQ(zenwoq_checkpoint_open(path.c_str(), nullptr, &checkpoint), ZENWOQ_OK) << zenwoq_last_error();
  unlink(path.c_str());
  return CheckpointHandle(checkpoint);
}

TEST(FormatsApi, ValuesInTheirTypeAndInF32) {
  const Bytes halves = bytes_of<std::uint16_t>({0x3C00, 0xC000, 0x0001, 0x7BFF, 0x8000, 0xFC00});
  SafetensorsBuilder builder;
  builder.tensor("f16", "F16", {2, 3}, halves).tensor("f32", "F32", {}, bytes_of<float>({-1.5f}));
  builder.tensor("i64", "I64", {1}, Bytes(8)).tensor("none", "BF16", {3, 0}, {});
  builder.tensor("deep", "F32", {1, 1, 1, 1, 1, 1, 1, 1, 2}, Bytes(8));
  const CheckpointHandle checkpoint = open_as_file(builder.build());
  const auto values = [&](const char* name, zenwoq_dtype type, void* out, std::size_t bytes) {
    return zenwoq_checkpoint_values(checkpoint.get(), index_of(checkpoint, name), type, out, bytes);
  };
  Bytes same(13, 7);  // at an odd address
  ASSERT_EQ(values("f16", ZENWOQ_F16, same.data() + 1, 12), ZENWOQ_OK) << zenwoq_last_error();
  EXPECT_EQ(Bytes(same.begin() + 1, same.end()), halves);
  std::vector<float> f32(7, 7);
  ASSERT_EQ(values("f16", ZENWOQ_F32, f32.data(), 24), ZENWOQ_OK) << zenwoq_last_error();
  EXPECT_EQ(f32, (std::vector<float>{1, -2, 0x1p-24f, 65504, -0.0f, -INFINITY, 7}));
  ASSERT_EQ(values("f32", ZENWOQ_F32, f32.data(), 4), ZENWOQ_OK) << zenwoq_last_error();
  EXPECT_EQ(f32[0], -1.5f);
  EXPECT_EQ(values("none", ZENWOQ_F32, nullptr, 0), ZENWOQ_OK);
  EXPECT_ERROR(values("f16", ZENWOQ_BF16, f32.data(), 24), ZENWOQ_ERROR_UNSUPPORTED,
               "values as type 3: must be ZENWOQ_F32 (1) or the file's, 2");
  EXPECT_ERROR(values("f16", ZENWOQ_F32, f32.data(), 23), ZENWOQ_ERROR_BUFFER_TOO_SMALL,
               "values_bytes is 23, 24 are needed");
  EXPECT_ERROR(values("f16", ZENWOQ_F32, nullptr, 24), ZENWOQ_ERROR_INVALID_ARGUMENT, "values is NULL");
  EXPECT_ERROR(values("i64", ZENWOQ_F32, f32.data(), 24), ZENWOQ_ERROR_INVALID_ARGUMENT, "i64 is no dense tensor: 1-D");
  EXPECT_ERROR(values("deep", ZENWOQ_F32, f32.data(), 24), ZENWOQ_ERROR_INVALID_ARGUMENT,
               "deep is no dense tensor: 9-D f32, of more than 8 dimensions");
  const zenwoq_tensor_info deep = info_at(checkpoint, index_of(checkpoint, "deep"));
  EXPECT_EQ(deep.rank, 9u);
  EXPECT_EQ(shape_of(deep), Shape(8, 1));
  EXPECT_STREQ(info_at(checkpoint, index_of(checkpoint, "i64")).type, "I64");
  EXPECT_EQ(info_at(checkpoint, index_of(checkpoint, "i64")).source_bytes, 8u);
  const CheckpointHandle layers = open_fixture("mixed.gguf");
  EXPECT_ERROR(zenwoq_checkpoint_values(layers.get(), 0, ZENWOQ_F32, f32.data(), 24), ZENWOQ_ERROR_INVALID_ARGUMENT,
               "is a layer, load it");
  EXPECT_ERROR(zenwoq_checkpoint_values(layers.get(), 9, ZENWOQ_F32, f32.data(), 24), ZENWOQ_ERROR_INVALID_ARGUMENT,
               "index 9: the checkpoint has 4 entries");
}

// A caller that was compiled with the first version of the struct.
TEST(FormatsApi, AnOlderCallersStructIsNotOverrun) {
  const CheckpointHandle checkpoint = open_fixture("mixed.gguf");
  zenwoq_tensor_info info;
  zenwoq_tensor_info_init(&info);
  info.struct_size = 96;
  info.rank = 77;
  EXPECT_EQ(zenwoq_checkpoint_info(checkpoint.get(), 0, &info), ZENWOQ_OK) << zenwoq_last_error();
  EXPECT_EQ(info.kind, ZENWOQ_TENSOR_LAYER);
  EXPECT_EQ(info.rank, 77u);
}

// No dimension says how many blocks a scalar has.
TEST(FormatsApi, AScalarOfBlocksHasNoValues) {
  const CheckpointHandle checkpoint =
      open_as_file(GgufBuilder().tensor("scalar", {}, 8, Bytes(34)).tensor_at("none", {32, 0}, 8, 0).build());
  EXPECT_EQ(info_at(checkpoint, index_of(checkpoint, "scalar")).kind, ZENWOQ_TENSOR_OTHER);
  EXPECT_EQ(zenwoq_checkpoint_values(checkpoint.get(), index_of(checkpoint, "none"), ZENWOQ_F32, nullptr, 0),
            ZENWOQ_OK);
}

// One row a weight, as the file has them.
TEST(FormatsApi, EachExpertHasItsBias) {
  const std::string folder = "formats/mxfp4/gpt_oss", name = "model.layers.0.mlp.experts.gate_up_proj";
  const CheckpointHandle checkpoint = open_fixture(folder);
  const std::size_t index = index_of(checkpoint, name.c_str());
  const zenwoq_tensor_info info = info_at(checkpoint, index);
  const MappedFile file(ZENWOQ_FIXTURES "/" + folder + "/model.safetensors");
  const Tensor rows = parse_safetensors(file.bytes(), folder).tensors.at(name + "_bias");
  ASSERT_EQ(rows.shape, (Shape{info.experts, info.n}));
  ASSERT_EQ(info.bias_type, ZENWOQ_BF16);
  std::vector<std::uint16_t> biases(info.experts * info.n);
  for (std::size_t expert = 0; expert < info.experts; ++expert) {
    ASSERT_EQ(zenwoq_checkpoint_bias(checkpoint.get(), index, expert, ZENWOQ_BF16, biases.data() + expert * info.n,
                                     info.n * 2),
              ZENWOQ_OK)
        << zenwoq_last_error();
  }
  ASSERT_EQ(rows.data.size(), biases.size() * 2);
  EXPECT_EQ(std::memcmp(biases.data(), rows.data.data(), rows.data.size()), 0);
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
  Bytes block(18);
  block[0] = 0, block[1] = 0x7C;  // an infinite scale
  GgufBuilder builder;
  builder.tensor("q.weight", {32, 1}, 2, block).tensor("q", {32, 1}, 2, Bytes(18));
  const CheckpointHandle checkpoint = open_as_file(builder.build());
  zenwoq_weight* weight = nullptr;
  EXPECT_ERROR(zenwoq_checkpoint_load(checkpoint.get(), 0, 0, packing_context(), &weight), ZENWOQ_ERROR_BAD_FILE,
               ": weight q.weight: scale inf at row 0, group 0: must be finite");
  EXPECT_EQ(weight, nullptr);
  std::size_t index = 0;
  EXPECT_ERROR(zenwoq_checkpoint_find(checkpoint.get(), "q", &index), ZENWOQ_ERROR_INVALID_ARGUMENT,
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
