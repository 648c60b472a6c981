// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// The C boundary: each wrong argument gets its own status and a sentence with the values in it, and outputs stay as
// they were.
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <climits>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <string>
#include <utility>
#include <vector>

#include "tests/support/expect_error.h"
#include "tests/support/random_weight.h"
#include "tests/support/small_stack.h"
#include "tools/api_handles.h"
#include "zenwoq/zenwoq.h"

namespace {

using testing::Each;
using testing::HasSubstr;

class Api : public testing::Test {
 protected:
  static constexpr size_t kN = 70, kK = 48, kGroup = 16, kGroups = 3;

  void SetUp() override {
    zenwoq_context_options options;
    zenwoq_context_options_init(&options);
    options.threads = 2;
    ASSERT_EQ(zenwoq_context_create(&options, &context_), ZENWOQ_OK) << zenwoq_last_error();
    zenwoq_weight_desc_init(&desc_);
    desc_.n = kN, desc_.k = kK, desc_.group_size = kGroup, desc_.scale_type = ZENWOQ_F32;
    zenwoq_weight_source_init(&source_);
    source_.codes = codes_.data(), source_.codes_bytes = codes_.size();
    source_.scales = scales_.data(), source_.scales_bytes = scales_.size() * 4;
    ASSERT_EQ(zenwoq_weight_create(context_, &desc_, &source_, &weight_), ZENWOQ_OK) << zenwoq_last_error();
    ASSERT_EQ(zenwoq_linear_create(context_, weight_, nullptr, &linear_), ZENWOQ_OK) << zenwoq_last_error();
    zenwoq_run_args_init(&args_);
    args_.m = 2, args_.x = x_.data(), args_.x_bytes = x_.size() * 2, args_.y = y_.data(), args_.y_bytes = y_.size() * 4;
  }
  void TearDown() override {
    zenwoq_linear_destroy(linear_);
    zenwoq_weight_destroy(weight_);
    zenwoq_context_destroy(context_);
  }

  // A run that must fail and leave y alone.
  void expect_run_error(zenwoq_status status, const char* text) {
    std::fill(y_.begin(), y_.end(), 7.0f);
    EXPECT_ERROR(zenwoq_linear_run(linear_, &args_), status, text);
    EXPECT_EQ(y_, std::vector<float>(y_.size(), 7.0f)) << text;
  }

  zenwoq_context* context_ = nullptr;
  zenwoq_weight* weight_ = nullptr;
  zenwoq_linear* linear_ = nullptr;
  zenwoq_weight_desc desc_;
  zenwoq_weight_source source_;
  zenwoq_run_args args_;
  std::vector<uint8_t> codes_ = std::vector<uint8_t>(kN * kK / 2, 0x9A);
  std::vector<float> scales_ = std::vector<float>(kN * kGroups, 0.5f);
  std::vector<int8_t> zeros_ = std::vector<int8_t>(kN * kGroups, 8);
  std::vector<uint16_t> x_ = std::vector<uint16_t>(2 * kK, 0x3F80);
  std::vector<float> y_ = std::vector<float>(2 * kN, 7.0f);
};

TEST_F(Api, RunsAndClearsTheErrorText) {
  EXPECT_ERROR(zenwoq_linear_run(nullptr, &args_), ZENWOQ_ERROR_INVALID_ARGUMENT, "linear is NULL");
  ASSERT_EQ(zenwoq_linear_run(linear_, &args_), ZENWOQ_OK);
  EXPECT_STREQ(zenwoq_last_error(), "");
  // Codes 10 and 9 mean +2 and +1 times 0.5: 24 pairs of 1.5.
  EXPECT_EQ(y_, std::vector<float>(y_.size(), 36.0f));
}

TEST_F(Api, ReservedFieldsMustBeZero) {
  args_.reserved = 1;
  expect_run_error(ZENWOQ_ERROR_INVALID_ARGUMENT, "reserved is 1: must be 0");
}

TEST_F(Api, ZeroRowsDoNothing) {
  args_.m = 0, args_.x = nullptr, args_.y = nullptr, args_.x_bytes = args_.y_bytes = 0;
  EXPECT_EQ(zenwoq_linear_run(linear_, &args_), ZENWOQ_OK) << zenwoq_last_error();
}

TEST_F(Api, ContextErrors) {
  zenwoq_context_options options;
  zenwoq_context_options_init(&options);
  auto* context = reinterpret_cast<zenwoq_context*>(8);
  EXPECT_ERROR(zenwoq_context_create(&options, nullptr), ZENWOQ_ERROR_INVALID_ARGUMENT, "context is NULL");
  options.struct_size = 5;
  EXPECT_ERROR(zenwoq_context_create(&options, &context), ZENWOQ_ERROR_INVALID_ARGUMENT, "struct_size is 5, must be");
  EXPECT_EQ(context, nullptr);
  zenwoq_context_options_init(&options);
  options.max_tier = static_cast<zenwoq_tier>(11);
  EXPECT_ERROR(zenwoq_context_create(&options, &context), ZENWOQ_ERROR_INVALID_ARGUMENT, "max_tier 11");
  zenwoq_context_options_init(&options);
  options.tuning = "zen9";
  EXPECT_ERROR(zenwoq_context_create(&options, &context), ZENWOQ_ERROR_INVALID_ARGUMENT,
               "\"zen9\": must be zen2, zen3, zen4, zen5 or generic");
  zenwoq_context_options_init(&options);
  options.threads = 5000;
  EXPECT_ERROR(zenwoq_context_create(&options, &context), ZENWOQ_ERROR_INVALID_ARGUMENT, "threads is 5000");
}

TEST_F(Api, ALongerStructOfANewerCallerIsTakenIfItsTailIsZero) {
  struct {
    zenwoq_context_options options;
    uint64_t newer_field;
  } newer{};
  zenwoq_context_options_init(&newer.options);
  newer.options.struct_size = sizeof newer;
  newer.options.threads = 1;
  zenwoq_context* context = nullptr;
  EXPECT_EQ(zenwoq_context_create(&newer.options, &context), ZENWOQ_OK) << zenwoq_last_error();
  zenwoq_context_destroy(context);
  newer.newer_field = 1;
  EXPECT_ERROR(zenwoq_context_create(&newer.options, &context), ZENWOQ_ERROR_INVALID_ARGUMENT, "does not know");
}

// The first version of zenwoq_run_args ended at `threads`: what follows an old caller's struct is not for the library.
TEST_F(Api, AShorterStructOfAnOlderCallerIsTaken) {
  zenwoq_run_args args = args_;
  args.struct_size = offsetof(zenwoq_run_args, threads);
  args.threads = 0xDDDDDDDD;
  args.reserved = 0xDDDDDDDD;
  EXPECT_EQ(zenwoq_linear_run(linear_, &args), ZENWOQ_OK) << zenwoq_last_error();
  args.struct_size -= 1;
  EXPECT_ERROR(zenwoq_linear_run(linear_, &args), ZENWOQ_ERROR_INVALID_ARGUMENT, "struct_size is 87, must be 184");
}

// A host that has threads of its own gives them to each run: tasks are cut for as many as it says, whatever the context
// has.
TEST(ApiRun, TheThreadsOfOneRun) {
  constexpr size_t kN = 1024, kK = 1024;
  const zenwoq::tools::ContextHandle context = zenwoq::tools::make_context({.threads = 1, .tuning = {}});
  const std::vector<uint8_t> codes(kN * kK / 2, 0x9A);
  const std::vector<float> scales(kN, 0.5f);
  zenwoq_weight_desc desc;
  zenwoq_weight_desc_init(&desc);
  desc.n = kN, desc.k = kK, desc.scale_type = ZENWOQ_F32;
  zenwoq_weight_source source;
  zenwoq_weight_source_init(&source);
  source.codes = codes.data(), source.codes_bytes = codes.size();
  source.scales = scales.data(), source.scales_bytes = scales.size() * 4;
  const zenwoq::tools::WeightHandle weight = zenwoq::tools::make_weight(context.get(), desc, source);
  const zenwoq::tools::LinearHandle linear = zenwoq::tools::make_linear(context.get(), weight.get());
  const std::vector<uint16_t> x(4 * kK, 0x3F80);
  std::vector<float> y(4 * kN);
  zenwoq_run_args args;
  zenwoq_run_args_init(&args);
  args.m = 4, args.x = x.data(), args.x_bytes = x.size() * 2, args.y = y.data(), args.y_bytes = y.size() * 4;
  size_t most = 0;
  args.parallel_for = [](void* user, size_t n, void (*task)(void* arg, size_t i), void* arg) {
    *static_cast<size_t*>(user) = std::max(*static_cast<size_t*>(user), n);
    while (n-- > 0) task(arg, n);
  };
  args.parallel_for_user = &most;
  const std::vector<float> expected(y.size(), 768.0f);
  for (const uint32_t threads : {1u, 3u, 4u}) {
    most = 0;
    std::fill(y.begin(), y.end(), 7.0f);
    args.threads = threads;
    EXPECT_EQ(zenwoq_linear_run(linear.get(), &args), ZENWOQ_OK) << zenwoq_last_error();
    EXPECT_EQ(y, expected);
    EXPECT_EQ(most, threads == 1 ? 0 : threads);
  }
  args.threads = 0;  // which would be the context's: one, and the host's threads would never be asked
  EXPECT_ERROR(zenwoq_linear_run(linear.get(), &args), ZENWOQ_ERROR_INVALID_ARGUMENT,
               "parallel_for is given and threads is 0: must be how many tasks to cut");
}

// arithmetic.md, "Infinities and large activations": row n of W has code n % 16 all along.
class Extremes {
 public:
  static constexpr size_t kN = 64, kK = 64;

