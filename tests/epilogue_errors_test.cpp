// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// Each wrong argument of epilogues and gated pairs gets its sentence, and outputs stay as they were.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <string>
#include <utility>
#include <vector>

#include "tests/support/api_runs.h"
#include "tests/support/expect_error.h"

namespace zenwoq::test {
namespace {

using tools::ContextHandle;
using tools::LinearHandle;
using tools::WeightHandle;

// With the usual table and without a tensor scale.
RandomWeight usual_weight(Rng& rng, std::size_t n, std::size_t k) {
  RandomWeight weight = random_weight(rng, n, k, 32, ZENWOQ_F32, ZENWOQ_ZERO_INTEGER);
  weight.table = *code_table(ZENWOQ_TABLE_MINUS_8);
  return weight;
}

// Weights [128, 64], and what goes with them.
class EpilogueErrors : public testing::Test {
 protected:
  static constexpr std::size_t kN = 128, kK = 64, kM = 2;

  EpilogueErrors() : weight_(make_weight(context_.get(), random_)), up_(make_weight(context_.get(), other(random_))) {
    zenwoq_linear_desc_init(&desc_);
    packed_ = packed_of(weight_.get()), up_packed_ = packed_of(up_.get());
    zenwoq_run_args_init(&args_);
    args_.m = kM, args_.x = x_.data(), args_.x_bytes = x_.size() * 2, args_.y = y_.data(), args_.y_bytes = kBytes;
  }

  static RandomWeight plain() {
    Rng rng(2);
    return usual_weight(rng, kN, kK);
  }
  // Of the same kind with other codes.
  static RandomWeight other(RandomWeight weight) {
    for (std::uint8_t& byte : weight.codes) byte = static_cast<std::uint8_t>(byte ^ 0x5A);
    return weight;
  }

  zenwoq_status create() {
    linear_.reset();
    auto* linear = reinterpret_cast<zenwoq_linear*>(8);
    const zenwoq_status status = zenwoq_linear_create(context_.get(), weight_.get(), &desc_, &linear);
    EXPECT_EQ(linear != nullptr, status == ZENWOQ_OK);
    linear_.reset(linear);
    return status;
  }
  // A desc that neither a linear nor a run of packed bytes takes.
  void expect_refused(const char* text) {
    EXPECT_ERROR(create(), ZENWOQ_ERROR_INVALID_ARGUMENT, text);
    zenwoq_linear_desc for_packed = desc_;
    if (for_packed.up != nullptr) for_packed.up = nullptr, for_packed.up_packed = &up_packed_;
    EXPECT_ERROR(zenwoq_packed_run(context_.get(), &packed_, &for_packed, &args_), ZENWOQ_ERROR_INVALID_ARGUMENT, text);
    EXPECT_EQ(y_, std::vector<float>(y_.size(), 7.0f)) << text;
    zenwoq_linear_desc_init(&desc_);
  }
  // A pair that does not go together.
  void expect_apart(const RandomWeight& gate, const RandomWeight& up, const char* text) {
    weight_ = make_weight(context_.get(), gate), up_ = make_weight(context_.get(), up);
    desc_.up = up_.get();
    packed_ = packed_of(weight_.get()), up_packed_ = packed_of(up_.get());
    expect_refused(text);
  }
  // A run that linears and packed bytes both refuse, and that leaves y alone.
  void expect_run_refused(zenwoq_status status, const char* text) {
    const std::vector<float> before = y_;
    EXPECT_ERROR(zenwoq_linear_run(linear_.get(), &args_), status, text);
    EXPECT_ERROR(zenwoq_packed_run(context_.get(), &packed_, &desc_, &args_), status, text);
    EXPECT_EQ(y_, before) << text;
    set_operands();
  }
  void set_operands() {
    const zenwoq_matrix matrix = {operand_.data(), 0, kBytes};
    args_.factor = desc_.factors > 0 ? matrix : zenwoq_matrix{};
    for (unsigned i = 0; i < 2; ++i) args_.residual[i] = desc_.residuals > i ? matrix : zenwoq_matrix{};
  }

