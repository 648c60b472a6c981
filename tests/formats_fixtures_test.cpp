// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// Every case of fixtures/formats by the C API: opened as it lies on a disk, each layer loaded and dequantized, each
// value that of the framework that owns the format (fixtures/formats/README.md), after the framework's own rounding.
// Layers that are not read are listed, and must be left alone.
#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <map>

#include "formats/container/mapped_file.h"
#include "formats/container/safetensors.h"
#include "jit/number.h"
#include "tests/support/checkpoint_handle.h"
#include "tools/api_handles.h"
#include "zenwoq/formats.h"

namespace zenwoq::formats {
namespace {

namespace fs = std::filesystem;

const fs::path kCases = fs::path(ZENWOQ_FIXTURES) / "formats";

// Layers that are left alone in cases that are read, and why.
const std::map<std::string, const char*> kLeftAlone = {
    {"bitsandbytes/nf4_across_rows_b64/model.layers.1.self_attn.q_proj", "blocks of 64 in rows of 33"},
};

CheckpointHandle open(const fs::path& path, bool avx2) {
  zenwoq_checkpoint_options options;
  zenwoq_checkpoint_options_init(&options);
  options.opaque_layout = avx2 ? ZENWOQ_OPAQUE_AVX2 : ZENWOQ_OPAQUE_AVX512;
  zenwoq_checkpoint* checkpoint = nullptr;
  zenwoq_checkpoint_open(path.c_str(), &options, &checkpoint);
  return CheckpointHandle(checkpoint);
}

// How near a value must be to the framework's.
class Rounding {
 public:
  explicit Rounding(const std::string& text)
      : f16_(text.find("f16") != std::string::npos && text.find("bf16") == std::string::npos),
        bf16_(text.find("bf16") != std::string::npos),
        steps_(text.find("steps") != std::string::npos) {}

  // row_size: the largest of the row's expected values. Where a framework rounds a product before it adds an offset,
  // the error is that of the product, which is at most twice as large.
  bool same(float exact, float expected, float row_size) const {
    if (std::isnan(exact) || std::isnan(expected)) return std::isnan(exact) && std::isnan(expected);
    const float rounded = f16_    ? static_cast<float>(static_cast<_Float16>(exact))
                          : bf16_ ? bf16_to_f32(f32_to_bf16(exact))
                                  : exact;
    if (rounded == expected) return true;  // zeros may differ in their sign
    if (!steps_) return false;
    const float unit = std::ldexp(1.0f, bf16_ ? -7 : f16_ ? -10 : -23);
    const float least = f16_ ? 0x1p-23f : 0.0f;  // of a subnormal
    return std::fabs(exact - expected) <= unit * row_size + least;
  }

