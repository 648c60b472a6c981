// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// Checkpoints of tensors in memory: what a file gives, its tensors give when a runtime that has loaded them itself
// hands them over, for every case of fixtures/formats.
#include <gtest/gtest.h>

#include <filesystem>

#include "formats/container/ggml_types.h"
#include "formats/container/gguf_file.h"
#include "formats/container/mapped_file.h"
#include "formats/container/safetensors.h"
#include "tests/support/checkpoint_builder.h"
#include "tests/support/checkpoint_handle.h"
#include "tests/support/guard_buffer.h"
#include "zenwoq/formats.h"

namespace zenwoq::formats::testing {
namespace {

namespace fs = std::filesystem;

// Tensors as a caller has them; shapes are kept for as long as it lives.
struct Given {
  std::vector<Shape> shapes;
  std::vector<zenwoq_tensor> tensors;
  std::string config, metadata;

  explicit Given(std::size_t count) { shapes.reserve(count); }
  void add(const char* name, const char* type, Shape shape, ByteView data) {
    shapes.push_back(std::move(shape));
    zenwoq_tensor tensor;
    zenwoq_tensor_init(&tensor);
    tensor.name = name;
    tensor.type = type;
    tensor.shape = shapes.back().data();
    tensor.rank = shapes.back().size();
    tensor.data = data.data();
    tensor.data_bytes = data.size();
    tensors.push_back(tensor);
  }
  zenwoq_status open(zenwoq_checkpoint** checkpoint) const {
    zenwoq_tensors all;
    zenwoq_tensors_init(&all);
    all.tensors = tensors.data();
    all.count = tensors.size();
    all.config = config.empty() ? nullptr : config.c_str();
    all.metadata = metadata.empty() ? nullptr : metadata.c_str();
    return zenwoq_checkpoint_open_tensors(&all, nullptr, checkpoint);
  }
};

std::vector<std::uint8_t> packed_at(const CheckpointHandle& checkpoint, std::size_t index, std::size_t expert) {
  zenwoq_weight* made = nullptr;
  EXPECT_EQ(zenwoq_checkpoint_load(checkpoint.get(), index, expert, packing_context(), &made), ZENWOQ_OK)
      << zenwoq_last_error();
  const tools::WeightHandle weight(made);
  const void* packed = nullptr;
  std::size_t bytes = 0;
  EXPECT_EQ(zenwoq_weight_packed(made, &packed, &bytes), ZENWOQ_OK);
  const auto* begin = static_cast<const std::uint8_t*>(packed);
  return {begin, begin + bytes};
}

// The layers that both have, which must be the same.
std::size_t same_layers(const CheckpointHandle& file, const CheckpointHandle& memory) {
  std::size_t count = 0, layers = 0;
  EXPECT_EQ(zenwoq_checkpoint_count(file.get(), &count), ZENWOQ_OK);
  for (std::size_t i = 0; i < count; ++i) {
    zenwoq_tensor_info expected, info;
    zenwoq_tensor_info_init(&expected);
    zenwoq_tensor_info_init(&info);
    EXPECT_EQ(zenwoq_checkpoint_info(file.get(), i, &expected), ZENWOQ_OK);
    EXPECT_EQ(zenwoq_checkpoint_info(memory.get(), i, &info), ZENWOQ_OK) << zenwoq_last_error();
    EXPECT_STREQ(info.name, expected.name);
    EXPECT_STREQ(info.reason, expected.reason);
    EXPECT_STREQ(info.format, expected.format);
    EXPECT_STREQ(info.quantization, expected.quantization);
    EXPECT_EQ(info.has_bias, expected.has_bias);
    if (info.kind != ZENWOQ_TENSOR_LAYER) continue;
    for (std::size_t expert = 0; expert < info.experts; ++expert) {
      EXPECT_EQ(packed_at(memory, i, expert), packed_at(file, i, expert)) << info.name;
    }
    ++layers;
  }
  return layers;
}

CheckpointHandle open_file(const fs::path& path) {
  zenwoq_checkpoint* checkpoint = nullptr;
  EXPECT_EQ(zenwoq_checkpoint_open(path.c_str(), nullptr, &checkpoint), ZENWOQ_OK) << zenwoq_last_error();
  return CheckpointHandle(checkpoint);
}

CheckpointHandle open_given(const Given& given) {
  zenwoq_checkpoint* checkpoint = nullptr;
  EXPECT_EQ(given.open(&checkpoint), ZENWOQ_OK) << zenwoq_last_error();
  return CheckpointHandle(checkpoint);
}

std::string text_of(const fs::path& file) {
  return fs::exists(file) ? std::string(MappedFile(file.string()).bytes().text()) : std::string();
}

TEST(OpenTensors, OfSafetensorsFilesGiveTheSameWeights) {
  std::size_t layers = 0;
  for (const fs::directory_entry& entry : fs::recursive_directory_iterator(fs::path(ZENWOQ_FIXTURES) / "formats")) {
    const fs::path file = entry.path() / "model.safetensors";
    if (!fs::exists(file) || fs::exists(entry.path() / "hf_quant_config.json")) continue;
    SCOPED_TRACE(file);
    const MappedFile mapped(file.string());
    const TensorSet set = parse_safetensors(mapped.bytes(), "file");
    Given given(set.tensors.size());
    for (const auto& [name, tensor] : set.tensors) {
      given.add(name.c_str(), tensor.dtype.c_str(), tensor.shape, tensor.data);
    }
    given.config = text_of(entry.path() / "config.json");
    if (const std::string older = text_of(entry.path() / "quantize_config.json"); !older.empty()) {
      given.config = "{\"quantization_config\": " + older + "}";
    }
    nlohmann::json metadata = nlohmann::json::object();
    for (const auto& [key, values] : set.metadata) metadata[key] = *values.begin();
    given.metadata = metadata.dump();
    layers += same_layers(open_file(file), open_given(given));
  }
  EXPECT_GT(layers, 50u);
}

TEST(OpenTensors, OfGgufFilesGiveTheSameWeights) {
  std::size_t layers = 0;
  for (const fs::directory_entry& entry : fs::recursive_directory_iterator(fs::path(ZENWOQ_FIXTURES))) {
    if (entry.path().extension() != ".gguf") continue;
    SCOPED_TRACE(entry.path());
    const MappedFile mapped(entry.path().string());
    GgufFile file;
    try {
      file = parse_gguf(mapped.bytes(), "file");
    } catch (const ReadError&) {
      continue;  // one that is damaged on purpose
    }
    Given given(file.tensors.size());
    for (const GgufTensor& tensor : file.tensors) {
      given.add(tensor.name.c_str(), find_ggml_type(tensor.type)->name,
                Shape(tensor.dimensions.rbegin(), tensor.dimensions.rend()), tensor.data);
    }
    if (file.shards == 1) layers += same_layers(open_file(entry.path()), open_given(given));
  }
  EXPECT_GT(layers, 10u);
}

TEST(OpenTensors, Errors) {
  const Bytes bytes(64);
  const auto expect_error = [](const Given& given, zenwoq_status status, const char* text) {
    auto* checkpoint = reinterpret_cast<zenwoq_checkpoint*>(8);
    EXPECT_EQ(given.open(&checkpoint), status);
    EXPECT_CONTAINS(std::string(zenwoq_last_error()), text);
    EXPECT_EQ(checkpoint, nullptr);
  };
  const auto given_one = [&](const char* name, const char* type, Shape shape) {
    Given given(1);
    given.add(name, type, std::move(shape), view(bytes));
    return given;
  };
  expect_error(given_one("a\n", "F32", {16}), ZENWOQ_ERROR_BAD_FILE, "tensors in memory: ");
  expect_error(given_one("a", "float", {16}), ZENWOQ_ERROR_BAD_FILE, "tensor a: is of the unknown type float");
  expect_error(given_one("a", "F32", {17}), ZENWOQ_ERROR_BAD_FILE,
               "tensor a: F32 of shape [17] has 64 bytes, it should have 68");
  expect_error(given_one("a", "F32", {15}), ZENWOQ_ERROR_BAD_FILE, "has 64 bytes, it should have 60");
  expect_error(given_one("a", "F32", {1ull << 32, 1ull << 32}), ZENWOQ_ERROR_BAD_FILE, "more than there can be");
  expect_error(given_one("a", "q4_0", {2, 33}), ZENWOQ_ERROR_BAD_FILE, "rows of 33 values");
  expect_error(given_one("a", "q4_0", {1, 64}), ZENWOQ_ERROR_BAD_FILE, "has 64 bytes, it should have 36");
  expect_error(given_one("a", "q4_0", {2, 64}), ZENWOQ_ERROR_BAD_FILE, "has 64 bytes, it should have 72");
  expect_error(given_one("a", "q4_0", {1ull << 60, 1ull << 20}), ZENWOQ_ERROR_BAD_FILE, "more bytes than there can be");
  Given twice(2);
  twice.add("a", "F32", {16}, view(bytes));
  twice.add("a", "F32", {16}, view(bytes));
  expect_error(twice, ZENWOQ_ERROR_BAD_FILE, "tensor a: is there twice");
  const std::pair<const char*, Shape> f32 = {"F32", {16}}, q4_0 = {"q4_0", {0}}, i8 = {"i8", {64}};
  for (const auto& [first, second] : {std::pair(i8, i8), std::pair(i8, f32), std::pair(f32, i8), std::pair(i8, q4_0)}) {
    Given kinds(2);
    kinds.add("a", first.first, first.second, view(bytes));
    kinds.add("a", second.first, second.second, second.first == q4_0.first ? ByteView() : view(bytes));
    expect_error(kinds, ZENWOQ_ERROR_BAD_FILE, "tensor a: is there twice");
  }
  Given bad = given_one("a", "F32", {16});
  bad.metadata = "{\"a\": 1}";
  expect_error(bad, ZENWOQ_ERROR_BAD_FILE, "metadata of a is no string");
  bad.metadata = "[]";
  expect_error(bad, ZENWOQ_ERROR_BAD_FILE, "metadata: is no JSON object");
  Given no_name = given_one("a", "F32", {16});
  no_name.tensors[0].name = nullptr;
  expect_error(no_name, ZENWOQ_ERROR_INVALID_ARGUMENT, "tensors[0] has no name");
  Given no_data = given_one("a", "F32", {16});
  no_data.tensors[0].data = nullptr;
  expect_error(no_data, ZENWOQ_ERROR_INVALID_ARGUMENT, "tensors[0].data is NULL");
  Given high_rank = given_one("a", "F32", {16});
  high_rank.tensors[0].rank = 9;
  expect_error(high_rank, ZENWOQ_ERROR_INVALID_ARGUMENT, "tensors[0].rank is 9: must be at most 8");
  twice.tensors[1].struct_size = 48;
  expect_error(twice, ZENWOQ_ERROR_INVALID_ARGUMENT, "zenwoq_tensor->struct_size is 48, must be 56");
  zenwoq_checkpoint* checkpoint = nullptr;
  EXPECT_EQ(zenwoq_checkpoint_open_tensors(nullptr, nullptr, &checkpoint), ZENWOQ_ERROR_INVALID_ARGUMENT);
}

// Nothing behind the array is read.
TEST(OpenTensors, TensorsOfAnotherSizeThanTheFirstAreNotRead) {
  test::GuardBuffer array(2 * sizeof(zenwoq_tensor));
  auto* tensors = reinterpret_cast<zenwoq_tensor*>(array.data());
  const float value = 1;
  tensors[0] = {sizeof(zenwoq_tensor), "a", "F32", nullptr, 0, &value, sizeof value};
  tensors[1] = {4096, "b", "F32", nullptr, 0, &value, sizeof value};
  zenwoq_tensors all;
  zenwoq_tensors_init(&all);
  all.tensors = tensors;
  all.count = 2;
  zenwoq_checkpoint* checkpoint = nullptr;
  EXPECT_EQ(zenwoq_checkpoint_open_tensors(&all, nullptr, &checkpoint), ZENWOQ_ERROR_INVALID_ARGUMENT);
  EXPECT_CONTAINS(std::string(zenwoq_last_error()), "tensors[1].struct_size is 4096, that of the first 56");
}

TEST(OpenTensors, EmptyTensorsOfBlocksHaveRowsOfAnyLength) {
  Given given(1);
  given.add("a", "q8_0", {0, 31}, {});
  const CheckpointHandle checkpoint = open_given(given);
  zenwoq_tensor_info info;
  zenwoq_tensor_info_init(&info);
  ASSERT_EQ(zenwoq_checkpoint_info(checkpoint.get(), 0, &info), ZENWOQ_OK);
  EXPECT_EQ(info.shape[1], 31u);
}

// As they lie in the array of a caller whose struct is larger.
TEST(OpenTensors, ANewerCallersTensorsLieFurtherApart) {
  struct Newer {
    zenwoq_tensor tensor;
    std::uint64_t newer_field;
  };
  const std::uint64_t shape[] = {2};
  const float values[2] = {1, 2};
  std::vector<Newer> newer(2);
  const char* names[] = {"a", "b"};
  for (std::size_t i = 0; i < 2; ++i) {
    newer[i].tensor = {sizeof(Newer), names[i], "F32", shape, 1, values, sizeof values};
    newer[i].newer_field = 0;
  }
  zenwoq_tensors all;
  zenwoq_tensors_init(&all);
  all.tensors = &newer[0].tensor;
  all.count = 2;
  zenwoq_checkpoint* made = nullptr;
  ASSERT_EQ(zenwoq_checkpoint_open_tensors(&all, nullptr, &made), ZENWOQ_OK) << zenwoq_last_error();
  const CheckpointHandle checkpoint(made);
  std::size_t index = 9;
  EXPECT_EQ(zenwoq_checkpoint_find(made, "b", &index), ZENWOQ_OK);
  EXPECT_EQ(index, 1u);
  newer[1].newer_field = 1;
  EXPECT_EQ(zenwoq_checkpoint_open_tensors(&all, nullptr, &made), ZENWOQ_ERROR_INVALID_ARGUMENT);
  EXPECT_CONTAINS(std::string(zenwoq_last_error()), "zenwoq_tensor has fields set that this version");
}

}  // namespace
}  // namespace zenwoq::formats::testing
