// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// zenwoq check on real layers with generated kernels, on a CPU that has AVX-512 BF16 or in the emulator. The layers are
// those of the fixtures and, if ZENWOQ_MODEL names its file, all of SmolLM2 (tools/fetch_model.sh prints the path).
#include "tools/check.h"

#include <gtest/gtest.h>

#include <cstdlib>

#include "src/api/boundary.h"
#include "tests/support/kernel_host.h"

namespace zenwoq::test {
namespace {

tools::CheckReport check(const std::vector<std::string>& files, const tools::ReadOptions& options = {}) {
  KernelHost host(ZENWOQ_TIER_AVX512BF16);
  zenwoq_context* jit = nullptr;
  zenwoq_context* reference = nullptr;
  zenwoq_context_options capped;
  zenwoq_context_options_init(&capped);
  capped.max_tier = ZENWOQ_TIER_REFERENCE;
  EXPECT_TRUE(create_context(nullptr, host.seams(), &jit).ok());
  EXPECT_EQ(zenwoq_context_create(&capped, &reference), ZENWOQ_OK);
  const tools::CheckReport report = tools::check_files(files, options, jit, reference, false);
  zenwoq_context_destroy(jit);
  zenwoq_context_destroy(reference);
  EXPECT_EQ(host.take_problems(), "");
  return report;
}

void expect_all_right(const tools::CheckReport& report, std::size_t layers) {
  EXPECT_EQ(report.layers.size(), layers);
  EXPECT_EQ(report.bits_equal(), true);
  EXPECT_GT(report.kernels_generated, 0u);
  EXPECT_GT(report.max_error_over_bound(), 0.0);
  EXPECT_LT(report.max_error_over_bound(), 1.0);
  for (const tools::LayerCheck& layer : report.layers) {
    EXPECT_TRUE(layer.right()) << layer.info.name << ": " << layer.error << layer.difference;
    for (const tools::KernelUse& kernel : layer.kernels) EXPECT_TRUE(parse_kernel_name(kernel.name)) << kernel.name;
  }
  std::printf("%zu layers, %llu kernels, error over bound %.4f\n", report.layers.size(),
              static_cast<unsigned long long>(report.kernels_generated), report.max_error_over_bound());
}

const std::string kFixtures = ZENWOQ_FIXTURES "/";

TEST(Check, TorchAoPerGroupPerChannelAndAsymmetric) {
  expect_all_right(check({kFixtures + "torchao_intx.safetensors"}), 3);
}

TEST(Check, ShardsAsTransformersWritesThem) {
  expect_all_right(check({kFixtures + "sharded/model.safetensors.index.json"}), 7);
}

TEST(Check, OpaqueBlobs) {
  expect_all_right(check({kFixtures + "opaque_avx512.safetensors"}), 1);
  tools::ReadOptions avx2;
  avx2.opaque_layout = tools::ReadOptions::OpaqueLayout::avx2;
  expect_all_right(check({kFixtures + "opaque_avx2.safetensors"}, avx2), 1);
}

TEST(Check, Gguf) { expect_all_right(check({kFixtures + "mixed.gguf", kFixtures + "attention.gguf"}), 5); }

TEST(Check, EveryExpert) {
  const tools::CheckReport report = check({kFixtures + "formats/mxfp4/gpt_oss/model.safetensors"});
  EXPECT_EQ(report.bits_equal(), true);
  ASSERT_FALSE(report.layers.empty());
  for (const tools::LayerCheck& layer : report.layers) {
    EXPECT_TRUE(layer.right()) << layer.info.name << ": " << layer.error << layer.difference;
    EXPECT_GT(layer.experts, 1u);
    EXPECT_EQ(layer.experts_checked, layer.experts);
  }
}

TEST(Check, WholeModel) {
  const char* model = std::getenv("ZENWOQ_MODEL");
  if (model == nullptr) GTEST_SKIP() << "ZENWOQ_MODEL is not set: the 210 layers of SmolLM2 are not checked here";
  expect_all_right(check({model}), 210);
}

}  // namespace
}  // namespace zenwoq::test
