// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// Random runs through the C API: generated kernels of each tier and the reference give the same bits, those of the
// contract, for any shape, M, thread count, alignment, leading dimension, activation type, workspace and MXCSR of the
// caller.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>

#include "jit/mxcsr.h"
#include "src/api/boundary.h"
#include "tests/support/api_runs.h"
#include "tests/support/guard_buffer.h"
#include "tests/support/kernel_host.h"

namespace zenwoq::test {
namespace {

constexpr int kCases = 9000;
constexpr unsigned kCallerMxcsr[] = {0x1F80, 0x9FC0, 0x1FC0, 0x9F80, 0x3F80, 0x5F80, 0x7FBF};

struct Case {
  std::size_t n, k, group, m, x_shift, y_shift, x_gap, y_gap;
  ParameterFormat format;
  zenwoq_dtype x_type, output_type, bias_type;
  zenwoq_tensor_scale_kind tensor_scale;
  bool permuted, x_scaled, bias, nasty, own_workspace, borrow;
  unsigned mxcsr;
  zenwoq_activation activation;
  bool gated, up_bias;
  unsigned factors, residuals;  // the last residual is y itself
};

// Of half of the cases.
void random_epilogue(Rng& rng, Case* c) {
  if (rng() % 2) return;
  c->gated = rng() % 3 == 0;
  c->up_bias = c->gated && rng() % 2;
  c->activation = static_cast<zenwoq_activation>(rng() % (c->gated ? 6 : 5));
  if (c->gated) return;
  c->factors = rng() % 2;
  c->residuals = rng() % 3;
}

Case random_case(Rng& rng) {
  constexpr zenwoq_dtype kTypes[] = {ZENWOQ_F32, ZENWOQ_F16, ZENWOQ_BF16};
  Case c{};
  const bool large = rng() % 4 == 0;
  c.k = large ? pick(rng, 1024, 2100) : pick(rng, 1, 260);
  c.n = large ? pick(rng, 1, 130) : pick(rng, 1, 330);
  c.m = rng() % 4 == 0 ? pick(rng, 1, large ? 14 : 40) : rng() % 64 == 0 ? pick(rng, 90, 200) : pick(rng, 1, 5);
  c.group = rng() % 4 == 0 ? 0 : 8 * (rng() % 4 == 0 ? pick(rng, 1, 128) : pick(rng, 1, 16));
  c.format = random_format(rng);
  if (c.format.has_two_levels()) {
    c.group = 8 * pick(rng, 1, 8);
    c.k = fitting_k(c.format, c.k, c.group);
  }
  c.tensor_scale = static_cast<zenwoq_tensor_scale_kind>(rng() % 2 ? 0 : rng() % 3);
  c.permuted = rng() % 4 == 0;
  c.x_scaled = rng() % 4 == 0;
  c.x_type = rng() % 3 == 0 ? kTypes[rng() % 2] : ZENWOQ_BF16;
  c.output_type = rng() % 2 ? ZENWOQ_F32 : ZENWOQ_BF16;
  c.bias_type = kTypes[rng() % 3];
  c.bias = rng() % 2;
  c.nasty = rng() % 2;
  c.own_workspace = rng() % 2;
  c.borrow = rng() % 2;
  c.x_shift = rng() % 4;
  c.y_shift = rng() % 4;
  c.x_gap = rng() % 3 == 0 ? rng() % 40 : 0;
  c.y_gap = rng() % 3 == 0 ? rng() % 40 : 0;
  c.mxcsr = kCallerMxcsr[rng() % std::size(kCallerMxcsr)];
  random_epilogue(rng, &c);
  return c;
}

// A context with generated kernels for each tuning and thread count, and one with the reference.
class Contexts {
 public:
  explicit Contexts(zenwoq_tier tier) : host_(tier) {
    for (const char* tuning : {"zen3", "zen4", "zen5", "generic"}) {
      for (const std::uint32_t threads : {1u, 2u, 3u}) {
        zenwoq_context_options options;
        zenwoq_context_options_init(&options);
        options.threads = threads;
        options.tuning = tuning;
        options.max_tier = tier;
        if (threads == 3) options.parallel_for = serial_backwards;  // the caller's threads, in an odd order
        zenwoq_context* context = nullptr;
        if (!create_context(&options, host_.seams(), &context).ok()) std::abort();
        jit_.push_back(context);
      }
    }
    zenwoq_context_options options;
    zenwoq_context_options_init(&options);
    options.max_tier = ZENWOQ_TIER_REFERENCE;
    if (zenwoq_context_create(&options, &reference_) != ZENWOQ_OK) std::abort();
  }
  ~Contexts() {
    for (zenwoq_context* context : jit_) zenwoq_context_destroy(context);
    zenwoq_context_destroy(reference_);
  }
  Contexts(const Contexts&) = delete;
  Contexts& operator=(const Contexts&) = delete;