  // y of one row of x, all of it `value`, except for `first` in front; z of all groups, or an offset of 0.5.
  static std::vector<float> run(zenwoq_tier tier, zenwoq_zero_kind kind, int z, float first, float value) {
    std::vector<uint8_t> codes(kN * kK);
    for (size_t i = 0; i < codes.size(); ++i) codes[i] = static_cast<uint8_t>(i / kK % 16);
    const std::vector<float> scales(kN * 2, 1.0f), offsets(kN * 2, 0.5f);
    const std::vector<int8_t> zeros(kN * 2, static_cast<int8_t>(z));
    zenwoq_weight_desc desc;
    zenwoq_weight_desc_init(&desc);
    desc.n = kN, desc.k = kK, desc.group_size = 32, desc.scale_type = ZENWOQ_F32, desc.zero_kind = kind;
    zenwoq_weight_source source;
    zenwoq_weight_source_init(&source);
    source.code_layout = ZENWOQ_CODES_U8, source.codes = codes.data(), source.codes_bytes = codes.size();
    source.scales = scales.data(), source.scales_bytes = scales.size() * 4;
    if (kind == ZENWOQ_ZERO_INTEGER) source.zeros = zeros.data(), source.zeros_bytes = zeros.size();
    if (kind == ZENWOQ_ZERO_OFFSET) source.zeros = offsets.data(), source.zeros_bytes = offsets.size() * 4;
    const zenwoq::tools::ContextHandle context = zenwoq::tools::make_context({1, tier, {}});
    const zenwoq::tools::WeightHandle weight = zenwoq::tools::make_weight(context.get(), desc, source);
    const zenwoq::tools::LinearHandle linear = zenwoq::tools::make_linear(context.get(), weight.get());
    std::vector<float> x(kK, value), y(kN);
    x[0] = first;
    zenwoq_run_args args;
    zenwoq_run_args_init(&args);
    args.m = 1, args.x_type = ZENWOQ_F32, args.x = x.data(), args.x_bytes = kK * 4, args.y = y.data(),
    args.y_bytes = kN * 4;
    EXPECT_EQ(zenwoq_linear_run(linear.get(), &args), ZENWOQ_OK) << zenwoq_last_error();
    return y;
  }