 private:
  bool f16_, bf16_, steps_;
};

struct Counts {
  std::size_t layers = 0, values = 0, left_alone = 0, dense = 0;
};

// A dense tensor, every bit of which must be the framework's.
void check_dense(const zenwoq_checkpoint* checkpoint, std::size_t index, const zenwoq_tensor_info& info,
                 const Tensor& expected) {
  ASSERT_EQ(std::vector<std::uint64_t>(info.shape, info.shape + info.rank), expected.shape) << info.name;
  EXPECT_EQ(info.values_type, ZENWOQ_F32) << info.name;
  std::vector<std::uint8_t> values(expected.data.size());
  ASSERT_EQ(zenwoq_checkpoint_values(checkpoint, index, ZENWOQ_F32, values.data(), values.size()), ZENWOQ_OK)
      << zenwoq_last_error();
  for (std::size_t i = 0; i < values.size() / 4; ++i) {
    std::uint32_t bits, want;
    std::memcpy(&bits, values.data() + 4 * i, 4);
    std::memcpy(&want, expected.data.data() + 4 * i, 4);
    ASSERT_EQ(bits, want) << info.name << " " << info.type << " at " << i;
  }
}

// One case. `file`: what is opened, a folder or a file in it.
void check(const std::string& name, const fs::path& file, zenwoq_context* context, Counts* counts) {
  SCOPED_TRACE(name + " " + file.filename().string());
  const MappedFile expected_file((kCases / name / "expected.safetensors").string());
  const TensorSet expected = parse_safetensors(expected_file.bytes(), name);
  const Rounding rounding(*expected.metadata.at("rounding").begin());
  const CheckpointHandle checkpoint = open(file, file.filename() == "avx2.safetensors");
  ASSERT_NE(checkpoint, nullptr) << zenwoq_last_error();
  for (const auto& [layer, tensor] : expected.tensors) {
    if (layer == "activations" || layer == "outputs" || layer.starts_with("own.")) continue;
    std::size_t index = 0;
    zenwoq_tensor_info info;
    zenwoq_tensor_info_init(&info);
    const bool found = zenwoq_checkpoint_find(checkpoint.get(), layer.c_str(), &index) == ZENWOQ_OK ||
                       zenwoq_checkpoint_find(checkpoint.get(), (layer + ".weight").c_str(), &index) == ZENWOQ_OK;
    ASSERT_TRUE(found) << layer << ": " << zenwoq_last_error();
    ASSERT_EQ(zenwoq_checkpoint_info(checkpoint.get(), index, &info), ZENWOQ_OK);
    if (const auto reason = kLeftAlone.find(name + "/" + layer); reason != kLeftAlone.end()) {
      EXPECT_NE(info.kind, ZENWOQ_TENSOR_LAYER) << layer << ": is read now: take it off the list";
      EXPECT_NE(std::string(info.reason).find(reason->second), std::string::npos) << info.reason;
      ++counts->left_alone;
      continue;
    }
    if (info.kind == ZENWOQ_TENSOR_DENSE) {
      check_dense(checkpoint.get(), index, info, tensor);
      ++counts->dense;
      continue;
    }
    ASSERT_EQ(info.kind, ZENWOQ_TENSOR_LAYER) << layer << ": " << info.reason;
    std::vector<std::uint64_t> shape = {info.n, info.k};
    if (tensor.shape.size() == 3) shape.insert(shape.begin(), info.experts);
    ASSERT_EQ(tensor.shape, shape) << layer;
    for (std::size_t expert = 0; expert < info.experts; ++expert) {
      zenwoq_weight* weight = nullptr;
      ASSERT_EQ(zenwoq_checkpoint_load(checkpoint.get(), index, expert, context, &weight), ZENWOQ_OK)
          << zenwoq_last_error();
      std::vector<float> values(info.n * info.k);
      ASSERT_EQ(zenwoq_weight_dequantize(weight, 0, info.n, values.data(), values.size() * 4), ZENWOQ_OK);
      EXPECT_STREQ(zenwoq_weight_text(weight), info.quantization);
      std::size_t packed_bytes = 0;
      const void* packed = nullptr;
      ASSERT_EQ(zenwoq_weight_packed(weight, &packed, &packed_bytes), ZENWOQ_OK);
      EXPECT_EQ(packed_bytes * info.experts, info.packed_bytes);
      zenwoq_weight_destroy(weight);
      std::size_t different = 0;
      for (std::size_t i = 0; i < values.size(); ++i) {
        const auto expected_at = [&](std::size_t at) {
          return load_as_f32(ZENWOQ_F32, tensor.data.data(), expert * values.size() + at);
        };
        const float want = expected_at(i);
        float row_size = 0;
        for (std::size_t k = 0; k < info.k; ++k)
          row_size = std::max(row_size, std::fabs(expected_at(i / info.k * info.k + k)));
        if (rounding.same(values[i], want, row_size)) continue;
        if (different++ == 0)
          ADD_FAILURE() << layer << " at " << i / info.k << ", " << i % info.k << ": " << values[i] << ", must be "
                        << want;
      }
      EXPECT_EQ(different, 0u) << layer << " " << info.quantization << ": of " << values.size() << " values";
      counts->values += values.size();
    }
    ++counts->layers;
  }
}

TEST(FormatsFixtures, EveryValueIsTheFrameworks) {
  zenwoq_context_options options;
  zenwoq_context_options_init(&options);
  options.threads = 1;
  const tools::ContextHandle context = tools::make_context_from(options);
  Counts counts;
  std::size_t cases = 0;
  for (const auto& family : fs::directory_iterator(kCases)) {
    if (!family.is_directory()) continue;
    for (const auto& entry : fs::directory_iterator(family.path())) {
      const std::string name = fs::relative(entry.path(), kCases).string();
      ++cases;
      if (name == "torchao/opaque") {
        for (const char* file : {"avx2.safetensors", "avx512.safetensors"})
          check(name, entry.path() / file, context.get(), &counts);
      } else {
        check(name, entry.path(), context.get(), &counts);
      }
    }
  }
  std::printf("%zu cases, %zu layers, %zu values, %zu layers left alone, %zu dense tensors\n", cases, counts.layers,
              counts.values, counts.left_alone, counts.dense);
  EXPECT_GE(cases, 75u);
  EXPECT_GE(counts.layers, 127u);
  EXPECT_EQ(counts.left_alone, kLeftAlone.size());
  EXPECT_EQ(counts.dense, 16u) << "a layer that is dense is no success";
}

}  // namespace
}  // namespace zenwoq::formats