  zenwoq_context* jit(Rng& rng) { return jit_[rng() % jit_.size()]; }
  zenwoq_context* reference() { return reference_; }
  std::string take_problems() { return host_.take_problems(); }

 private:
  KernelHost host_;
  std::vector<zenwoq_context*> jit_;
  zenwoq_context* reference_ = nullptr;
};

class Runner {
 public:
  Runner(Rng& rng, const Case& c)
      : c_(c),
        ldx_(c.k + c.x_gap),
        ldy_(c.n + c.y_gap),
        weight_(random_weight(rng, c)),
        up_weight_(random_up(rng, c, weight_)),
        operand_(c.m * c.n * dtype_bytes(c.output_type)),
        x_(((c.m - 1) * ldx_ + c.k) * dtype_bytes(c.x_type) + c.x_shift) {
    for (std::size_t m = 0; m < c.m; ++m) {
      for (std::size_t k = 0; k < c.k; ++k) put_x(rng, m * ldx_ + k);
    }
    x_.make_read_only();
    for (std::size_t i = 0; i < c.m * c.n; ++i) {
      store_value(c.output_type, bf16_to_f32(random_bf16(rng, c.nasty)), operand_.data(), i);
    }
    operand_.make_read_only();
    bias_ = random_values(rng, c.n, c.bias_type, false);
    up_bias_ = random_values(rng, c.n, c.bias_type, false);
    packed_ = packed(weight_);
    if (c.gated) up_packed_ = packed(up_weight_);
  }

  static RandomWeight random_weight(Rng& rng, const Case& c) {
    RandomWeight weight = test::random_weight(rng, c.n, c.k, c.group, c.format);
    weight.tensor_scale_kind = c.tensor_scale;
    if (c.tensor_scale != ZENWOQ_TENSOR_SCALE_NONE) weight.tensor_scale = bf16_to_f32(random_bf16(rng, false) | 1);
    if (c.permuted) permute_columns(rng, &weight);
    if (c.x_scaled) scale_columns(rng, &weight);
    return weight;
  }

  // Another weight that goes with one.
  static RandomWeight random_up(Rng& rng, const Case& c, const RandomWeight& gate) {
    RandomWeight up = random_weight(rng, c);
    up.table = gate.table, up.permutation = gate.permutation, up.x_scale = gate.x_scale;
    return up;
  }

  // The whole life of a linear. Returns y with its gaps; sets *error if anything went wrong.
  std::vector<std::uint8_t> run(zenwoq_context* context, std::string* error) {
    zenwoq_weight *weight = nullptr, *up = nullptr;
    zenwoq_linear* linear = nullptr;
    zenwoq_linear_desc desc;
    zenwoq_linear_desc_init(&desc);
    desc.output_type = c_.output_type, desc.activation = c_.activation;
    desc.factors = c_.factors, desc.residuals = c_.residuals;
    if (c_.up_bias) desc.bias_type = c_.bias_type, desc.up_bias = up_bias_.data(), desc.up_bias_bytes = up_bias_.size();
    if (c_.bias) desc.bias_type = c_.bias_type, desc.bias = bias_.data(), desc.bias_bytes = bias_.size();
    GuardBuffer y(((c_.m - 1) * ldy_ + c_.n) * dtype_bytes(c_.output_type) + c_.y_shift);
    const zenwoq_ownership ownership = c_.borrow ? ZENWOQ_BORROW : ZENWOQ_COPY;
    if (c_.gated && zenwoq_weight_open(up_packed_->data(), up_packed_->size(), ownership, &up) != ZENWOQ_OK)
      std::abort();
    desc.up = up;
    if (zenwoq_weight_open(packed_->data(), packed_->size(), ownership, &weight) != ZENWOQ_OK ||
        zenwoq_linear_create(context, weight, &desc, &linear) != ZENWOQ_OK || !run_linear(linear, y)) {
      *error = zenwoq_last_error();
    }
    zenwoq_weight_destroy(weight);
    zenwoq_weight_destroy(up);
    zenwoq_linear_destroy(linear);
    return {y.data(), y.data() + y.size()};
  }

