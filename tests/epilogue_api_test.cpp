// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// Epilogues and gated pairs through the C boundary: every one gives the bits that follow from plain products, in every
// tier.
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <optional>
#include <string>
#include <vector>

#include "jit/number.h"
#include "jit/tier.h"
#include "src/api/boundary.h"
#include "tests/support/api_runs.h"
#include "tests/support/guard_buffer.h"
#include "tests/support/kernel_host.h"

namespace zenwoq::test {
namespace {

using testing::HasSubstr;
using tools::ContextHandle;
using tools::LinearHandle;
using tools::WeightHandle;

constexpr std::size_t kRows[] = {1, 3, 5, 17, 40};
constexpr zenwoq_dtype kTypes[] = {ZENWOQ_F32, ZENWOQ_F16, ZENWOQ_BF16};

enum class Pair { none, two_weights, halves };

// A linear and a run of it.
struct Case {
  std::size_t m = 1, n = 70, k = 136;  // n: columns of y
  Pair pair = Pair::none;
  zenwoq_activation activation = ZENWOQ_ACTIVATION_NONE;
  unsigned factors = 0, residuals = 0;
  int in_place = -1;  // which operand is y itself: 0 the factor, 1 and 2 the residuals
  bool bias = false, up_bias = false;
  zenwoq_dtype output_type = ZENWOQ_F32, bias_type = ZENWOQ_F32;
  zenwoq_tensor_scale_kind tensor_scale = ZENWOQ_TENSOR_SCALE_NONE;
  zenwoq_code_table table = ZENWOQ_TABLE_MINUS_8;
  std::size_t y_gap = 0, operand_gap = 0;
  std::uint32_t threads = 1;

  bool gated() const { return pair != Pair::none; }
  bool any_bias() const { return bias || up_bias; }
  std::string text() const {
    return fmt::format(
        "m {} n {} k {} pair {} activation {} factors {} residuals {} in place {} bias {} {} y {} {} ts {}", m, n, k,
        static_cast<int>(pair), static_cast<int>(activation), factors, residuals, in_place, bias, up_bias,
        dtype_name(output_type), dtype_name(bias_type), static_cast<int>(tensor_scale));
  }
};

void randomize_rest(Rng& rng, Case* c) {
  constexpr std::size_t kColumns[] = {1, 63, 70, 130, 200};
  c->n = c->pair == Pair::halves ? 64 * pick(rng, 1, 3) : kColumns[rng() % std::size(kColumns)];
  const auto operands = static_cast<int>(c->residuals + 1);
  c->in_place = static_cast<int>(rng() % 5) - 1;
  if (c->in_place >= operands || (c->in_place == 0 && c->factors == 0)) c->in_place = -1;
  c->bias = rng() % 2;
  c->up_bias = c->pair == Pair::two_weights ? rng() % 2 : c->pair == Pair::halves && c->bias;
  c->output_type = rng() % 2 ? ZENWOQ_F32 : ZENWOQ_BF16;
  c->bias_type = kTypes[rng() % 3];
  c->tensor_scale = static_cast<zenwoq_tensor_scale_kind>(rng() % 3);
  c->table = rng() % 2 ? ZENWOQ_TABLE_MINUS_8 : ZENWOQ_TABLE_E2M1;
  c->y_gap = rng() % 2 ? rng() % 20 : 0;
  c->operand_gap = rng() % 2 ? rng() % 20 : 0;
  c->threads = static_cast<std::uint32_t>(pick(rng, 1, 3));
}

float random_float(Rng& rng, float most) { return most * (static_cast<float>(rng() % 65536) / 32768.0f - 1.0f); }

// Rows of a type that end at a page without access, their gaps filled with a byte of its own.
class Matrix {
 public:
  Matrix(std::size_t rows, std::size_t columns, std::size_t gap, zenwoq_dtype type)
      : columns_(columns), ld_(columns + gap), type_(type), bytes_(((rows - 1) * ld_ + columns) * dtype_bytes(type)) {}

  void fill(Rng& rng, std::size_t rows) {
    for (std::size_t row = 0; row < rows; ++row) {
      for (std::size_t column = 0; column < columns_; ++column) set(row, column, random_float(rng, 3));
    }
  }
  void set(std::size_t row, std::size_t column, float value) {
    store_value(type_, value, bytes_.data(), row * ld_ + column);
  }
  float at(std::size_t row, std::size_t column) { return load_as_f32(type_, bytes_.data(), row * ld_ + column); }
  void copy_from(Matrix& other) { std::memcpy(bytes_.data(), other.bytes_.data(), bytes_.size()); }
  bool same_bytes(Matrix& other) { return std::memcmp(bytes_.data(), other.bytes_.data(), bytes_.size()) == 0; }
  void* data() { return bytes_.data(); }
  std::size_t ld() const { return ld_; }
  std::size_t bytes() const { return bytes_.size(); }
  zenwoq_matrix as_argument() { return {bytes_.data(), ld_ == columns_ ? 0 : ld_, bytes_.size()}; }