  // "+", "-", "n" or "." for +inf, -inf, NaN, finite, of codes 0 to 15.
  static std::string kinds(const std::vector<float>& y) {
    std::string text;
    for (size_t n = 0; n < 16; ++n) text += std::isnan(y[n]) ? 'n' : std::isfinite(y[n]) ? '.' : y[n] > 0 ? '+' : '-';
    return text;
  }
};

TEST(ApiRun, InfinitiesAndLargeActivations) {
  const float infinity = std::numeric_limits<float>::infinity();
  for (const zenwoq_tier tier : {ZENWOQ_TIER_REFERENCE, ZENWOQ_TIER_AVX2, ZENWOQ_TIER_BEST}) {
    const auto kinds = [tier](zenwoq_zero_kind kind, int z, float first, float value) {
      return Extremes::kinds(Extremes::run(tier, kind, z, first, value));
    };
    // Values are -8 to 7: without zero points the signs of the weights, NaN for a weight of 0.
    EXPECT_EQ(kinds(ZENWOQ_ZERO_NONE, 0, infinity, 1), "--------n+++++++");
    EXPECT_EQ(kinds(ZENWOQ_ZERO_NONE, 0, -infinity, 1), "++++++++n-------");
    EXPECT_EQ(kinds(ZENWOQ_ZERO_INTEGER, 8, infinity, 1), "nnnnnnnnnnnnnnnn") << "0 * inf";
    EXPECT_EQ(kinds(ZENWOQ_ZERO_INTEGER, 5, infinity, 1), "nnnnnnnnn+++++++") << "inf - inf, weights of 0 to 2 or less";
    EXPECT_EQ(kinds(ZENWOQ_ZERO_INTEGER, 12, infinity, 1), "--------nnnnnnnn");
    EXPECT_EQ(kinds(ZENWOQ_ZERO_OFFSET, 0, infinity, 1), "nnnnnnnnn+++++++");
    // K = 64 in groups of 32, T + Z = 16: 2^118 is safe, 2^117 with offsets too.
    EXPECT_EQ(kinds(ZENWOQ_ZERO_NONE, 0, 0x1p118f, 0x1p118f), "................");
    for (const int z : {0, 8, 16})
      EXPECT_EQ(kinds(ZENWOQ_ZERO_INTEGER, z, 0x1p117f, 0x1p117f), "................") << z;
    EXPECT_EQ(kinds(ZENWOQ_ZERO_OFFSET, 0, 0x1p117f, 0x1p117f), "................");
    EXPECT_EQ(kinds(ZENWOQ_ZERO_NONE, 0, 1e37f, 1e37f), "--------.+++++++") << "64 * 1e37 is beyond f32";
    EXPECT_EQ(kinds(ZENWOQ_ZERO_INTEGER, 8, 1e38f, 1e38f), "nnnnnnnnnnnnnnnn") << "xsum is, whatever the codes";
  }
}

// Beyond struct_size, a struct that the library fills belongs to the caller, whichever of the two is newer.
TEST_F(Api, OfAFilledStructOnlyStructSizeBytesAreWritten) {
  zenwoq_context* context = nullptr;
  ASSERT_EQ(zenwoq_context_create(nullptr, &context), ZENWOQ_OK) << zenwoq_last_error();
  struct {
    zenwoq_registry_stats stats;
    unsigned char newer[16], beyond[8];
  } s;
  std::memset(&s, 0xEE, sizeof s);
  s.stats.struct_size = sizeof s.stats + sizeof s.newer;
  EXPECT_EQ(zenwoq_context_registry_stats(context, &s.stats), ZENWOQ_OK) << zenwoq_last_error();
  EXPECT_EQ(s.stats.struct_size, sizeof s.stats + sizeof s.newer) << "stays the caller's";
  EXPECT_EQ(s.stats.kernels, 0u);
  EXPECT_THAT(s.newer, Each(0)) << "a field that this library does not know reads as zero";
  EXPECT_THAT(s.beyond, Each(0xEE));
  s.stats.struct_size = 40;
  EXPECT_ERROR(zenwoq_context_registry_stats(context, &s.stats), ZENWOQ_ERROR_INVALID_ARGUMENT, "struct_size is 40");
  zenwoq_context_destroy(context);
}

TEST_F(Api, TheEnvironmentCapsTheTier) {
  zenwoq_context* context = nullptr;
  setenv("ZENWOQ_TIER", "avx1024", 1);
  EXPECT_ERROR(zenwoq_context_create(nullptr, &context), ZENWOQ_ERROR_INVALID_ARGUMENT,
               "\"avx1024\": must be reference, avx2 or avx512bf16");
  zenwoq_context_options options;
  zenwoq_context_options_init(&options);
  options.max_tier = ZENWOQ_TIER_AVX512BF16;
  const struct {
    const char* cap;
    zenwoq_tier most;
  } caps[] = {{"reference", ZENWOQ_TIER_REFERENCE}, {"avx2", ZENWOQ_TIER_AVX2}, {"avx512bf16", ZENWOQ_TIER_AVX512BF16}};
  for (const auto& [cap, most] : caps) {
    setenv("ZENWOQ_TIER", cap, 1);
    setenv("ZENWOQ_ISA", "reference", 1);  // the old name has no effect
    ASSERT_EQ(zenwoq_context_create(&options, &context), ZENWOQ_OK) << zenwoq_last_error();
    unsetenv("ZENWOQ_TIER");
    unsetenv("ZENWOQ_ISA");
    zenwoq_cpu_info info;
    zenwoq_cpu_info_init(&info);
    ASSERT_EQ(zenwoq_context_cpu_info(context, &info), ZENWOQ_OK);
    EXPECT_LE(info.tier, most);
    const std::string capped = fmt::format("capped to {} by the environment variable ZENWOQ_TIER", cap);
    for (const zenwoq_tier tier : {ZENWOQ_TIER_REFERENCE, ZENWOQ_TIER_AVX2, ZENWOQ_TIER_AVX512BF16}) {
      const std::string why_not = zenwoq_context_why_not(context, tier);
      if (tier > most) {
        EXPECT_EQ(why_not, capped);
      }
      if (tier == info.tier) {
        EXPECT_EQ(why_not, "");
      }
      if (tier > info.tier) {
        EXPECT_NE(why_not, "") << "then it would run";
      }
    }
    EXPECT_EQ(std::string(info.tier_reason).empty(), info.tier == ZENWOQ_TIER_AVX512BF16);
    zenwoq_context_destroy(context);
  }
}

TEST_F(Api, TiersHaveNames) {
  EXPECT_STREQ(zenwoq_tier_name(ZENWOQ_TIER_REFERENCE), "reference");
  EXPECT_STREQ(zenwoq_tier_name(ZENWOQ_TIER_AVX2), "avx2");
  EXPECT_STREQ(zenwoq_tier_name(ZENWOQ_TIER_AVX512BF16), "avx512bf16");
  EXPECT_EQ(zenwoq_tier_name(ZENWOQ_TIER_BEST), nullptr);
  EXPECT_EQ(zenwoq_context_why_not(nullptr, ZENWOQ_TIER_AVX2), nullptr);
}

TEST_F(Api, DescriptionErrors) {
  size_t bytes = 3;
  const zenwoq_weight_desc good = desc_;
  EXPECT_ERROR(zenwoq_weight_packed_bytes(nullptr, &bytes), ZENWOQ_ERROR_INVALID_ARGUMENT,
               "zenwoq_weight_desc is NULL");
  EXPECT_ERROR(zenwoq_weight_packed_bytes(&desc_, nullptr), ZENWOQ_ERROR_INVALID_ARGUMENT, "bytes is NULL");
  desc_.n = 0;
  EXPECT_ERROR(zenwoq_weight_packed_bytes(&desc_, &bytes), ZENWOQ_ERROR_INVALID_ARGUMENT, "n = 0, k = 48");
  desc_ = good, desc_.group_size = 12;
  EXPECT_ERROR(zenwoq_weight_packed_bytes(&desc_, &bytes), ZENWOQ_ERROR_INVALID_ARGUMENT,
               "group_size 12: must be a multiple of 8");
  desc_ = good, desc_.scale_type = static_cast<zenwoq_dtype>(9);
  EXPECT_ERROR(zenwoq_weight_packed_bytes(&desc_, &bytes), ZENWOQ_ERROR_INVALID_ARGUMENT, "scale_type 9");
  desc_ = good, desc_.zero_kind = static_cast<zenwoq_zero_kind>(-1);
  EXPECT_ERROR(zenwoq_weight_packed_bytes(&desc_, &bytes), ZENWOQ_ERROR_INVALID_ARGUMENT, "zero_kind -1");
  desc_ = good, desc_.table[3] = std::numeric_limits<float>::infinity();
  EXPECT_ERROR(zenwoq_weight_packed_bytes(&desc_, &bytes), ZENWOQ_ERROR_INVALID_ARGUMENT, "table[3] = inf");
  for (const size_t n : {SIZE_MAX, SIZE_MAX / 2, size_t{1} << 62, size_t{1} << 59}) {
    desc_ = good, desc_.n = n;
    EXPECT_ERROR(zenwoq_weight_packed_bytes(&desc_, &bytes), ZENWOQ_ERROR_OVERFLOW, "packed bytes exceed");
    desc_ = good, desc_.k = n;
    EXPECT_ERROR(zenwoq_weight_packed_bytes(&desc_, &bytes), ZENWOQ_ERROR_OVERFLOW, "packed bytes exceed");
  }
  EXPECT_EQ(bytes, 3u);
}

TEST_F(Api, SourceErrors) {
  zenwoq_weight* weight = nullptr;
  const zenwoq_weight_source good = source_;
  const auto expect = [&](zenwoq_status status, const char* text) {
    weight = reinterpret_cast<zenwoq_weight*>(8);
    EXPECT_ERROR(zenwoq_weight_create(context_, &desc_, &source_, &weight), status, text);
    EXPECT_EQ(weight, nullptr);
    source_ = good;
  };
  source_.codes = nullptr;
  expect(ZENWOQ_ERROR_INVALID_ARGUMENT, "codes is NULL, 1680 bytes are needed");
  source_.codes_bytes = 1679;
  expect(ZENWOQ_ERROR_BUFFER_TOO_SMALL, "codes_bytes is 1679, 1680 are needed");
  source_.codes_row_bytes = 23;
  expect(ZENWOQ_ERROR_INVALID_ARGUMENT, "codes_row_bytes is 23, a row of k = 48 has 24");
  source_.codes_row_bytes = SIZE_MAX / 2;
  expect(ZENWOQ_ERROR_OVERFLOW, "overflow");
  source_.scales_bytes = 839;
  expect(ZENWOQ_ERROR_BUFFER_TOO_SMALL, "scales_bytes is 839, 840 are needed");
  source_.zeros = zeros_.data();
  expect(ZENWOQ_ERROR_INVALID_ARGUMENT, "zeros given, but the description says that there are none");
  source_.super_scales = zeros_.data();
  expect(ZENWOQ_ERROR_INVALID_ARGUMENT, "super_scales given, but the description says that there are none");
  source_.code_layout = static_cast<zenwoq_code_layout>(14);
  expect(ZENWOQ_ERROR_INVALID_ARGUMENT, "code_layout 14");
  source_.parameters_by_group = 2;
  expect(ZENWOQ_ERROR_INVALID_ARGUMENT, "parameters_by_group is 2");
  source_.reserved = 1;
  expect(ZENWOQ_ERROR_INVALID_ARGUMENT, "reserved is 1");
  scales_[2 * kGroups + 1] = std::numeric_limits<float>::quiet_NaN();
  expect(ZENWOQ_ERROR_INVALID_ARGUMENT, "scale nan at row 2, group 1: must be finite");
  scales_[2 * kGroups + 1] = 1.0f;
  desc_.zero_kind = ZENWOQ_ZERO_INTEGER;
  expect(ZENWOQ_ERROR_INVALID_ARGUMENT, "zeros is NULL, 210 bytes are needed");
  zeros_[5] = 17;
  source_.zeros = zeros_.data(), source_.zeros_bytes = zeros_.size();
  expect(ZENWOQ_ERROR_INVALID_ARGUMENT, "zero 17 at row 1, group 2: must be in 0..16");
}

// Each says what was wrong, with the values.
TEST_F(Api, DescriptionsOfTheNewKindsThatCannotBe) {
  const zenwoq_weight_desc good = desc_;
  size_t bytes = 0;
  const auto expect = [&](const char* text) {
    EXPECT_ERROR(zenwoq_weight_packed_bytes(&desc_, &bytes), ZENWOQ_ERROR_INVALID_ARGUMENT, text);
    desc_ = good;
  };
  desc_.permuted = 2, expect("permuted is 2: must be 0 or 1");
  desc_.x_scaled = 3, expect("x_scaled is 3: must be 0 or 1");
  desc_.reserved = 1, expect("reserved is 1");
  desc_.tensor_scale_kind = static_cast<zenwoq_tensor_scale_kind>(3), expect("tensor_scale_kind 3");
  desc_.tensor_scale_kind = ZENWOQ_TENSOR_SCALE_BY, desc_.tensor_scale = 0,
  expect("tensor_scale is 0: must be finite, and not 0");
  desc_.tensor_scale_kind = ZENWOQ_TENSOR_SCALE_TIMES, desc_.tensor_scale = INFINITY, expect("tensor_scale is inf");
  desc_.zero_kind = ZENWOQ_ZERO_FLOAT, desc_.zero_type = ZENWOQ_E8M0, expect("zero_type 4");
  desc_.zero_kind = ZENWOQ_ZERO_OFFSET, desc_.scale_type = ZENWOQ_E4M3, expect("offsets of scale_type e4m3");
  desc_.scale_type = ZENWOQ_U8_F16, expect("k = 48 in groups of 16: must be a multiple of eight groups");
  desc_.scale_type = static_cast<zenwoq_dtype>(8), expect("scale_type 8");
}

// What a weight of two levels with permuted and scaled columns was made of comes back.
TEST_F(Api, ExtrasComeBack) {
  zenwoq::test::Rng rng(3);
  zenwoq::test::RandomWeight made = zenwoq::test::random_weight(rng, 70, 256, 32, {ZENWOQ_U8_F16, ZENWOQ_ZERO_OFFSET});
  zenwoq::test::permute_columns(rng, &made);
  zenwoq::test::scale_columns(rng, &made);
  const zenwoq_weight_desc desc = made.desc();
  const zenwoq_weight_source source = made.source();
  zenwoq_weight* weight = nullptr;
  ASSERT_EQ(zenwoq_weight_create(context_, &desc, &source, &weight), ZENWOQ_OK) << zenwoq_last_error();
  std::vector<uint8_t> super_scales(made.super_scales.size()), super_offsets(made.super_offsets.size());
  std::vector<uint32_t> permutation(256);
  std::vector<float> x_scale(256);
  zenwoq_weight_extras extras;
  zenwoq_weight_extras_init(&extras);
  extras.super_scales = super_scales.data(), extras.super_scales_bytes = super_scales.size();
  extras.super_offsets = super_offsets.data(), extras.super_offsets_bytes = super_offsets.size();
  extras.permutation = permutation.data(), extras.permutation_bytes = 1024;
  extras.x_scale = x_scale.data(), extras.x_scale_bytes = 1024;
  ASSERT_EQ(zenwoq_weight_unpack_extras(weight, &extras), ZENWOQ_OK) << zenwoq_last_error();
  EXPECT_EQ(super_scales, made.super_scales);
  EXPECT_EQ(super_offsets, made.super_offsets);
  EXPECT_EQ(permutation, made.permutation);
  EXPECT_EQ(x_scale, made.x_scale);
  extras.permutation_bytes = 1023;
  EXPECT_ERROR(zenwoq_weight_unpack_extras(weight, &extras), ZENWOQ_ERROR_BUFFER_TOO_SMALL,
               "permutation_bytes is 1023, 1024 are needed");
  EXPECT_STREQ(zenwoq_weight_text(weight), made.text().c_str());
  zenwoq_weight_destroy(weight);
  extras.permutation_bytes = 1024;
  EXPECT_ERROR(zenwoq_weight_unpack_extras(weight_, &extras), ZENWOQ_ERROR_INVALID_ARGUMENT, "super_scales: int4 sym");
}

TEST_F(Api, TextsSayTheTrueName) {
  const auto text = [](zenwoq_code_table table, zenwoq_dtype scale, zenwoq_zero_kind zeros, size_t group) {
    zenwoq_weight_desc desc;
    zenwoq_weight_desc_init(&desc);
    desc.n = 1, desc.k = 512, desc.group_size = group, desc.scale_type = scale, desc.zero_kind = zeros;
    EXPECT_EQ(zenwoq_code_table_fill(table, desc.table), ZENWOQ_OK);
    return zenwoq::quantization_of(desc).text();
  };
  EXPECT_EQ(text(ZENWOQ_TABLE_MINUS_8, ZENWOQ_BF16, ZENWOQ_ZERO_NONE, 128), "int4 sym per-group 128, scale bf16");
  EXPECT_EQ(text(ZENWOQ_TABLE_NF4, ZENWOQ_F32, ZENWOQ_ZERO_NONE, 64), "nf4 per-group 64, scale f32");
  EXPECT_EQ(text(ZENWOQ_TABLE_FP4, ZENWOQ_F32, ZENWOQ_ZERO_NONE, 64), "fp4 per-group 64, scale f32");
  EXPECT_EQ(text(ZENWOQ_TABLE_E2M1, ZENWOQ_E8M0, ZENWOQ_ZERO_NONE, 32), "mxfp4 per-group 32, scale e8m0");
  EXPECT_EQ(text(ZENWOQ_TABLE_E2M1, ZENWOQ_E4M3, ZENWOQ_ZERO_NONE, 16), "nvfp4 per-group 16, scale e4m3");
  EXPECT_EQ(text(ZENWOQ_TABLE_E2M1, ZENWOQ_F16, ZENWOQ_ZERO_NONE, 0), "e2m1 per-channel, scale f16");
  EXPECT_EQ(text(ZENWOQ_TABLE_IQ4_NL, ZENWOQ_F16, ZENWOQ_ZERO_NONE, 32), "iq4_nl per-group 32, scale f16");
  EXPECT_EQ(text(ZENWOQ_TABLE_IQ4_NL, ZENWOQ_S8_F16, ZENWOQ_ZERO_NONE, 32), "iq4_xs per-group 32, scale s8f16");
  EXPECT_EQ(text(ZENWOQ_TABLE_UNSIGNED, ZENWOQ_U8_F16, ZENWOQ_ZERO_OFFSET, 32),
            "int4 offset per-group 32, scale u8f16");
  EXPECT_EQ(text(ZENWOQ_TABLE_UNSIGNED, ZENWOQ_F16, ZENWOQ_ZERO_FLOAT, 32),
            "int4 asym per-group 32, scale f16, zero bf16");
}

TEST_F(Api, CodesOutOfTheirRangeAreNamed) {
  std::vector<uint8_t> wide(kN * kK, 3);
  source_.codes = wide.data(), source_.codes_bytes = wide.size(), source_.code_layout = ZENWOQ_CODES_U8;
  wide[66 * kK + 47] = 16;
  zenwoq_weight* weight = nullptr;
  EXPECT_ERROR(zenwoq_weight_create(context_, &desc_, &source_, &weight), ZENWOQ_ERROR_INVALID_ARGUMENT,
               "code 16 at row 66, column 47: must be in 0..15");
  source_.code_layout = ZENWOQ_CODES_S8;
  wide[66 * kK + 47] = static_cast<uint8_t>(-9);
  EXPECT_ERROR(zenwoq_weight_create(context_, &desc_, &source_, &weight), ZENWOQ_ERROR_INVALID_ARGUMENT,
               "code -9 at row 66, column 47: must be in -8..7");
}

TEST_F(Api, PackErrors) {
  size_t bytes = 0;
  ASSERT_EQ(zenwoq_weight_packed_bytes(&desc_, &bytes), ZENWOQ_OK);
  std::vector<uint8_t> memory(bytes + 128);
  uint8_t* packed = memory.data() + (64 - reinterpret_cast<uintptr_t>(memory.data()) % 64);
  EXPECT_ERROR(zenwoq_weight_pack(&desc_, &source_, 0, kN, packed + 1, bytes), ZENWOQ_ERROR_INVALID_ARGUMENT,
               "must be 64-byte aligned");
  EXPECT_ERROR(zenwoq_weight_pack(&desc_, &source_, 0, kN, packed, bytes - 1), ZENWOQ_ERROR_BUFFER_TOO_SMALL,
               "packed_bytes is");
  EXPECT_ERROR(zenwoq_weight_pack(&desc_, &source_, 0, kN, nullptr, bytes), ZENWOQ_ERROR_INVALID_ARGUMENT,
               "packed is NULL");
  EXPECT_ERROR(zenwoq_weight_pack(&desc_, &source_, 1, kN, packed, bytes), ZENWOQ_ERROR_INVALID_ARGUMENT,
               "rows [1, 70) of n = 70");
  EXPECT_ERROR(zenwoq_weight_pack(&desc_, &source_, 0, 63, packed, bytes), ZENWOQ_ERROR_INVALID_ARGUMENT,
               "rows [0, 63) of n = 70");
  EXPECT_ERROR(zenwoq_weight_pack(&desc_, &source_, 64, 128, packed, bytes), ZENWOQ_ERROR_INVALID_ARGUMENT,
               "rows [64, 128) of n = 70");
  EXPECT_EQ(memory, std::vector<uint8_t>(memory.size()));
}

TEST_F(Api, OpenErrors) {
  const void* packed = nullptr;
  size_t bytes = 0;
  ASSERT_EQ(zenwoq_weight_packed(weight_, &packed, &bytes), ZENWOQ_OK);
  std::vector<uint8_t> copy(static_cast<const uint8_t*>(packed), static_cast<const uint8_t*>(packed) + bytes);
  zenwoq_weight* weight = nullptr;
  EXPECT_ERROR(zenwoq_weight_open(nullptr, bytes, ZENWOQ_COPY, &weight), ZENWOQ_ERROR_INVALID_ARGUMENT,
               "packed is NULL");
  EXPECT_ERROR(zenwoq_weight_open(packed, bytes, static_cast<zenwoq_ownership>(2), &weight),
               ZENWOQ_ERROR_INVALID_ARGUMENT, "ownership 2");
  for (const size_t cut : {size_t{0}, size_t{255}, size_t{256}, bytes - 1}) {
    EXPECT_ERROR(zenwoq_weight_open(copy.data(), cut, ZENWOQ_COPY, &weight), ZENWOQ_ERROR_BAD_PACKED,
                 std::to_string(cut));
  }
  // A change of any byte of the header is noticed.
  for (size_t i = 0; i < 256; ++i) {
    for (const uint8_t flip : {0x01, 0x80, 0xFF}) {
      copy[i] ^= flip;
      EXPECT_EQ(zenwoq_weight_open(copy.data(), bytes, ZENWOQ_COPY, &weight), ZENWOQ_ERROR_BAD_PACKED) << i;
      EXPECT_EQ(weight, nullptr);
      const bool other_known_version = i == 8 && flip == 1;
      EXPECT_THAT(zenwoq_last_error(), HasSubstr(i < 8                            ? "magic"
                                                 : i < 16 && !other_known_version ? "version"
                                                                                  : "damaged"))
          << i;
      copy[i] ^= flip;
    }
  }
  // Nor is a header taken whose checksum fits, but not its offsets to its description.
  for (const size_t i : {112, 120, 128, 136}) {  // offset of the panels, bytes of a panel, bytes in all, reserved
    std::vector<uint8_t> forged = copy;
    forged[i] ^= 0x40;
    uint64_t checksum = 0xCBF29CE484222325u;
    for (size_t byte = 0; byte < 248; ++byte) checksum = (checksum ^ forged[byte]) * 0x100000001B3u;
    std::memcpy(&forged[248], &checksum, sizeof checksum);
    EXPECT_ERROR(zenwoq_weight_open(forged.data(), bytes, ZENWOQ_COPY, &weight), ZENWOQ_ERROR_BAD_PACKED,
                 "offsets do not belong");
  }
  EXPECT_EQ(zenwoq_weight_open(copy.data(), bytes, ZENWOQ_COPY, &weight), ZENWOQ_OK) << zenwoq_last_error();
  zenwoq_weight_destroy(weight);
}

// Who keeps the bytes hears once that nothing needs them any longer, and never after an error.
TEST_F(Api, KeptBytesAreReleasedOnce) {
  const void* packed = nullptr;
  size_t bytes = 0;
  ASSERT_EQ(zenwoq_weight_packed(weight_, &packed, &bytes), ZENWOQ_OK);
  int released = 0;
  const auto release = [](void* user) { ++*static_cast<int*>(user); };
  const auto* unaligned = static_cast<const uint8_t*>(packed) + 1;
  zenwoq_weight* weight = nullptr;
  EXPECT_ERROR(zenwoq_weight_open_kept(packed, bytes, nullptr, &released, &weight), ZENWOQ_ERROR_INVALID_ARGUMENT,
               "release is NULL");
  EXPECT_ERROR(zenwoq_weight_open_kept(nullptr, bytes, release, &released, &weight), ZENWOQ_ERROR_INVALID_ARGUMENT,
               "packed is NULL");
  EXPECT_ERROR(zenwoq_weight_open_kept(unaligned, bytes - 1, release, &released, &weight),
               ZENWOQ_ERROR_INVALID_ARGUMENT, "must be 64-byte aligned");
  EXPECT_ERROR(zenwoq_weight_open_kept(packed, bytes - 1, release, &released, &weight), ZENWOQ_ERROR_BAD_PACKED,
               "cut short");
  EXPECT_EQ(weight, nullptr);
  EXPECT_EQ(released, 0);
  ASSERT_EQ(zenwoq_weight_open_kept(packed, bytes, release, &released, &weight), ZENWOQ_OK) << zenwoq_last_error();
  const void* borrowed = nullptr;
  ASSERT_EQ(zenwoq_weight_packed(weight, &borrowed, &bytes), ZENWOQ_OK);
  EXPECT_EQ(borrowed, packed);
  zenwoq_linear* linear = nullptr;
  ASSERT_EQ(zenwoq_linear_create(context_, weight, nullptr, &linear), ZENWOQ_OK) << zenwoq_last_error();
  zenwoq_weight_destroy(weight);
  EXPECT_EQ(released, 0);
  zenwoq_linear_destroy(linear);
  EXPECT_EQ(released, 1);
}

TEST_F(Api, LinearErrors) {
  zenwoq_linear* linear = nullptr;
  zenwoq_linear_desc desc;
  zenwoq_linear_desc_init(&desc);
  EXPECT_ERROR(zenwoq_linear_create(nullptr, weight_, &desc, &linear), ZENWOQ_ERROR_INVALID_ARGUMENT,
               "context is NULL");
  EXPECT_ERROR(zenwoq_linear_create(context_, nullptr, &desc, &linear), ZENWOQ_ERROR_INVALID_ARGUMENT,
               "weight is NULL");
  desc.output_type = ZENWOQ_F16;
  EXPECT_ERROR(zenwoq_linear_create(context_, weight_, &desc, &linear), ZENWOQ_ERROR_INVALID_ARGUMENT, "output_type 2");
  desc.output_type = ZENWOQ_F32;
  desc.bias = scales_.data(), desc.bias_bytes = kN * 4 - 1;
  EXPECT_ERROR(zenwoq_linear_create(context_, weight_, &desc, &linear), ZENWOQ_ERROR_BUFFER_TOO_SMALL,
               "bias_bytes is 279, 280 are needed");
  desc.bias_type = static_cast<zenwoq_dtype>(0);
  EXPECT_ERROR(zenwoq_linear_create(context_, weight_, &desc, &linear), ZENWOQ_ERROR_INVALID_ARGUMENT, "bias_type 0");
}

TEST_F(Api, RunErrors) {
  const zenwoq_run_args good = args_;
  args_.x = nullptr;
  expect_run_error(ZENWOQ_ERROR_INVALID_ARGUMENT, "x is NULL, 192 bytes are needed");
  args_ = good, args_.y = nullptr;
  expect_run_error(ZENWOQ_ERROR_INVALID_ARGUMENT, "y is NULL, 560 bytes are needed");
  args_ = good, args_.x_bytes = 191;
  expect_run_error(ZENWOQ_ERROR_BUFFER_TOO_SMALL, "x_bytes is 191, 192 are needed");
  args_ = good, args_.y_bytes = 559;
  expect_run_error(ZENWOQ_ERROR_BUFFER_TOO_SMALL, "y_bytes is 559, 560 are needed");
  args_ = good, args_.ldx = 47;
  expect_run_error(ZENWOQ_ERROR_INVALID_ARGUMENT, "ldx is 47, a row has 48 elements");
  args_ = good, args_.ldy = 69;
  expect_run_error(ZENWOQ_ERROR_INVALID_ARGUMENT, "ldy is 69, a row has 70 elements");
  args_ = good, args_.ldx = 49;
  expect_run_error(ZENWOQ_ERROR_BUFFER_TOO_SMALL, "x_bytes is 192, 194 are needed");
  args_ = good, args_.m = SIZE_MAX;
  expect_run_error(ZENWOQ_ERROR_OVERFLOW, "overflow");
  args_ = good, args_.ldx = SIZE_MAX / 2;
  expect_run_error(ZENWOQ_ERROR_OVERFLOW, "overflow");
  args_ = good, args_.x_type = static_cast<zenwoq_dtype>(4);
  expect_run_error(ZENWOQ_ERROR_INVALID_ARGUMENT, "x_type 4");
  args_ = good, args_.struct_size = 0;
  expect_run_error(ZENWOQ_ERROR_INVALID_ARGUMENT, "struct_size is 0");
  args_ = good, args_.x = y_.data();
  expect_run_error(ZENWOQ_ERROR_INVALID_ARGUMENT, "overlap");
}

TEST_F(Api, WorkspaceIsAskedForAndChecked) {
  size_t bytes = 1;
  ASSERT_EQ(zenwoq_linear_workspace_bytes(linear_, 1, ZENWOQ_BF16, &bytes), ZENWOQ_OK);
  EXPECT_EQ(bytes, 0u);
  constexpr size_t kM = 1000;
  ASSERT_EQ(zenwoq_linear_workspace_bytes(linear_, kM, ZENWOQ_F32, &bytes), ZENWOQ_OK);
  EXPECT_GE(bytes, kM * kK * 2);
  std::vector<float> x(kM * kK, 1.0f);
  y_.assign(kM * kN, 7.0f);
  std::vector<uint8_t> workspace(bytes);
  args_.m = kM, args_.x_type = ZENWOQ_F32, args_.x = x.data(), args_.x_bytes = x.size() * 4, args_.y = y_.data(),
  args_.y_bytes = y_.size() * 4;
  args_.workspace = workspace.data(), args_.workspace_bytes = bytes - 1;
  expect_run_error(ZENWOQ_ERROR_BUFFER_TOO_SMALL, "workspace_bytes is");
  args_.workspace_bytes = bytes;
  EXPECT_EQ(zenwoq_linear_run(linear_, &args_), ZENWOQ_OK) << zenwoq_last_error();
  EXPECT_EQ(y_, std::vector<float>(y_.size(), 36.0f));
  EXPECT_ERROR(zenwoq_linear_workspace_bytes(linear_, SIZE_MAX / 8, ZENWOQ_F32, &bytes), ZENWOQ_ERROR_OVERFLOW,
               "workspace of m =");
}

// Kernels of many rows keep decoded codes, sums and totals on the stack: most of them where a group outlasts a segment.
TEST_F(Api, RunsOn64KiBOfStack) {
  constexpr std::size_t kRows = 96, kLongK = 512, kColumns = 64;
  for (const zenwoq_tier tier : {ZENWOQ_TIER_REFERENCE, ZENWOQ_TIER_AVX2, ZENWOQ_TIER_BEST}) {
    std::vector<uint8_t> codes(kColumns * kLongK / 2, 0x9A);
    std::vector<float> scales(kColumns, 0.5f), y(kRows * kColumns);
    std::vector<uint16_t> x(kRows * kLongK, 0x3F80);
    desc_.n = kColumns, desc_.k = kLongK, desc_.group_size = 0;
    source_.codes = codes.data(), source_.codes_bytes = codes.size();
    source_.scales = scales.data(), source_.scales_bytes = scales.size() * 4;
    const zenwoq::tools::ContextHandle context = zenwoq::tools::make_context({1, tier, {}});
    const zenwoq::tools::WeightHandle weight = zenwoq::tools::make_weight(context.get(), desc_, source_);
    const zenwoq::tools::LinearHandle linear = zenwoq::tools::make_linear(context.get(), weight.get());
    ASSERT_EQ(zenwoq_linear_prepare(linear.get(), kRows),
              ZENWOQ_OK);  // generating code is not promised so small a stack
    args_.m = kRows, args_.x = x.data(), args_.x_bytes = x.size() * 2, args_.y = y.data(), args_.y_bytes = y.size() * 4;
    zenwoq::test::on_64_kib_of_stack(
        [&] { EXPECT_EQ(zenwoq_linear_run(linear.get(), &args_), ZENWOQ_OK) << zenwoq_last_error(); });
    EXPECT_THAT(y, Each(kLongK / 2 * 1.5f));
  }
}

// Bytes at any address give the same bits as a linear, for every bias type and number of threads.
TEST_F(Api, PackedBytesRunAsALinearOfThem) {
  constexpr size_t kM = 5;
  std::vector<uint16_t> x(kM * kK);
  for (size_t i = 0; i < x.size(); ++i) x[i] = static_cast<uint16_t>(0x3F80 + i % 97);
  args_.m = kM, args_.x = x.data(), args_.x_bytes = x.size() * 2;
  std::vector<uint8_t> bias(kN * 4 + 1);
  for (size_t i = 0; i < bias.size(); ++i) bias[i] = static_cast<uint8_t>(i % 60);
  size_t bytes = 0;
  const void* packed_bytes = nullptr;
  ASSERT_EQ(zenwoq_weight_packed(weight_, &packed_bytes, &bytes), ZENWOQ_OK);
  std::vector<uint8_t> memory(bytes + 64);
  for (const zenwoq_dtype type : {ZENWOQ_F32, ZENWOQ_F16, ZENWOQ_BF16}) {
    for (const size_t shift : {0, 1, 32}) {
      std::memcpy(memory.data() + shift, packed_bytes, bytes);
      zenwoq_packed packed;
      zenwoq_packed_init(&packed);
      packed.packed = memory.data() + shift, packed.packed_bytes = bytes, packed.n = kN, packed.k = kK;
      zenwoq_linear_desc desc;
      zenwoq_linear_desc_init(&desc);
      desc.bias_type = type;
      if (shift != 32) desc.bias = bias.data() + shift, desc.bias_bytes = kN * 4;
      zenwoq_linear* linear = nullptr;
      ASSERT_EQ(zenwoq_linear_create(context_, weight_, &desc, &linear), ZENWOQ_OK) << zenwoq_last_error();
      std::vector<float> expected(kM * kN), y(kM * kN);
      args_.y = expected.data(), args_.y_bytes = expected.size() * 4;
      ASSERT_EQ(zenwoq_linear_run(linear, &args_), ZENWOQ_OK) << zenwoq_last_error();
      zenwoq_linear_destroy(linear);
      for (args_.threads = 0; args_.threads < 4; ++args_.threads) {
        args_.y = y.data();
        std::fill(y.begin(), y.end(), 7.0f);
        ASSERT_EQ(zenwoq_packed_run(context_, &packed, &desc, &args_), ZENWOQ_OK) << zenwoq_last_error();
        EXPECT_EQ(std::memcmp(y.data(), expected.data(), y.size() * 4), 0)
            << type << ", " << shift << ", " << args_.threads;
      }
      args_.threads = 0;
    }
  }
}

TEST_F(Api, PackedRunErrors) {
  zenwoq_packed packed;
  zenwoq_packed_init(&packed);
  ASSERT_EQ(zenwoq_weight_packed(weight_, &packed.packed, &packed.packed_bytes), ZENWOQ_OK);
  packed.n = kN, packed.k = kK;
  zenwoq_linear_desc desc;
  zenwoq_linear_desc_init(&desc);
  const zenwoq_packed good = packed;
  const zenwoq_run_args good_args = args_;
  const auto expect = [&](zenwoq_status status, const char* text) {
    std::fill(y_.begin(), y_.end(), 7.0f);
    EXPECT_ERROR(zenwoq_packed_run(context_, &packed, &desc, &args_), status, text);
    EXPECT_EQ(y_, std::vector<float>(y_.size(), 7.0f)) << text;
    packed = good, args_ = good_args;
    zenwoq_linear_desc_init(&desc);
  };
  EXPECT_ERROR(zenwoq_packed_run(nullptr, &packed, &desc, &args_), ZENWOQ_ERROR_INVALID_ARGUMENT, "context is NULL");
  EXPECT_ERROR(zenwoq_packed_run(context_, nullptr, &desc, &args_), ZENWOQ_ERROR_INVALID_ARGUMENT,
               "zenwoq_packed is NULL");
  EXPECT_ERROR(zenwoq_packed_run(context_, &packed, &desc, nullptr), ZENWOQ_ERROR_INVALID_ARGUMENT,
               "zenwoq_run_args is NULL");
  packed.struct_size = 3;
  expect(ZENWOQ_ERROR_INVALID_ARGUMENT, "struct_size is 3");
  packed.packed = nullptr;
  expect(ZENWOQ_ERROR_INVALID_ARGUMENT, "packed->packed is NULL");
  packed.packed_bytes = 300;
  expect(ZENWOQ_ERROR_BAD_PACKED, "cut short");
  packed.packed = x_.data(), packed.packed_bytes = 96;
  expect(ZENWOQ_ERROR_BAD_PACKED, "96 bytes");
  packed.n = 71;
  expect(ZENWOQ_ERROR_INVALID_ARGUMENT, "packed weight of n = 70, k = 48, the caller expects n = 71, k = 48");
  desc.output_type = ZENWOQ_F16;
  expect(ZENWOQ_ERROR_INVALID_ARGUMENT, "output_type 2");
  desc.bias = scales_.data(), desc.bias_bytes = kN * 4 - 1;
  expect(ZENWOQ_ERROR_BUFFER_TOO_SMALL, "bias_bytes is 279, 280 are needed");
  args_.workspace = &desc, args_.workspace_bytes = 9;
  expect(ZENWOQ_ERROR_INVALID_ARGUMENT, "take none");
  args_.x_bytes = 191;
  expect(ZENWOQ_ERROR_BUFFER_TOO_SMALL, "x_bytes is 191, 192 are needed");
  args_.m = SIZE_MAX / 8;
  expect(ZENWOQ_ERROR_OVERFLOW, "overflow");
  std::vector<float> bias(kN, 7.0f);
  desc.bias = bias.data(), desc.bias_bytes = kN * 4;
  args_.m = 1, args_.y = bias.data() + kN - 1;  // nothing is written to it
  expect(ZENWOQ_ERROR_INVALID_ARGUMENT, "overlaps bias at");
  EXPECT_EQ(bias, std::vector<float>(kN, 7.0f));
  args_.m = 1, args_.y = const_cast<void*>(packed.packed);
  expect(ZENWOQ_ERROR_INVALID_ARGUMENT, "overlaps packed at");
  args_.m = 0, args_.x = nullptr, args_.y = nullptr;
  EXPECT_EQ(zenwoq_packed_run(context_, &packed, nullptr, &args_), ZENWOQ_OK) << zenwoq_last_error();
}

TEST_F(Api, PackedBytesDescribeThemselves) {
  zenwoq_packed packed;
  zenwoq_packed_init(&packed);
  ASSERT_EQ(zenwoq_weight_packed(weight_, &packed.packed, &packed.packed_bytes), ZENWOQ_OK);
  zenwoq_weight_desc desc{};
  EXPECT_ERROR(zenwoq_packed_describe(&packed, &desc), ZENWOQ_ERROR_INVALID_ARGUMENT, "struct_size is 0");
  desc.struct_size = sizeof desc;
  ASSERT_EQ(zenwoq_packed_describe(&packed, &desc), ZENWOQ_OK) << zenwoq_last_error();
  EXPECT_EQ(std::memcmp(&desc, &desc_, sizeof desc), 0);
  packed.packed_bytes -= 1;
  EXPECT_ERROR(zenwoq_packed_describe(&packed, &desc), ZENWOQ_ERROR_BAD_PACKED, "cut short");
}

TEST_F(Api, UnpackAndDequantizeErrors) {
  std::vector<uint8_t> codes(kN * kK / 2);
  EXPECT_ERROR(zenwoq_weight_unpack(weight_, codes.data(), codes.size() - 1, nullptr, 0, nullptr, 0),
               ZENWOQ_ERROR_BUFFER_TOO_SMALL, "codes_bytes is 1679, 1680 are needed");
  EXPECT_ERROR(zenwoq_weight_unpack(weight_, nullptr, 8, nullptr, 0, nullptr, 0), ZENWOQ_ERROR_INVALID_ARGUMENT,
               "codes is NULL with 8 bytes");
  std::vector<float> values(kK);
  EXPECT_ERROR(zenwoq_weight_dequantize(weight_, 0, 2, values.data(), values.size() * 4), ZENWOQ_ERROR_BUFFER_TOO_SMALL,
               "values_bytes is 192, 384");
  EXPECT_ERROR(zenwoq_weight_dequantize(weight_, 70, 71, values.data(), values.size() * 4),
               ZENWOQ_ERROR_INVALID_ARGUMENT, "rows [70, 71) of n = 70");
  EXPECT_EQ(zenwoq_weight_dequantize(weight_, 69, 70, values.data(), values.size() * 4), ZENWOQ_OK);
  EXPECT_EQ(values[0], 1.0f);
  EXPECT_EQ(values[1], 0.5f);
}

TEST_F(Api, KernelsOfALinear) {
  size_t count = 0;
  ASSERT_EQ(zenwoq_linear_kernel(linear_, 33, 0, &count, nullptr), ZENWOQ_OK);
  ASSERT_GE(count, 1u);
  zenwoq_kernel_info info;
  zenwoq_kernel_info_init(&info);
  info.struct_size = sizeof info;
  ASSERT_EQ(zenwoq_linear_kernel(linear_, 33, 0, &count, &info), ZENWOQ_OK);
  if (info.tier == ZENWOQ_TIER_REFERENCE) {
    EXPECT_STREQ(info.name, "reference");
    EXPECT_STRNE(info.reason, "");
  } else {
    size_t bytes = 0;
    std::vector<uint8_t> code(1 << 16);
    ASSERT_EQ(zenwoq_kernel_emit(info.name, code.data(), code.size(), &bytes), ZENWOQ_OK);
    EXPECT_EQ(bytes, info.code_bytes);
    EXPECT_EQ(std::memcmp(code.data(), info.address, bytes), 0);
  }
  EXPECT_ERROR(zenwoq_linear_kernel(linear_, 33, count, &count, &info), ZENWOQ_ERROR_INVALID_ARGUMENT,
               "runs of m = 33 rows use no more");
}

TEST_F(Api, KernelEmitErrors) {
  size_t bytes = 9;
  EXPECT_ERROR(zenwoq_kernel_emit("gemm_nonsense", nullptr, 0, &bytes), ZENWOQ_ERROR_INVALID_ARGUMENT,
               "\"gemm_nonsense\" is no kernel name");
  EXPECT_ERROR(zenwoq_kernel_emit("gemm_bf16_t4_g128_k4096_sbf16_z0_m12x8_yf32_avx512bf16_p4096", nullptr, 0, &bytes),
               ZENWOQ_ERROR_UNSUPPORTED, "does not fit 32 vector registers");
  const char* name = "gemm_bf16_t4_g128_k4096_sbf16_z0_m6x2_yf32_avx512bf16_p4096";
  uint8_t byte = 0;
  EXPECT_ERROR(zenwoq_kernel_emit(name, &byte, 1, &bytes), ZENWOQ_ERROR_BUFFER_TOO_SMALL, "code_capacity is 1");
  EXPECT_EQ(bytes, 9u);
  EXPECT_EQ(zenwoq_kernel_emit(name, nullptr, 0, &bytes), ZENWOQ_OK);
  EXPECT_GT(bytes, 100u);
}

TEST_F(Api, DescribesWhatWasPacked) {
  zenwoq_weight_desc back{};
  back.struct_size = sizeof back;
  ASSERT_EQ(zenwoq_weight_describe(weight_, &back), ZENWOQ_OK);
  EXPECT_EQ(std::memcmp(&back, &desc_, sizeof back), 0);
  EXPECT_STREQ(zenwoq_weight_text(weight_), "int4 sym per-group 16, scale f32");
  EXPECT_EQ(zenwoq_weight_text(nullptr), nullptr);
  EXPECT_STREQ(zenwoq_status_name(ZENWOQ_ERROR_BAD_PACKED), "ZENWOQ_ERROR_BAD_PACKED");
  EXPECT_STREQ(zenwoq_status_name(static_cast<zenwoq_status>(99)), "unknown status");
}

}  // namespace