  // Whether an element of y is what the contract's definition says: of what both tiers share, the one judge.
  bool is_of_the_contract(const std::vector<std::uint8_t>& y, std::size_t m, std::size_t n) {
    std::vector<std::uint16_t> x(c_.k);
    for (std::size_t k = 0; k < c_.k; ++k) x[k] = f32_to_bf16(load_as_f32(c_.x_type, x_.data(), m * ldx_ + k));
    const auto product = [&](const RandomWeight& weight, const std::vector<std::uint8_t>* values) {
      std::vector<float> bias(c_.n);  // zeroes where the other weight has one
      for (std::size_t i = 0; values != nullptr && i < c_.n; ++i) {
        bias[i] = load_as_f32(c_.bias_type, values->data(), i);
      }
      return contract_element(weight, n, x, c_.bias || c_.up_bias ? bias.data() : nullptr);
    };
    const float up = c_.gated ? product(up_weight_, c_.up_bias ? &up_bias_ : nullptr) : 0.0f;
    const float operand = load_as_f32(c_.output_type, operand_.data(), m * c_.n + n);
    constexpr std::uint8_t kBefore[] = {0xA5, 0xA5, 0xA5, 0xA5};  // what a GuardBuffer is filled with
    const float in_place = load_as_f32(c_.output_type, kBefore, 0);
    const float residual[2] = {c_.residuals > 1 ? operand : in_place, in_place};
    const ContractEpilogue epilogue{c_.activation, c_.gated, c_.factors, c_.residuals};
    const float value = epilogue.finished(product(weight_, c_.bias ? &bias_ : nullptr), up, operand, residual);
    const float expected = c_.output_type == ZENWOQ_F32 ? value : bf16_to_f32(f32_to_bf16(value));
    return same_f32(load_as_f32(c_.output_type, y.data(), m * ldy_ + n), expected);
  }

  bool same(const std::vector<std::uint8_t>& a, const std::vector<std::uint8_t>& b) const {
    const std::size_t size = dtype_bytes(c_.output_type);
    for (std::size_t i = 0; i < a.size(); ++i) {
      if (a[i] == b[i]) continue;
      const std::size_t element = i / size;
      if (i >= a.size() - c_.y_shift || element % ldy_ >= c_.n) return false;
      if (!same_f32(load_as_f32(c_.output_type, a.data(), element), load_as_f32(c_.output_type, b.data(), element)))
        return false;
    }
    return true;
  }

 private:
  void put_x(Rng& rng, std::size_t i) {
    float value = bf16_to_f32(random_bf16(rng, c_.nasty));
    if (c_.x_type == ZENWOQ_F32)
      value = std::bit_cast<float>(std::bit_cast<std::uint32_t>(value) | static_cast<std::uint32_t>(rng() & 0xFFFF));
    store_value(c_.x_type, value, x_.data(), i);
  }
  static std::unique_ptr<GuardBuffer> packed(const RandomWeight& weight) {
    const zenwoq_weight_desc desc = weight.desc();
    std::size_t bytes = 0;
    if (zenwoq_weight_packed_bytes(&desc, &bytes) != ZENWOQ_OK) std::abort();
    auto packed = std::make_unique<GuardBuffer>(bytes);
    const zenwoq_weight_source source = weight.source();
    if (zenwoq_weight_pack(&desc, &source, 0, weight.n, packed->data(), bytes) != ZENWOQ_OK) std::abort();
    packed->make_read_only();
    return packed;
  }
  bool run_linear(zenwoq_linear* linear, GuardBuffer& y) {
    std::size_t workspace_bytes = 0;
    if (zenwoq_linear_workspace_bytes(linear, c_.m, c_.x_type, &workspace_bytes) != ZENWOQ_OK) return false;
    GuardBuffer workspace(workspace_bytes);
    zenwoq_run_args args;
    zenwoq_run_args_init(&args);
    args.m = c_.m;
    args.x_type = c_.x_type;
    args.x = x_.data();
    args.ldx = c_.x_gap == 0 ? 0 : ldx_;
    args.x_bytes = x_.size() - c_.x_shift;
    args.y = y.data();
    args.ldy = c_.y_gap == 0 ? 0 : ldy_;
    args.y_bytes = y.size() - c_.y_shift;
    const zenwoq_matrix operand = {operand_.data(), 0, operand_.size()};
    if (c_.factors != 0) args.factor = operand;
    if (c_.residuals > 1) args.residual[0] = operand;
    if (c_.residuals != 0) args.residual[c_.residuals - 1] = {args.y, args.ldy, args.y_bytes};
    if (c_.own_workspace && workspace_bytes != 0)
      args.workspace = workspace.data(), args.workspace_bytes = workspace_bytes;
    const MxcsrScope caller(c_.mxcsr);
    const bool ok = zenwoq_linear_run(linear, &args) == ZENWOQ_OK;
    return _mm_getcsr() == c_.mxcsr && ok;
  }