 private:
  const std::size_t columns_, ld_;
  const zenwoq_dtype type_;
  GuardBuffer bytes_;
};

// A weight whose products are of the size where activations are curved.
RandomWeight calm_weight(Rng& rng, std::size_t n, const Case& c) {
  RandomWeight weight = random_weight(rng, n, c.k, 32, ZENWOQ_F32, ZENWOQ_ZERO_INTEGER);
  weight.table = *code_table(c.table);
  for (std::size_t i = 0; i < weight.scales.size() / 4; ++i) {
    store_value(ZENWOQ_F32, 0.05f + random_float(rng, 0.05f), weight.scales.data(), i);
  }
  weight.tensor_scale_kind = c.tensor_scale;
  weight.tensor_scale = 1.5f + random_float(rng, 1);
  return weight;
}

class EpilogueRun {
 public:
  EpilogueRun(Rng& rng, zenwoq_context* reference, const Case& c)
      : c_(c),
        x_(c.m * c.k),
        weight_(calm_weight(rng, rows(), c)),
        up_weight_(calm_weight(rng, rows(), c)),
        weight_handle_(make_weight(reference, weight_)),
        up_handle_(make_weight(reference, up_weight_)),
        bias_(biases(rng, rows())),
        up_bias_(biases(rng, rows())),
        expected_(c.m, c.n, c.y_gap, c.output_type) {
    for (std::uint16_t& value : x_) value = f32_to_bf16(random_float(rng, 1));
    for (int i = 0; i < 3; ++i) {
      operands_.push_back(std::make_unique<Matrix>(c.m, c.n, i == c.in_place ? c.y_gap : c.operand_gap, c.output_type));
      operands_.back()->fill(rng, c.m);
    }
    expect(reference);
  }

  zenwoq_linear_desc desc() const {
    zenwoq_linear_desc desc;
    zenwoq_linear_desc_init(&desc);
    desc.output_type = c_.output_type, desc.bias_type = c_.bias_type;
    desc.activation = c_.activation, desc.factors = c_.factors, desc.residuals = c_.residuals;
    desc.halves = c_.pair == Pair::halves;
    if (c_.bias) desc.bias = bias_.data(), desc.bias_bytes = bias_.size();
    if (c_.up_bias && c_.pair == Pair::two_weights)
      desc.up_bias = up_bias_.data(), desc.up_bias_bytes = up_bias_.size();
    return desc;
  }

  // What is wrong with a run of a linear; empty if nothing is.
  std::string linear_problem(zenwoq_context* context) {
    zenwoq_linear_desc with_up = desc();
    if (c_.pair == Pair::two_weights) with_up.up = up_handle_.get();
    const LinearHandle linear = tools::make_linear(context, weight_handle_.get(), &with_up);
    return problem([&](const zenwoq_run_args& args) { return zenwoq_linear_run(linear.get(), &args); });
  }
  std::string packed_problem(zenwoq_context* context) {
    zenwoq_packed packed = packed_of(weight_handle_.get()), up = packed_of(up_handle_.get());
    zenwoq_linear_desc with_up = desc();
    if (c_.pair == Pair::two_weights) with_up.up_packed = &up;
    return problem([&](const zenwoq_run_args& args) { return zenwoq_packed_run(context, &packed, &with_up, &args); });
  }

 private:
  std::size_t rows() const { return c_.pair == Pair::halves ? 2 * c_.n : c_.n; }

  std::vector<std::uint8_t> biases(Rng& rng, std::size_t count) const {
    std::vector<std::uint8_t> values(count * dtype_bytes(c_.bias_type));
    for (std::size_t i = 0; i < count; ++i) store_value(c_.bias_type, random_float(rng, 1), values.data(), i);
    return values;
  }

  zenwoq_run_args args() {
    zenwoq_run_args args;
    zenwoq_run_args_init(&args);
    args.m = c_.m, args.x = x_.data(), args.x_bytes = x_.size() * 2, args.threads = c_.threads;
    return args;
  }

