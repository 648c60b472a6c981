// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// Golden listings: every byte of a few kernels of each tier is in the tree as text, so that no change of the generator
// moves code unseen. Bytes are compared, not the disassembler's words. To accept a change, and see it in the diff:
//   ZENWOQ_UPDATE_GOLDENS=1 build/tests/golden_test
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <array>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "tools/listing.h"
#include "tools/planned_kernels.h"

namespace zenwoq::test {
namespace {

namespace fs = std::filesystem;

const fs::path kFolder = ZENWOQ_GOLDEN;

// One kernel for each thing that the generator does differently.
constexpr const char* kKernels[] = {
    // Zen 4's tiles: one row, two, totals in memory, totals in registers
    "gemm_bf16_t4_g128_k4096_sbf16_z0_m1x4_yf32_avx512bf16_df_p4096e2t1",
    "gemm_bf16_t4_g32_k4096_sf16_z0_m2x4_ybf16_avx512bf16_df_p12288t1",
    "gemm_bf16_t4_g128_k4096_sbf16_z0_m4x4_ybf16_avx512bf16_p4096",
    "gemm_bf16_t4_g128_k4096_sbf16_z0_m7x2_ybf16_bias_avx512bf16_p4096",
    // Zen 5's: two panels at once, twelve rows
    "gemm_bf16_t4_g128_k4096_sbf16_z0_m1x8_yf32_avx512bf16_p4096",
    "gemm_bf16_t4_g128_k4096_sbf16_z0_m12x2_ybf16_avx512bf16_df_xs",
    // zeros and offsets, types of scales
    "gemm_bf16_t4_g64_k4096_sf32_zi_m3x4_yf32_avx512bf16_p8192t1",
    "gemm_bf16_t4_g32_k1536_sf16_za_m1x4_yf32_bias_avx512bf16_df_p4096e2t1",
    // one group, a step of fewer than 8 k, narrow tiles
    "gemm_bf16_t4_pc_k1531_sbf16_zi_m2x2_yf32_bias_avx512bf16_df",
    "gemm_bf16_t4_pc_k7_sf16_z0_m1x1_ybf16_avx512bf16",
    "gemm_bf16_t4_g64_k100_sf32_za_m5x1_yf32_avx512bf16",
    "gemm_bf16_t4_g8_k24_sbf16_zi_m8x2_ybf16_bias_avx512bf16_df_xs",
    // AVX2: integers and tables in registers, one strip, four, four in passes; scratch, with groups that fit a segment
    // and one that waits
    "gemm_bf16_i4_g128_k4096_sbf16_z0_m1x4_yf32_avx2_p4096",
    "gemm_bf16_i4_g32_k4096_sf16_zi_m4x1_ybf16_bias_avx2_p8192t1",
    "gemm_bf16_t4_g64_k1531_sf32_za_m2x2_yf32_avx2",
    "gemm_bf16_i4_g64_k1531_sf16_zi_m3x4_yf32_bias_avx2_p8192t1",
    "gemm_bf16_i4_g32_k4096_sf16_za_m6x2sc_ybf16_bias_avx2_p4096t1",
    "gemm_bf16_t4_pc_k1531_sbf16_zi_m3x2sc_yf32_avx2",
    // long epilogues and pairs: totals in registers and in memory, tensor scales and biases of two weights, operands
    "gemm_bf16_t4_g128_k4096_sbf16_z0_m1x4gu_ybf16_silu_avx512bf16_df_p4096e2t1",
    "gemm_bf16_t4_g64_k1531_sf16_zi_m4x2gu_yf32_ts_bias_swigluoai_avx512bf16",
    "gemm_bf16_t4_g128_k4096_sbf16_z0_m7x2_ybf16_bias_gelu_mul_add2_avx512bf16_p4096",
    "gemm_bf16_t4_g128_k4096_sbf16_z0_m1x8_yf32_gelutanh_avx512bf16_p4096",
    "gemm_bf16_i4_g128_k4096_sbf16_z0_m1x4gu_yf32_silu_avx2_p4096",
    "gemm_bf16_t4_g64_k1531_sf32_za_m2x2_ybf16_td_bias_gelu_mul_add2_avx2",
    "gemm_bf16_i4_pc_k64_sf16_z0_m4x1_yf32_relu_add_avx2",
    "gemm_bf16_i4_g32_k4096_su8f16_za_m6x1scgu_ybf16_ts_bias_silu_avx2_p4096t1",
    "gemm_bf16_t4_pc_k1531_sbf16_zi_m3x2sc_yf32_gelutanh_mul_add2_avx2",
};

std::string text_of(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

// The bytes that a listing shows: "  00012  4883ec08   sub rsp, 8" has offset and bytes in its first two words.
std::string bytes_in(const std::string& listing) {
  std::istringstream lines(listing);
  std::string bytes;
  for (std::string line; std::getline(lines, line);) {
    std::string offset, hex;
    if (line.rfind("  ", 0) == 0 && std::istringstream(line) >> offset >> hex && offset[0] != ';') bytes += hex;
  }
  return bytes;
}

// The difference of the golden listing and the new one by `diff -u`.
std::string difference(const fs::path& golden, const std::string& listing) {
  const fs::path now = fs::temp_directory_path() / fmt::format("zenwoq-golden-{}.lst", ::getpid());
  std::ofstream(now, std::ios::binary) << listing;
  const std::string command = fmt::format("diff -u '{}' '{}' | head -n 120", golden.string(), now.string());
  std::string text;
  if (FILE* diff = popen(command.c_str(), "r")) {
    std::array<char, 4096> part;
    for (std::size_t count; (count = std::fread(part.data(), 1, part.size(), diff)) > 0;)
      text.append(part.data(), count);
    pclose(diff);
  }
  fs::remove(now);
  return text;
}

class Golden : public testing::TestWithParam<const char*> {};

TEST_P(Golden, HasItsBytes) {
  const auto key = parse_kernel_name(GetParam());
  ASSERT_TRUE(key.has_value()) << GetParam();
  const std::string listing = tools::listing(tools::emit_kernel(*key));
  const fs::path golden = kFolder / (std::string(GetParam()) + ".lst");
  if (std::getenv("ZENWOQ_UPDATE_GOLDENS") != nullptr) {
    std::ofstream(golden, std::ios::binary) << listing;
    GTEST_SKIP() << "written: " << golden;
  }
  const std::string expected = bytes_in(text_of(golden));
  ASSERT_GT(expected.size(), 400u) << golden << " holds no listing";
  EXPECT_EQ(bytes_in(listing) == expected, true)
      << difference(golden, listing) << "\nIf that is what you meant: ZENWOQ_UPDATE_GOLDENS=1 build/tests/golden_test";
}

INSTANTIATE_TEST_SUITE_P(Kernels, Golden, testing::ValuesIn(kKernels),
                         [](const auto& i) { return std::string(i.param); });

TEST(GoldenFolder, HoldsTheseListingsAndNoOther) {
  std::size_t files = 0;
  for (const auto& entry : fs::directory_iterator(kFolder)) files += entry.path().extension() == ".lst";
  EXPECT_EQ(files, std::size(kKernels));
}

}  // namespace
}  // namespace zenwoq::test