  const Case c_;
  const std::size_t ldx_, ldy_;
  const RandomWeight weight_, up_weight_;
  GuardBuffer operand_;  // the factor, and a first of two residuals
  GuardBuffer x_;
  std::vector<std::uint8_t> bias_, up_bias_;
  std::unique_ptr<GuardBuffer> packed_, up_packed_;
};

class RunProperty : public testing::TestWithParam<zenwoq_tier> {};

TEST_P(RunProperty, SameBitsAsTheReference) {
  const zenwoq_tier tier = GetParam();
  std::printf("kernels of %s run %s\n", find_tier(tier)->name,
              KernelHost::native(tier) ? "on this CPU" : "in the emulator: this CPU cannot run them");
  Rng rng(20260102), elements(20260103);
  auto contexts = std::make_unique<Contexts>(tier);
  int large = 0;
  for (int i = 0; i < kCases; ++i) {
    if (i % 1000 == 999) contexts = std::make_unique<Contexts>(tier);  // frees the code of their kernels
    const Case c = random_case(rng);
    large += c.k >= 1024;
    const std::string shape = fmt::format(
        "case {}: n {} k {} g {} m {} {} zero {} x {} y {} bias {} nasty {} activation {} factors {} residuals {} gated {}",
        i, c.n, c.k, c.group, c.m, dtype_name(c.format.scale_type), zero_kind_name(c.format.zero_kind),
        dtype_name(c.x_type), dtype_name(c.output_type), c.bias, c.nasty, static_cast<int>(c.activation), c.factors,
        c.residuals, c.gated);
    Runner runner(rng, c);
    std::string error;
    const auto expected = runner.run(contexts->reference(), &error);
    ASSERT_EQ(error, "") << shape;
    for (int element = 0; element < 2; ++element) {
      const std::size_t row = elements() % c.m, column = elements() % c.n;
      ASSERT_TRUE(runner.is_of_the_contract(expected, row, column)) << shape << " at " << row << ", " << column;
    }
    const auto got = runner.run(contexts->jit(rng), &error);
    ASSERT_EQ(error, "") << shape;
    ASSERT_EQ(contexts->take_problems(), "") << shape;
    ASSERT_TRUE(runner.same(got, expected)) << shape;
  }
  EXPECT_GE(large, kCases / 5);
  RecordProperty("cases", kCases);
}

// So many activations that the threads share them: rows are converted and summed once each, and to their places.
TEST_P(RunProperty, SameBitsWhereThreadsShareTheActivations) {
  KernelHost host(GetParam());
  Rng rng(4);
  Case c{};
  c.n = 17, c.k = 2048, c.group = 128, c.m = 35;
  c.bias_type = ZENWOQ_BF16, c.x_type = c.output_type = ZENWOQ_F32, c.format.zero_kind = ZENWOQ_ZERO_INTEGER;
  c.own_workspace = true;  // a new one for each run: a row that nobody converts shows
  c.mxcsr = MxcsrScope::kIeee;
  Runner runner(rng, c);
  std::vector<std::uint8_t> first;
  for (const std::uint32_t threads : {1u, 2u, 3u, 40u}) {
    zenwoq_context_options options;
    zenwoq_context_options_init(&options);
    options.threads = threads;
    options.max_tier = GetParam();
    zenwoq_context* context = nullptr;
    std::string error;
    ASSERT_TRUE(create_context(&options, host.seams(), &context).ok());
    const std::vector<std::uint8_t> y = runner.run(context, &error);
    zenwoq_context_destroy(context);
    ASSERT_EQ(error, "");
    if (first.empty()) first = y;
    EXPECT_EQ(y, first) << threads << " threads";
  }
  EXPECT_EQ(host.take_problems(), "");
}

// A row gives the same bits alone and anywhere in a batch, whatever the tuning and the number of threads.
TEST_P(RunProperty, SameBitsForARowAloneAndInABatch) {
  KernelHost host(GetParam());
  Rng rng(3);
  constexpr std::size_t kN = 200, kK = 328, kM = 37;
  const RandomWeight random = random_weight(rng, kN, kK, 64, ZENWOQ_BF16, ZENWOQ_ZERO_OFFSET);
  std::vector<std::uint16_t> x(kM * kK);
  for (auto& value : x) value = random_bf16(rng, false);
  std::vector<float> first;
  for (const char* tuning : {"zen4", "zen5", "generic"}) {
    for (const std::uint32_t threads : {1u, 2u}) {
      zenwoq_context_options options;
      zenwoq_context_options_init(&options);
      options.tuning = tuning;
      options.threads = threads;
      options.max_tier = GetParam();
      zenwoq_context* context = nullptr;
      zenwoq_weight* weight = nullptr;
      zenwoq_linear* linear = nullptr;
      const zenwoq_weight_desc desc = random.desc();
      const zenwoq_weight_source source = random.source();
      ASSERT_TRUE(create_context(&options, host.seams(), &context).ok());
      ASSERT_EQ(zenwoq_weight_create(context, &desc, &source, &weight), ZENWOQ_OK) << zenwoq_last_error();
      ASSERT_EQ(zenwoq_linear_create(context, weight, nullptr, &linear), ZENWOQ_OK) << zenwoq_last_error();
      std::vector<float> batch(kM * kN), alone(kM * kN);
      const auto run = [&](std::size_t m, std::size_t begin, std::vector<float>& y) {
        zenwoq_run_args args;
        zenwoq_run_args_init(&args);
        args.m = m, args.x = x.data() + begin * kK, args.x_bytes = m * kK * 2;
        args.y = y.data() + begin * kN, args.y_bytes = m * kN * 4;
        ASSERT_EQ(zenwoq_linear_run(linear, &args), ZENWOQ_OK) << zenwoq_last_error();
      };
      run(kM, 0, batch);
      for (std::size_t m = 0; m < kM; ++m) run(1, m, alone);
      if (first.empty()) first = batch;
      EXPECT_EQ(std::memcmp(batch.data(), first.data(), batch.size() * 4), 0) << tuning << " " << threads;
      EXPECT_EQ(std::memcmp(alone.data(), first.data(), batch.size() * 4), 0) << tuning << " " << threads;
      zenwoq_context_destroy(context);  // any order
      zenwoq_weight_destroy(weight);
      zenwoq_linear_destroy(linear);
    }
  }
  EXPECT_EQ(host.take_problems(), "");
}

// A budget of code that no kernel fits into: the reference takes the run, with the activations in the form that it
// reads.
TEST_P(RunProperty, TheReferenceServesWhereAKernelIsMissing) {
  Rng rng(5);
  Case c{};
  c.n = 70, c.k = 100, c.group = 32, c.m = 13;
  c.bias_type = c.x_type = ZENWOQ_BF16, c.output_type = ZENWOQ_F32, c.format.zero_kind = ZENWOQ_ZERO_OFFSET;
  c.bias = true;
  c.mxcsr = MxcsrScope::kIeee;
  Runner runner(rng, c);
  std::vector<std::uint8_t> y[2];
  for (const zenwoq_tier tier : {GetParam(), ZENWOQ_TIER_REFERENCE}) {
    zenwoq_context_options options;
    zenwoq_context_options_init(&options);
    options.max_tier = tier;
    options.code_bytes_max = 1;
    zenwoq_context* context = nullptr;
    std::string error;
    ASSERT_EQ(zenwoq_context_create(&options, &context), ZENWOQ_OK) << zenwoq_last_error();
    y[tier == ZENWOQ_TIER_REFERENCE] = runner.run(context, &error);
    zenwoq_context_destroy(context);
    ASSERT_EQ(error, "");
  }
  EXPECT_TRUE(runner.same(y[0], y[1]));
}

INSTANTIATE_TEST_SUITE_P(Tiers, RunProperty, testing::Values(ZENWOQ_TIER_AVX2, ZENWOQ_TIER_AVX512BF16),
                         [](const auto& tier) { return find_tier(tier.param)->name; });

}  // namespace
}  // namespace zenwoq::test