  // x W^T and a bias, zeroes for NULL, in f32.
  std::vector<float> product(zenwoq_context* context, zenwoq_weight* weight, const std::uint8_t* bias) {
    const std::vector<std::uint8_t> zeroes(bias_.size());
    zenwoq_linear_desc desc;
    zenwoq_linear_desc_init(&desc);
    desc.bias_type = c_.bias_type, desc.bias_bytes = bias_.size();
    if (c_.any_bias()) desc.bias = bias != nullptr ? bias : zeroes.data();
    const LinearHandle linear = tools::make_linear(context, weight, &desc);
    std::vector<float> y(c_.m * rows());
    zenwoq_run_args run = args();
    run.threads = 0, run.y = y.data(), run.y_bytes = y.size() * 4;
    tools::require(zenwoq_linear_run(linear.get(), &run));
    return y;
  }

  void expect(zenwoq_context* reference) {
    const auto gate = product(reference, weight_handle_.get(), c_.bias ? bias_.data() : nullptr);
    const auto up = product(reference, up_handle_.get(), c_.up_bias ? up_bias_.data() : nullptr);
    const ContractEpilogue epilogue{c_.activation, c_.gated(), c_.factors, c_.residuals};
    for (std::size_t row = 0; row < c_.m; ++row) {
      for (std::size_t n = 0; n < c_.n; ++n) {
        const std::size_t at = row * rows() + n;
        const float second = c_.pair == Pair::halves ? gate[at + c_.n] : up[at];
        const float residual[2] = {operands_[1]->at(row, n), operands_[2]->at(row, n)};
        expected_.set(row, n, epilogue.finished(gate[at], second, operands_[0]->at(row, n), residual));
      }
    }
  }

  template <typename Call>
  std::string problem(const Call& call) {
    Matrix y(c_.m, c_.n, c_.y_gap, c_.output_type);
    zenwoq_run_args run = args();
    run.y = y.data(), run.ldy = c_.y_gap == 0 ? 0 : y.ld(), run.y_bytes = y.bytes();
    const auto operand = [&](int i) {
      if (i != c_.in_place) return operands_[static_cast<std::size_t>(i)]->as_argument();
      y.copy_from(*operands_[static_cast<std::size_t>(i)]);
      return y.as_argument();
    };
    if (c_.factors != 0) run.factor = operand(0);
    for (unsigned i = 0; i < c_.residuals; ++i) run.residual[i] = operand(static_cast<int>(i) + 1);
    if (call(run) != ZENWOQ_OK) return zenwoq_last_error();
    if (y.same_bytes(expected_)) return "";
    for (std::size_t row = 0; row < c_.m; ++row) {
      for (std::size_t n = 0; n < c_.n; ++n) {
        const float got = y.at(row, n), wanted = expected_.at(row, n);
        if (got != wanted) return fmt::format("row {} column {}: {}, must be {}", row, n, got, wanted);
      }
    }
    return "a gap between rows, or the sign of a zero";
  }

  const Case c_;
  std::vector<std::uint16_t> x_;
  const RandomWeight weight_, up_weight_;
  const WeightHandle weight_handle_, up_handle_;
  const std::vector<std::uint8_t> bias_, up_bias_;
  std::vector<std::unique_ptr<Matrix>> operands_;  // factor, residuals
  Matrix expected_;
};

class EpilogueOf : public testing::TestWithParam<zenwoq_tier> {
 protected:
  void SetUp() override {
    reference_ = tools::make_context({1, ZENWOQ_TIER_REFERENCE, {}});
    if (GetParam() != ZENWOQ_TIER_REFERENCE) host_.emplace(GetParam());
    for (const char* tuning : {"zen3", "zen4", "zen5", "generic"}) {
      zenwoq_context_options options;
      zenwoq_context_options_init(&options);
      options.threads = 3;
      options.tuning = tuning;
      options.max_tier = GetParam();
      zenwoq_context* context = nullptr;
      ASSERT_TRUE(create_context(&options, host_ ? host_->seams() : ContextSeams(), &context).ok());
      contexts_.emplace_back(context);
    }
  }
  void TearDown() override {
    contexts_.clear();
    EXPECT_EQ(host_ ? host_->take_problems() : "", "");
  }

  void check(const Case& c) {
    EpilogueRun run(rng_, reference_.get(), c);
    EXPECT_EQ(run.linear_problem(any_context()), "") << c.text();
    EXPECT_EQ(run.packed_problem(any_context()), "") << "packed: " << c.text();
  }

  zenwoq_context* any_context() { return contexts_[rng_() % contexts_.size()].get(); }