  static constexpr std::size_t kBytes = kM * kN * 4;
  const ContextHandle context_ = tools::make_context({.threads = 2, .tuning = {}});
  const RandomWeight random_ = plain();
  WeightHandle weight_, up_;
  LinearHandle linear_;
  zenwoq_linear_desc desc_;
  zenwoq_packed packed_, up_packed_;
  zenwoq_run_args args_;
  std::vector<std::uint16_t> x_ = std::vector<std::uint16_t>(kM * kK, 0x3F80);
  std::vector<float> operand_ = std::vector<float>(kM * kN, 1.0f);
  std::vector<float> y_ = std::vector<float>(2 * kM * kN, 7.0f);
};

TEST_F(EpilogueErrors, OfDescriptions) {
  for (const int activation : {-1, 6}) {
    desc_.activation = static_cast<zenwoq_activation>(activation);
    expect_refused(fmt::format("activation {}: must be ZENWOQ_ACTIVATION_NONE (0) to "
                               "ZENWOQ_ACTIVATION_SWIGLU_OAI (5)",
                               activation)
                       .c_str());
  }
  desc_.factors = 2;
  expect_refused("factors is 2: must be 0 or 1");
  desc_.residuals = 3;
  expect_refused("residuals is 3: must be 0, 1 or 2");
  desc_.halves = 2;
  expect_refused("halves is 2: must be 0 or 1");
  desc_.activation = ZENWOQ_ACTIVATION_SWIGLU_OAI;
  expect_refused("ZENWOQ_ACTIVATION_SWIGLU_OAI is one of gated products");
}

TEST_F(EpilogueErrors, OfTheWaysOfUp) {
  desc_.halves = 1, desc_.up = up_.get();
  expect_refused("up, up_packed and halves: only one of them may be given");
  desc_.up = up_.get(), desc_.up_packed = &up_packed_;
  EXPECT_ERROR(create(), ZENWOQ_ERROR_INVALID_ARGUMENT, "only one of them may be given");
  EXPECT_ERROR(zenwoq_packed_run(context_.get(), &packed_, &desc_, &args_), ZENWOQ_ERROR_INVALID_ARGUMENT,
               "only one of them may be given");
  desc_.up = nullptr;
  EXPECT_ERROR(create(), ZENWOQ_ERROR_INVALID_ARGUMENT, "linears take up");
  desc_.up = up_.get(), desc_.up_packed = nullptr;
  EXPECT_ERROR(zenwoq_packed_run(context_.get(), &packed_, &desc_, &args_), ZENWOQ_ERROR_INVALID_ARGUMENT,
               "runs of packed bytes take up_packed");
  zenwoq_linear_desc_init(&desc_);
  desc_.up = up_.get(), desc_.factors = 1;
  expect_refused("factors is 1 and residuals 0: must be 0 in a gated product");
  desc_.halves = 1, desc_.residuals = 2;
  expect_refused("factors is 0 and residuals 2: must be 0 in a gated product");
  EXPECT_EQ(y_, std::vector<float>(y_.size(), 7.0f));
}

TEST_F(EpilogueErrors, OfBiasesOfPairs) {
  desc_.up_bias = operand_.data(), desc_.up_bias_bytes = kN * 4;
  expect_refused("up_bias is given, but there is no second weight");
  desc_.up_bias_bytes = 4;
  expect_refused("up_bias is given, but there is no second weight");
  desc_.up_bias = operand_.data(), desc_.up_bias_bytes = kN * 4, desc_.halves = 1;
  expect_refused("with halves, bias has the values of both");
  desc_.up = up_.get(), desc_.up_bias = operand_.data(), desc_.up_bias_bytes = kN * 4 - 1;
  EXPECT_ERROR(create(), ZENWOQ_ERROR_BUFFER_TOO_SMALL, "up_bias_bytes is 511, 512 are needed");
  desc_.up_bias_bytes = kN * 4, desc_.bias_type = static_cast<zenwoq_dtype>(9);
  expect_refused("bias_type 9: must be");
}

TEST_F(EpilogueErrors, OfPairsThatDoNotGoTogether) {
  const auto changed = [&](auto&& change) {
    RandomWeight weight = random_;
    change(weight);
    return weight;
  };
  Rng rng(3);
  expect_apart(random_, usual_weight(rng, 64, kK), "gate is [128, 64], up [64, 64]: must be equal");
  expect_apart(random_, usual_weight(rng, kN, 96), "gate is [128, 64], up [128, 96]: must be equal");
  expect_apart(random_, random_weight(rng, kN, kK, 64, ZENWOQ_F32, ZENWOQ_ZERO_INTEGER), "must be quantized alike");
  expect_apart(random_, random_weight(rng, kN, kK, 32, ZENWOQ_BF16, ZENWOQ_ZERO_INTEGER), "must be quantized alike");
  expect_apart(random_, random_weight(rng, kN, kK, 32, ZENWOQ_F32, ZENWOQ_ZERO_NONE), "must be quantized alike");
  const auto floats = [&](zenwoq_dtype type) {
    RandomWeight weight = random_weight(rng, kN, kK, 32, {ZENWOQ_F32, ZENWOQ_ZERO_FLOAT, type});
    weight.table = random_.table;
    return weight;
  };
  expect_apart(floats(ZENWOQ_F16), floats(ZENWOQ_BF16), "must be quantized alike");
  expect_apart(random_, changed([](RandomWeight& weight) { weight.table[3] = 99; }), "must be quantized alike");
  expect_apart(random_, changed([](RandomWeight& weight) { weight.tensor_scale_kind = ZENWOQ_TENSOR_SCALE_TIMES; }),
               "must be quantized alike");
  const RandomWeight permuted = changed([&](RandomWeight& weight) { permute_columns(rng, &weight); });
  const RandomWeight otherwise = changed([&](RandomWeight& weight) { permute_columns(rng, &weight); });
  expect_apart(random_, permuted, "columns must be permuted alike");
  expect_apart(permuted, random_, "columns must be permuted alike");
  expect_apart(permuted, otherwise, "columns must be permuted alike");
  const RandomWeight scaled = changed([&](RandomWeight& weight) { scale_columns(rng, &weight); });
  const RandomWeight scaled_otherwise = changed([&](RandomWeight& weight) { scale_columns(rng, &weight); });
  expect_apart(random_, scaled, "must have the same factors of columns");
  expect_apart(scaled, scaled_otherwise, "must have the same factors of columns");
}

// A permutation and factors that both have.
TEST_F(EpilogueErrors, NoneOfAPairThatSharesPermutationAndFactors) {
  Rng rng(4);
  RandomWeight both = random_;
  permute_columns(rng, &both);
  scale_columns(rng, &both);
  weight_ = make_weight(context_.get(), both), up_ = make_weight(context_.get(), other(both));
  desc_.up = up_.get();
  EXPECT_EQ(create(), ZENWOQ_OK) << zenwoq_last_error();
  EXPECT_EQ(zenwoq_linear_run(linear_.get(), &args_), ZENWOQ_OK) << zenwoq_last_error();
}

// Both are only read.
TEST_F(EpilogueErrors, NoneOfAPairOfOneWeight) {
  desc_.up = weight_.get();
  ASSERT_EQ(create(), ZENWOQ_OK) << zenwoq_last_error();
  EXPECT_EQ(zenwoq_linear_run(linear_.get(), &args_), ZENWOQ_OK) << zenwoq_last_error();
  const std::vector<float> expected = std::exchange(y_, std::vector<float>(y_.size(), 7.0f));
  desc_.up = nullptr, desc_.up_packed = &packed_, args_.y = y_.data();
  EXPECT_EQ(zenwoq_packed_run(context_.get(), &packed_, &desc_, &args_), ZENWOQ_OK) << zenwoq_last_error();
  for (std::size_t i = 0; i < y_.size(); ++i) EXPECT_TRUE(same_f32(y_[i], expected[i]));
  EXPECT_FALSE(same_f32(y_[0], 7.0f));
}

TEST_F(EpilogueErrors, OfHalvesOfPartPanels) {
  Rng rng(5);
  for (const std::size_t n : {70u, 64u, 192u}) {
    const RandomWeight weight = usual_weight(rng, n, kK);
    desc_.halves = 1;
    weight_ = make_weight(context_.get(), weight);
    packed_ = packed_of(weight_.get());
    expect_refused(fmt::format("halves of a weight with n = {}: must be a multiple of 128", n).c_str());
  }
}

TEST_F(EpilogueErrors, OfPackedUp) {
  const auto expect = [&](zenwoq_status status, const char* text) {
    desc_.up_packed = &up_packed_;
    const zenwoq_packed good = packed_;
    EXPECT_ERROR(zenwoq_packed_run(context_.get(), &packed_, &desc_, &args_), status, text);
    EXPECT_EQ(y_, std::vector<float>(y_.size(), 7.0f)) << text;
    up_packed_ = good;
  };
  up_packed_.struct_size = 3;
  expect(ZENWOQ_ERROR_INVALID_ARGUMENT, "struct_size is 3");
  up_packed_.packed = nullptr;
  expect(ZENWOQ_ERROR_INVALID_ARGUMENT, "up_packed->packed is NULL");
  up_packed_.packed_bytes = 300;
  expect(ZENWOQ_ERROR_BAD_PACKED, "cut short");
  up_packed_.n = 64;
  expect(ZENWOQ_ERROR_INVALID_ARGUMENT, "packed weight of n = 128, k = 64, the caller expects n = 64, k = 64");
  std::vector<std::uint8_t> copy(static_cast<const std::uint8_t*>(up_packed_.packed),
                                 static_cast<const std::uint8_t*>(up_packed_.packed) + up_packed_.packed_bytes);
  up_packed_.packed = copy.data();
  args_.y = copy.data() + copy.size() - 4;
  const std::vector<std::uint8_t> before = copy;
  expect(ZENWOQ_ERROR_INVALID_ARGUMENT, "overlaps up_packed at");
  EXPECT_EQ(copy, before);
  args_.y = y_.data(), args_.m = 1;
  desc_.up_bias = y_.data() + kN - 1, desc_.up_bias_bytes = kN * 4;
  expect(ZENWOQ_ERROR_INVALID_ARGUMENT, "overlaps up_bias at");
}

TEST_F(EpilogueErrors, OfOperandsThatARunDoesNotWant) {
  ASSERT_EQ(create(), ZENWOQ_OK);
  args_.factor = {operand_.data(), 0, kBytes};
  expect_run_refused(ZENWOQ_ERROR_INVALID_ARGUMENT, "factor at");
  args_.residual[0].bytes = 8;
  expect_run_refused(ZENWOQ_ERROR_INVALID_ARGUMENT, "with 8 bytes: the linear was made without it");
  desc_.residuals = 1;
  ASSERT_EQ(create(), ZENWOQ_OK);
  set_operands();
  args_.residual[1] = {operand_.data(), 0, kBytes};
  expect_run_refused(ZENWOQ_ERROR_INVALID_ARGUMENT, "residual[1] at");
}

TEST_F(EpilogueErrors, OfOperandsThatARunNeeds) {
  desc_.factors = 1, desc_.residuals = 2;
  ASSERT_EQ(create(), ZENWOQ_OK);
  const struct {
    zenwoq_matrix* operand;
    std::string name;
  } operands[] = {{&args_.factor, "factor"}, {&args_.residual[0], "residual[0]"}, {&args_.residual[1], "residual[1]"}};
  set_operands();
  for (const auto& [operand, name] : operands) {
    *operand = {};
    expect_run_refused(ZENWOQ_ERROR_INVALID_ARGUMENT, (name + " is NULL, 1024 bytes are needed").c_str());
    operand->bytes = kBytes - 1;
    expect_run_refused(ZENWOQ_ERROR_BUFFER_TOO_SMALL, (name + "_bytes is 1023, 1024 are needed").c_str());
    operand->ld = kN - 1;
    expect_run_refused(ZENWOQ_ERROR_INVALID_ARGUMENT, ("ld" + name + " is 127, a row has 128 elements").c_str());
    operand->ld = kN + 1;
    expect_run_refused(ZENWOQ_ERROR_BUFFER_TOO_SMALL, (name + "_bytes is 1024, 1028 are needed").c_str());
    operand->ld = SIZE_MAX / 2;
    expect_run_refused(ZENWOQ_ERROR_OVERFLOW, name.c_str());
  }
}

// An operand may be y, exactly; else no byte of it.
TEST_F(EpilogueErrors, OfOperandsThatOverlapY) {
  desc_.factors = 1, desc_.residuals = 2;
  ASSERT_EQ(create(), ZENWOQ_OK);
  set_operands();
  float* const y = y_.data() + 64;
  args_.y = y;
  for (zenwoq_matrix* operand : {&args_.factor, &args_.residual[0], &args_.residual[1]}) {
    for (const zenwoq_matrix& bad : {zenwoq_matrix{y + 1, 0, kBytes}, zenwoq_matrix{y - 1, 0, kBytes},
                                     zenwoq_matrix{y + kM * kN - 1, 0, kBytes}, zenwoq_matrix{y, kN + 1, kBytes + 4}}) {
      *operand = bad;
      expect_run_refused(ZENWOQ_ERROR_INVALID_ARGUMENT, "may only be y itself, with y's ld");
    }
    *operand = {y, kN, kBytes};
    EXPECT_EQ(zenwoq_linear_run(linear_.get(), &args_), ZENWOQ_OK) << zenwoq_last_error();
    set_operands();
  }
  args_.residual[0] = args_.residual[1] = args_.factor = {x_.data(), kN / 2, kBytes};  // too short an ld ...
  expect_run_refused(ZENWOQ_ERROR_INVALID_ARGUMENT, "ldfactor is 64");
  args_.residual[0] = args_.factor = {operand_.data(), 0, kBytes};  // ... but two may be one
  EXPECT_EQ(zenwoq_linear_run(linear_.get(), &args_), ZENWOQ_OK) << zenwoq_last_error();
}

// Of one row there is no next one, so any ld is y's.
TEST_F(EpilogueErrors, NoneOfOneRowInPlaceWithAnotherLd) {
  desc_.factors = 1, desc_.residuals = 2;
  ASSERT_EQ(create(), ZENWOQ_OK);
  args_.m = 1;
  set_operands();
  for (zenwoq_matrix* operand : {&args_.factor, &args_.residual[0], &args_.residual[1]}) {
    *operand = {args_.y, kN + 1, kBytes};
    EXPECT_EQ(zenwoq_linear_run(linear_.get(), &args_), ZENWOQ_OK) << zenwoq_last_error();
    EXPECT_EQ(zenwoq_packed_run(context_.get(), &packed_, &desc_, &args_), ZENWOQ_OK) << zenwoq_last_error();
    std::fill(y_.begin(), y_.end(), 7.0f);
    operand->ld = kN - 1;
    expect_run_refused(ZENWOQ_ERROR_INVALID_ARGUMENT, "is 127, a row has 128 elements");
  }
}

// Rows in f32, enough of them that they are prepared in the workspace that the caller brings.
TEST_F(EpilogueErrors, OfOperandsThatOverlapTheWorkspace) {
  constexpr std::size_t kRows = 200;
  desc_.factors = 1, desc_.residuals = 2;
  ASSERT_EQ(create(), ZENWOQ_OK);
  const std::vector<float> x(kRows * kK, 1.0f), operand(kRows * kN, 1.0f);
  std::vector<float> y(kRows * kN), workspace(2 * kRows * kN, 1.0f);
  const std::size_t bytes = y.size() * sizeof y[0];
  args_.m = kRows, args_.x_type = ZENWOQ_F32, args_.x = x.data(), args_.x_bytes = x.size() * sizeof x[0];
  args_.y = y.data(), args_.y_bytes = bytes;
  args_.workspace = workspace.data(), args_.workspace_bytes = 2 * bytes;
  std::size_t used = 0;
  ASSERT_EQ(zenwoq_linear_workspace_bytes(linear_.get(), kRows, ZENWOQ_F32, &used), ZENWOQ_OK);
  ASSERT_GT(used, 0u);
  const zenwoq_matrix apart = {operand.data(), 0, bytes};
  args_.factor = args_.residual[0] = args_.residual[1] = apart;
  for (zenwoq_matrix* matrix : {&args_.factor, &args_.residual[0], &args_.residual[1]}) {
    *matrix = {workspace.data() + used / sizeof workspace[0] - 1, 0, bytes};
    EXPECT_ERROR(zenwoq_linear_run(linear_.get(), &args_), ZENWOQ_ERROR_INVALID_ARGUMENT, "and workspace at");
    *matrix = {workspace.data() + used / sizeof workspace[0] + 1, 0, bytes};
    EXPECT_EQ(zenwoq_linear_run(linear_.get(), &args_), ZENWOQ_OK) << zenwoq_last_error();
    *matrix = apart;
  }
}

TEST_F(EpilogueErrors, NoneOfZeroRows) {
  desc_.factors = 1, desc_.residuals = 2;
  ASSERT_EQ(create(), ZENWOQ_OK);
  args_.m = 0;
  EXPECT_EQ(zenwoq_linear_run(linear_.get(), &args_), ZENWOQ_OK) << zenwoq_last_error();
  EXPECT_EQ(zenwoq_packed_run(context_.get(), &packed_, &desc_, &args_), ZENWOQ_OK) << zenwoq_last_error();
}

// Structs as they were before epilogues: what follows an old caller's is not for the library.
TEST_F(EpilogueErrors, NoneOfShorterStructsOfOlderCallers) {
  zenwoq_linear_desc desc;
  std::memset(&desc, 0xDD, sizeof desc);
  desc.struct_size = offsetof(zenwoq_linear_desc, activation);
  desc.output_type = desc.bias_type = ZENWOQ_F32;
  desc.bias = nullptr, desc.bias_bytes = 0;
  zenwoq_run_args args;
  std::memset(&args, 0xDD, sizeof args);
  std::memcpy(&args, &args_, offsetof(zenwoq_run_args, factor));
  args.struct_size = offsetof(zenwoq_run_args, factor);
  const auto run_both = [&] {
    linear_.reset();
    zenwoq_linear* linear = nullptr;
    ASSERT_EQ(zenwoq_linear_create(context_.get(), weight_.get(), &desc, &linear), ZENWOQ_OK) << zenwoq_last_error();
    linear_.reset(linear);
    EXPECT_EQ(zenwoq_linear_run(linear, &args), ZENWOQ_OK) << zenwoq_last_error();
    EXPECT_EQ(zenwoq_packed_run(context_.get(), &packed_, &desc, &args), ZENWOQ_OK) << zenwoq_last_error();
  };
  run_both();
  desc.activation = ZENWOQ_ACTIVATION_SILU;  // of a caller between: what a struct ends before is the default
  desc.struct_size = offsetof(zenwoq_linear_desc, factors);
  run_both();
  desc_.factors = 1;
  ASSERT_EQ(create(), ZENWOQ_OK);
  EXPECT_ERROR(zenwoq_linear_run(linear_.get(), &args), ZENWOQ_ERROR_INVALID_ARGUMENT, "factor is NULL");
}

}  // namespace
}  // namespace zenwoq::test