  Rng rng_{20260115};
  std::optional<KernelHost> host_;
  ContextHandle reference_;
  std::vector<ContextHandle> contexts_;  // of every tuning
};

TEST_P(EpilogueOf, OneWeightHasTheBitsThatFollowFromItsProduct) {
  for (int activation = ZENWOQ_ACTIVATION_NONE; activation < ZENWOQ_ACTIVATION_SWIGLU_OAI; ++activation) {
    for (unsigned operands = 0; operands < 6; ++operands) {
      for (const std::size_t m : kRows) {
        Case c;
        c.m = m, c.activation = static_cast<zenwoq_activation>(activation);
        c.factors = operands % 2, c.residuals = operands / 2;
        randomize_rest(rng_, &c);
        check(c);
        if (HasFailure()) return;
      }
    }
  }
}

TEST_P(EpilogueOf, APairHasTheBitsThatFollowFromItsTwoProducts) {
  for (int activation = ZENWOQ_ACTIVATION_NONE; activation <= ZENWOQ_ACTIVATION_SWIGLU_OAI; ++activation) {
    for (const Pair pair : {Pair::two_weights, Pair::halves}) {
      for (const std::size_t m : kRows) {
        Case c;
        c.m = m, c.pair = pair, c.activation = static_cast<zenwoq_activation>(activation);
        randomize_rest(rng_, &c);
        check(c);
        if (HasFailure()) return;
      }
    }
  }
}

// Of the biases of a pair each alone, both and none: one that is missing counts as zeroes.
TEST_P(EpilogueOf, APairHasItsBiasesEachAlone) {
  for (const zenwoq_dtype type : kTypes) {
    for (unsigned biases = 0; biases < 4; ++biases) {
      for (const std::size_t n : {64u, 70u}) {  // f32 of whole panels are read where they are
        Case c;
        c.m = 3, c.n = n, c.pair = Pair::two_weights, c.activation = ZENWOQ_ACTIVATION_SILU;
        c.bias = biases & 1, c.up_bias = biases & 2, c.bias_type = type;
        check(c);
      }
    }
  }
}

// So much work that all threads take part: each must find its own columns of operands, of up and of biases.
TEST_P(EpilogueOf, ThreadsShareOneRun) {
  for (const std::size_t m : {1u, 40u}) {
    for (const std::uint32_t threads : {1u, 2u, 3u}) {
      Case c;
      c.m = m, c.n = 1030, c.k = 520, c.threads = threads;
      c.activation = ZENWOQ_ACTIVATION_GELU, c.factors = 1, c.residuals = 2, c.in_place = 2, c.bias = true;
      check(c);
      c.pair = Pair::two_weights, c.factors = c.residuals = 0, c.in_place = -1, c.up_bias = true;
      check(c);
      c.pair = Pair::halves, c.n = 1024;
      check(c);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Tiers, EpilogueOf,
                         testing::Values(ZENWOQ_TIER_REFERENCE, ZENWOQ_TIER_AVX2, ZENWOQ_TIER_AVX512BF16),
                         [](const auto& tier) { return std::string(zenwoq_tier_name(tier.param)); });

// What two runs of the same linear name as their kernel: the epilogue is in it, not beside it.
TEST(EpilogueKernels, AreNamedForTheirEpilogue) {
  Rng rng(1);
  const ContextHandle context = tools::make_context({.threads = 1, .tuning = {}});
  Case c;
  c.n = 128, c.k = 64;
  const WeightHandle weight = make_weight(context.get(), calm_weight(rng, c.n, c));
  const auto name = [&](const zenwoq_linear_desc& desc) -> std::string {
    const LinearHandle linear = tools::make_linear(context.get(), weight.get(), &desc);
    std::size_t count = 0;
    zenwoq_kernel_info info;
    zenwoq_kernel_info_init(&info);
    tools::require(zenwoq_linear_prepare(linear.get(), 1));
    tools::require(zenwoq_linear_kernel(linear.get(), 1, 0, &count, &info));
    return info.tier == ZENWOQ_TIER_REFERENCE ? "" : info.name;
  };
  zenwoq_linear_desc desc;
  zenwoq_linear_desc_init(&desc);
  if (name(desc).empty()) GTEST_SKIP() << "this CPU runs the reference alone";
  desc.activation = ZENWOQ_ACTIVATION_GELU, desc.factors = 1, desc.residuals = 2;
  EXPECT_THAT(name(desc), HasSubstr("_yf32_gelu_mul_add2_"));
  zenwoq_linear_desc_init(&desc);
  desc.activation = ZENWOQ_ACTIVATION_SILU, desc.halves = 1;
  EXPECT_THAT(name(desc), HasSubstr("gu_yf32_silu_"));
}

}  // namespace
}  // namespace zenwoq::test
