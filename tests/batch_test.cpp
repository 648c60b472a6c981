// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// Several runs in one loop: the bits of the runs alone, for linears and for packed bytes; activations are prepared once
// where runs share them; and every error.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <deque>
#include <memory>

#include "src/api/boundary.h"
#include "src/run/batch.h"
#include "tests/support/api_runs.h"
#include "tests/support/counted_memory.h"
#include "tests/support/expect_error.h"
#include "tests/support/small_stack.h"

namespace zenwoq::test {
namespace {

using tools::ContextHandle;
using tools::LinearHandle;
using tools::WeightHandle;

zenwoq_context* packing_context() {
  static const ContextHandle context = tools::make_context({1, ZENWOQ_TIER_BEST, {}});
  return context.get();
}

// One of several runs: its weight and description, x of its own or another one's, and where y is.
struct OneRun {
  WeightHandle weight;
  zenwoq_packed packed;
  zenwoq_linear_desc desc;
  zenwoq_run_args args;
  Bytes x, bias, residual, y;

  OneRun(const RandomWeight& random, std::size_t m, Rng& rng, zenwoq_dtype x_type, zenwoq_dtype output_type)
      : weight(make_weight(packing_context(), random)), packed(packed_of(weight.get())) {
    zenwoq_linear_desc_init(&desc);
    desc.output_type = output_type;
    x = random_values(rng, m * random.k, x_type, false);
    y.assign(m * random.n * dtype_bytes(output_type), 0x5A);
    zenwoq_run_args_init(&args);
    args.m = m, args.x_type = x_type, args.x = x.data(), args.x_bytes = x.size();
    args.y = y.data(), args.y_bytes = y.size();
  }
  void add_bias(Rng& rng) {
    bias = random_values(rng, packed.n, ZENWOQ_BF16, false);
    desc.bias_type = ZENWOQ_BF16, desc.bias = bias.data(), desc.bias_bytes = bias.size();
  }
  void add_residual(Rng& rng) {
    residual = random_values(rng, args.m * packed.n, desc.output_type, false);
    desc.residuals = 1, args.residual[0] = {residual.data(), 0, residual.size()};
  }
  LinearHandle linear(zenwoq_context* context) const { return tools::make_linear(context, weight.get(), &desc); }
};

// The arrays of a call.
struct Calls {
  std::vector<LinearHandle> handles;
  std::vector<zenwoq_linear*> linears;
  std::vector<const zenwoq_packed*> packed;
  std::vector<const zenwoq_linear_desc*> descs;
  std::vector<const zenwoq_run_args*> args;

  Calls(zenwoq_context* context, const std::deque<OneRun>& runs) {
    for (const OneRun& run : runs) {
      handles.push_back(run.linear(context));
      linears.push_back(handles.back().get());
      packed.push_back(&run.packed);
      const bool is_default = run.bias.empty() && run.residual.empty() && run.desc.output_type == ZENWOQ_F32;
      descs.push_back(is_default ? nullptr : &run.desc);
      args.push_back(&run.args);
    }
  }
};

std::vector<Bytes> outputs_of(std::deque<OneRun>& runs) {
  std::vector<Bytes> outputs;
  for (OneRun& run : runs) {
    outputs.push_back(run.y);
    std::fill(run.y.begin(), run.y.end(), 0x5A);
  }
  return outputs;
}

bool same(const std::deque<OneRun>& runs, const std::vector<Bytes>& a, const std::vector<Bytes>& b) {
  for (std::size_t r = 0; r < runs.size(); ++r) {
    if (!same_values(runs[r].desc.output_type, a[r], b[r])) return false;
  }
  return true;
}

void expect_as_alone(const std::vector<ContextHandle>& contexts, std::deque<OneRun>& runs, const std::string& what) {
  for (std::size_t c = 0; c < contexts.size(); ++c) {
    Calls calls(contexts[c].get(), runs);
    for (std::size_t r = 0; r < runs.size(); ++r) {
      ASSERT_EQ(zenwoq_linear_run(calls.linears[r], calls.args[r]), ZENWOQ_OK) << zenwoq_last_error();
    }
    const std::vector<Bytes> alone = outputs_of(runs);
    ASSERT_EQ(zenwoq_linears_run(calls.linears.data(), calls.args.data(), runs.size()), ZENWOQ_OK)
        << what << ": " << zenwoq_last_error();
    ASSERT_TRUE(same(runs, outputs_of(runs), alone)) << what << ", linears, context " << c;
    ASSERT_EQ(
        zenwoq_packed_runs(contexts[c].get(), calls.packed.data(), calls.descs.data(), calls.args.data(), runs.size()),
        ZENWOQ_OK)
        << what << ": " << zenwoq_last_error();
    ASSERT_TRUE(same(runs, outputs_of(runs), alone)) << what << ", packed, context " << c;
  }
}

TEST(Batch, RunsHaveTheBitsThatTheyHaveAlone) {
  constexpr zenwoq_dtype kTypes[] = {ZENWOQ_F32, ZENWOQ_F16, ZENWOQ_BF16};
  const std::vector<ContextHandle> contexts = all_contexts();
  Rng rng(20260401);
  for (int i = 0; i < 40; ++i) {
    std::deque<OneRun> runs;
    const std::size_t count = i == 0 ? 40 : pick(rng, 1, 7);
    RandomWeight last;
    for (std::size_t r = 0; r < count; ++r) {
      ParameterFormat format = random_format(rng);
      while (format.has_two_levels()) format = random_format(rng);
      const bool shares = r > 0 && rng() % 2;
      const std::size_t k = shares ? last.k : pick(rng, 1, 300);
      RandomWeight weight = random_weight(rng, pick(rng, 1, 300), k, 8 * pick(rng, 1, 8), format);
      if (rng() % 3 == 0) permute_columns(rng, &weight);
      if (rng() % 4 == 0) scale_columns(rng, &weight);
      if (shares && rng() % 2) {
        weight.permuted = last.permuted, weight.permutation = last.permutation;
        weight.x_scaled = last.x_scaled, weight.x_scale = last.x_scale;
      }
      const std::size_t m = shares ? runs.back().args.m : pick(rng, 0, 6) + (rng() % 4 == 0 ? 30 : 0);
      const zenwoq_run_args before = shares ? runs.back().args : zenwoq_run_args{};
      OneRun& run = runs.emplace_back(weight, m, rng, shares ? before.x_type : kTypes[rng() % 3],
                                      rng() % 2 ? ZENWOQ_F32 : ZENWOQ_BF16);
      if (shares && rng() % 4) run.args.x = before.x, run.args.x_bytes = before.x_bytes;
      if (rng() % 2) run.add_bias(rng);
      if (rng() % 3 == 0) run.add_residual(rng);
      last = weight;
    }
    ASSERT_NO_FATAL_FAILURE(expect_as_alone(contexts, runs, "case " + std::to_string(i)));
  }
}

// Large enough for threads to share, with rows enough for all phases.
TEST(Batch, LargeRunsHaveTheBitsThatTheyHaveAlone) {
  const std::vector<ContextHandle> contexts = all_contexts();
  Rng rng(2);
  std::deque<OneRun> runs;
  for (const std::size_t n : {640, 128, 130}) {
    runs.emplace_back(random_weight(rng, n, 1024, 128, ZENWOQ_BF16, ZENWOQ_ZERO_INTEGER), 70, rng, ZENWOQ_F32,
                      ZENWOQ_F32);
    runs.back().args.x = runs.front().args.x;
  }
  runs.emplace_back(random_weight(rng, 256, 2048, 128, ZENWOQ_BF16, ZENWOQ_ZERO_NONE), 1, rng, ZENWOQ_BF16,
                    ZENWOQ_BF16);
  ASSERT_NO_FATAL_FAILURE(expect_as_alone(contexts, runs, "large"));
}

// y of q, k and v side by side in one matrix.
TEST(Batch, OutputsMayBeColumnsOfOneMatrix) {
  const ContextHandle context = tools::make_context({2, ZENWOQ_TIER_BEST, {}});
  Rng rng(3);
  constexpr std::size_t kM = 5, kK = 64, kAll = 70 + 10 + 33;
  std::deque<OneRun> runs;
  for (const std::size_t n : {70, 10, 33}) {
    runs.emplace_back(random_weight(rng, n, kK, 32, ZENWOQ_F32, ZENWOQ_ZERO_NONE), kM, rng, ZENWOQ_BF16, ZENWOQ_F32);
  }
  Calls calls(context.get(), runs);
  ASSERT_EQ(zenwoq_linears_run(calls.linears.data(), calls.args.data(), 3), ZENWOQ_OK) << zenwoq_last_error();
  std::vector<float> together(kM * kAll);
  std::size_t column = 0;
  for (OneRun& run : runs) {
    run.args.y = together.data() + column, run.args.ldy = kAll, run.args.y_bytes = (together.size() - column) * 4;
    column += run.packed.n;
  }
  ASSERT_EQ(zenwoq_linears_run(calls.linears.data(), calls.args.data(), 3), ZENWOQ_OK) << zenwoq_last_error();
  column = 0;
  for (const OneRun& run : runs) {
    for (std::size_t m = 0; m < kM; ++m) {
      EXPECT_EQ(std::memcmp(run.y.data() + m * run.packed.n * 4, &together[m * kAll + column], run.packed.n * 4), 0);
    }
    column += run.packed.n;
  }
  const auto expect_overlap = [&](const char* text) {
    EXPECT_ERROR(zenwoq_linears_run(calls.linears.data(), calls.args.data(), 3), ZENWOQ_ERROR_INVALID_ARGUMENT, text);
  };
  runs[1].args.y = together.data() + 69;
  expect_overlap("run 0: y at");
  runs[1].args.y = together.data() + 71;
  expect_overlap("run 1: y at");
  runs[1].args.y = together.data() + 70, runs[1].args.ldy = kAll - 1;
  expect_overlap("overlaps y of run");
  runs[1].args.ldy = kAll, runs[2].args.y = together.data() + kAll + 69;  // beside run 0's second row, in its first
  runs[2].args.m = 1;
  expect_overlap("overlaps y of run");
}

// Of q, k and v of one x, each added to its columns of one matrix.
TEST(Batch, ResidualsMayBeTheColumnsThatTheirRunWrites) {
  const ContextHandle context = tools::make_context({2, ZENWOQ_TIER_BEST, {}});
  Rng rng(7);
  constexpr std::size_t kM = 5, kK = 64, kAll = 70 + 10 + 33;
  const Bytes before = random_values(rng, kM * kAll, ZENWOQ_F32, false);
  Bytes together = before;
  std::deque<OneRun> runs;
  std::size_t column = 0;
  for (const std::size_t n : {70, 10, 33}) {
    OneRun& run = runs.emplace_back(random_weight(rng, n, kK, 32, ZENWOQ_F32, ZENWOQ_ZERO_NONE), kM, rng, ZENWOQ_BF16,
                                    ZENWOQ_F32);
    run.add_residual(rng);
    run.args.x = runs.front().args.x;
    run.args.y = together.data() + column * 4, run.args.ldy = kAll, run.args.y_bytes = together.size() - column * 4;
    run.args.residual[0] = {run.args.y, kAll, run.args.y_bytes};
    column += n;
  }
  Calls calls(context.get(), runs);
  for (std::size_t r = 0; r < 3; ++r) ASSERT_EQ(zenwoq_linear_run(calls.linears[r], calls.args[r]), ZENWOQ_OK);
  const Bytes expected = together;
  const auto expect_as_alone = [&](auto&& run_all) {
    std::copy(before.begin(), before.end(), together.begin());
    ASSERT_EQ(run_all(), ZENWOQ_OK) << zenwoq_last_error();
    EXPECT_TRUE(same_values(ZENWOQ_F32, together, expected));
  };
  const auto run_linears = [&] { return zenwoq_linears_run(calls.linears.data(), calls.args.data(), 3); };
  expect_as_alone(run_linears);
  expect_as_alone(
      [&] { return zenwoq_packed_runs(context.get(), calls.packed.data(), calls.descs.data(), calls.args.data(), 3); });
  // Those of another run are not its own.
  zenwoq_run_args& args = runs[1].args;
  args.y = runs[1].y.data(), args.y_bytes = runs[1].y.size(), args.ldy = 0;
  args.residual[0] = runs[0].args.residual[0];
  EXPECT_ERROR(run_linears(), ZENWOQ_ERROR_INVALID_ARGUMENT, "overlaps residual[0] of run 1 at");
}

const Layer& layer_of(const LinearHandle& linear) { return linear->layer; }

// What the workspace holds says who prepares activations.
TEST(Batch, ActivationsAreSharedWhereWeightsPrepareThemAlike) {
  const ContextHandle context = tools::make_context({1, ZENWOQ_TIER_BEST, {}});
  Rng rng(4);
  constexpr std::size_t kK = 256, kM = 3;
  const auto plain = [&](std::size_t group, zenwoq_zero_kind zeros) {
    return random_weight(rng, 20, kK, group, ZENWOQ_BF16, zeros);
  };
  RandomWeight first = plain(64, ZENWOQ_ZERO_INTEGER), permuted = first, other = first, scaled = first;
  permute_columns(rng, &permuted);
  permute_columns(rng, &other);
  scale_columns(rng, &scaled);
  const RandomWeight no_sums = plain(64, ZENWOQ_ZERO_NONE), other_group = plain(32, ZENWOQ_ZERO_INTEGER);
  const auto leaders = [&](const std::vector<const RandomWeight*>& weights, auto&& change) {
    std::deque<OneRun> runs;
    std::vector<LinearHandle> linears;
    std::vector<Job> jobs;
    for (const RandomWeight* weight : weights) {
      OneRun& run = runs.emplace_back(*weight, kM, rng, ZENWOQ_F32, ZENWOQ_F32);
      linears.push_back(run.linear(context.get()));
      const Bytes& x = runs.front().x;
      jobs.push_back(
          {&layer_of(linears.back()), {{kM, ZENWOQ_F32, x.data(), kK * 4}, run.y.data(), 20 * 4, {}, {}, 1, {}}});
    }
    change(jobs);
    std::vector<Batch::Entry> table;
    table.reserve(jobs.size());
    const Batch batch(*context->context, jobs, table.data());
    std::size_t count = 0;
    for (std::size_t i = 0; i < jobs.size(); ++i) count += table.data()[i].leader == &table.data()[i];
    return count;
  };
  const auto same_x = [](std::vector<Job>&) {};
  EXPECT_EQ(leaders({&first, &first, &first}, same_x), 1u);
  EXPECT_EQ(leaders({&first, &no_sums}, same_x), 1u);
  EXPECT_EQ(leaders({&no_sums, &first}, same_x), 2u);
  EXPECT_EQ(leaders({&first, &other_group}, same_x), 2u);
  EXPECT_EQ(leaders({&permuted, &permuted}, same_x), 1u);
  EXPECT_EQ(leaders({&permuted, &other, &permuted, &first}, same_x), 3u);
  EXPECT_EQ(leaders({&scaled, &scaled, &first}, same_x), 2u);
  const Bytes other_x(kM * kK * 4);
  EXPECT_EQ(leaders({&first, &first}, [&](auto& jobs) { jobs[1].args.x.x = other_x.data(); }), 2u);
  EXPECT_EQ(leaders({&first, &first}, [](auto& jobs) { jobs[1].args.x.ldx_bytes += 4; }), 2u);
  EXPECT_EQ(leaders({&first, &first}, [](auto& jobs) { jobs[1].args.x.m -= 1; }), 2u);
  EXPECT_EQ(leaders({&first, &first}, [](auto& jobs) { jobs[1].args.x.x_type = ZENWOQ_BF16; }), 2u);
}

TEST(Batch, NothingIsAllocatedOnceKernelsAndScratchAreThere) {
  const ContextHandle context = tools::make_context({2, ZENWOQ_TIER_BEST, {}});
  Rng rng(6);
  std::deque<OneRun> runs;
  for (int r = 0; r < 30; ++r) {
    OneRun& run = runs.emplace_back(random_weight(rng, 70, 512, 64, ZENWOQ_BF16, ZENWOQ_ZERO_INTEGER), 9, rng,
                                    ZENWOQ_F32, ZENWOQ_F32);
    run.add_bias(rng);
  }
  Calls calls(context.get(), runs);
  const auto run_all = [&] {
    ASSERT_EQ(zenwoq_linears_run(calls.linears.data(), calls.args.data(), runs.size()), ZENWOQ_OK);
    ASSERT_EQ(
        zenwoq_packed_runs(context.get(), calls.packed.data(), calls.descs.data(), calls.args.data(), runs.size()),
        ZENWOQ_OK);
  };
  for (int i = 0; i < 3; ++i) run_all();
  const std::size_t before = counted_bytes();
  start_counted_peak();
  run_all();
  EXPECT_EQ(counted_peak_bytes(), before);
}

TEST(Batch, ALinearMayBeThereTwice) {
  const ContextHandle context = tools::make_context({2, ZENWOQ_TIER_BEST, {}});
  Rng rng(9);
  const RandomWeight weight = random_weight(rng, 70, 64, 32, ZENWOQ_F32, ZENWOQ_ZERO_NONE);
  std::deque<OneRun> runs;
  for (int r = 0; r < 2; ++r) runs.emplace_back(weight, 3, rng, ZENWOQ_BF16, ZENWOQ_F32);
  Calls calls(context.get(), runs);
  const auto run_both = [&] {
    EXPECT_EQ(zenwoq_linears_run(calls.linears.data(), calls.args.data(), 2), ZENWOQ_OK) << zenwoq_last_error();
    return outputs_of(runs);
  };
  const std::vector<Bytes> of_two = run_both();
  calls.linears[1] = calls.linears[0];
  EXPECT_TRUE(same(runs, run_both(), of_two));
}

// As many rows as kernels with scratch take, few enough runs that their arrays lie on the stack too.
TEST(Batch, RunsOn64KiBOfStack) {
  for (const ContextHandle& context : all_contexts()) {
    Rng rng(8);
    std::deque<OneRun> runs;
    for (int r = 0; r < 3; ++r) {
      runs.emplace_back(random_weight(rng, 70, 512, 0, ZENWOQ_BF16, ZENWOQ_ZERO_INTEGER), 96, rng, ZENWOQ_F32,
                        ZENWOQ_F32);
      runs.back().add_bias(rng);
    }
    Calls calls(context.get(), runs);
    const auto run_all = [&] {
      EXPECT_EQ(zenwoq_linears_run(calls.linears.data(), calls.args.data(), 3), ZENWOQ_OK);
      EXPECT_EQ(zenwoq_packed_runs(context.get(), calls.packed.data(), calls.descs.data(), calls.args.data(), 3),
                ZENWOQ_OK);
    };
    run_all();  // generating code is not promised so small a stack
    on_64_kib_of_stack(run_all);
  }
}

TEST(Batch, TasksAreSharedByWork) {
  const Problem large{64, 4096, 4096}, small{1, 4096, 4096}, tiny{1, 64, 64};
  TaskShares alone, two, tinies;
  alone.add(large);
  EXPECT_EQ(alone.of(large, 8), 64u);
  EXPECT_EQ(alone.of(large, 1), 1u);
  two.add(large), two.add(small);
  EXPECT_EQ(two.threads(8), 8u);
  EXPECT_EQ(two.of(large, 8), 57u);  // 72 of 81
  EXPECT_EQ(two.of(small, 8), 7u);   // 9 of 81
  EXPECT_EQ(two.of(tiny, 8), 1u);
  tinies.add(tiny), tinies.add(tiny);
  EXPECT_EQ(tinies.threads(8), 1u);
  EXPECT_EQ(tinies.of(tiny, 8), 1u);
}

class BatchErrors : public testing::Test {
 protected:
  BatchErrors() {
    for (int r = 0; r < 2; ++r) {
      OneRun& run = runs_.emplace_back(random_weight(rng_, 12, 16, 8, ZENWOQ_F32, ZENWOQ_ZERO_NONE), 2, rng_,
                                       ZENWOQ_BF16, ZENWOQ_F32);
      run.add_bias(rng_);
      run.add_residual(rng_);
      good_[r] = run.args;
    }
    calls_ = std::make_unique<Calls>(context_.get(), runs_);
  }
  zenwoq_status run_linears() { return zenwoq_linears_run(calls_->linears.data(), calls_->args.data(), 2); }
  zenwoq_status run_packed() {
    return zenwoq_packed_runs(context_.get(), calls_->packed.data(), calls_->descs.data(), calls_->args.data(), 2);
  }
  void expect_untouched() {
    for (const OneRun& run : runs_) EXPECT_EQ(run.y, Bytes(run.y.size(), 0x5A));
  }
  void expect_packed(zenwoq_status status, const char* text) {
    EXPECT_ERROR(run_packed(), status, text);
    expect_untouched();
    for (int r = 0; r < 2; ++r) runs_[r].args = good_[r];
  }
  void expect_both(zenwoq_status status, const char* text) {
    EXPECT_ERROR(run_linears(), status, text);
    expect_packed(status, text);
  }

  Rng rng_{5};
  const ContextHandle context_ = tools::make_context({2, ZENWOQ_TIER_BEST, {}});
  std::deque<OneRun> runs_;
  zenwoq_run_args good_[2];
  std::unique_ptr<Calls> calls_;
};

constexpr zenwoq_status kInvalid = ZENWOQ_ERROR_INVALID_ARGUMENT;

TEST_F(BatchErrors, NameTheRun) {
  zenwoq_run_args& args = runs_[1].args;
  args.struct_size = 3;
  expect_both(kInvalid, "run 1: zenwoq_run_args->struct_size is 3");
  args.x_bytes = 63;
  expect_both(ZENWOQ_ERROR_BUFFER_TOO_SMALL, "run 1: x_bytes is 63, 64 are needed");
  args.residual[0].bytes = 95;
  expect_both(ZENWOQ_ERROR_BUFFER_TOO_SMALL, "run 1: residual[0]_bytes is 95, 96 are needed");
  args.threads = 1;
  expect_both(kInvalid, "run 1: threads is 1, that of run 0 0");
  args.parallel_for_user = &args;
  expect_both(kInvalid, "run 1: parallel_for or parallel_for_user is not that of run 0");
  args.workspace = &args;
  expect_both(kInvalid, "run 1: workspace at");
  runs_[0].args.workspace_bytes = 5;
  expect_both(kInvalid, "run 0: workspace at");
  args.m = SIZE_MAX / 8;
  expect_both(ZENWOQ_ERROR_OVERFLOW, "run 1: ");
  runs_[1].packed.n = 13;
  expect_packed(kInvalid, "run 1: packed weight of n = 12, k = 16, the caller expects n = 13");
  runs_[1].packed.n = 12, runs_[1].desc.bias_bytes -= 1;
  expect_packed(ZENWOQ_ERROR_BUFFER_TOO_SMALL, "run 1: bias_bytes is 23");
  runs_[1].desc.bias_bytes += 1, runs_[1].packed.struct_size = 3;
  expect_packed(kInvalid, "run 1: zenwoq_packed->struct_size is 3");
  runs_[1].packed.struct_size = sizeof(zenwoq_packed), runs_[1].desc.output_type = ZENWOQ_F16;
  expect_packed(kInvalid, "run 1: output_type 2");
}

TEST_F(BatchErrors, OfArrays) {
  EXPECT_EQ(zenwoq_linears_run(nullptr, nullptr, 0), ZENWOQ_OK);
  EXPECT_EQ(zenwoq_packed_runs(context_.get(), nullptr, nullptr, nullptr, 0), ZENWOQ_OK);
  EXPECT_ERROR(zenwoq_linears_run(nullptr, calls_->args.data(), 2), kInvalid, "linears is NULL");
  EXPECT_ERROR(zenwoq_linears_run(calls_->linears.data(), nullptr, 2), kInvalid, "args is NULL");
  EXPECT_ERROR(zenwoq_linears_run(calls_->linears.data(), calls_->args.data(), SIZE_MAX / 64), ZENWOQ_ERROR_OVERFLOW,
               "overflows");
  EXPECT_ERROR(zenwoq_packed_runs(nullptr, calls_->packed.data(), nullptr, calls_->args.data(), 2), kInvalid,
               "context is NULL");
  EXPECT_ERROR(zenwoq_packed_runs(context_.get(), nullptr, nullptr, calls_->args.data(), 2), kInvalid,
               "packed is NULL");
  EXPECT_ERROR(zenwoq_packed_runs(context_.get(), calls_->packed.data(), nullptr, nullptr, 2), kInvalid,
               "args is NULL");
  calls_->args[1] = nullptr;
  expect_both(kInvalid, "run 1: zenwoq_run_args is NULL");
  calls_->args[1] = &runs_[1].args, calls_->packed[1] = nullptr;
  expect_packed(kInvalid, "run 1: zenwoq_packed is NULL");
  calls_->linears[1] = nullptr;
  EXPECT_ERROR(run_linears(), kInvalid, "run 1: linear is NULL");
  calls_->linears[0] = nullptr;
  EXPECT_ERROR(run_linears(), kInvalid, "run 0: linear is NULL");
  const ContextHandle other = tools::make_context({1, ZENWOQ_TIER_BEST, {}});
  const LinearHandle of_other = runs_[1].linear(other.get());
  calls_->linears = {calls_->handles[0].get(), of_other.get()};
  EXPECT_ERROR(run_linears(), kInvalid, "run 1: the linear is of another context than that of run 0");
  expect_untouched();
}

TEST_F(BatchErrors, OutputsOverlapNothingOfAnotherRun) {
  OneRun &a = runs_[0], &b = runs_[1];
  Bytes room(4096, 0x5A);
  std::uint8_t* const at = room.data() + 2048;
  // The last element of run 0's y, which has 96 bytes, lies where something of run 1 begins.
  const auto expect = [&](const char* text) {
    a.args.y = at - 92;
    expect_both(kInvalid, text);
  };
  b.args.y = at;
  expect("run 0: y at");
  b.args.y = at - 200, b.args.y_bytes = 96, b.args.x = at;
  expect("overlaps x of run 1 at");
  b.args.residual[0].data = at;
  expect("overlaps residual[0] of run 1 at");
  // A read that begins first ends last ...
  b.args.x = at - 200, b.args.ldx = 100, b.args.x_bytes = 232, b.args.residual[0].data = at - 100;
  a.args.y = at;
  expect_both(kInvalid, "run 0: y at");
  // ... and so does an output.
  a.args.y = at - 400, a.args.ldy = 100, a.args.y_bytes = 448;
  b.args.m = 1, b.args.y = at - 352, b.args.x = at + 20;
  expect_both(kInvalid, "overlaps x of run 1 at");
  a.args.residual[0].data = at - 184, b.args.y = at - 92;  // a read before a y, ends in it
  a.args.y = at - 500;
  expect_both(kInvalid, "run 1: y at");
  b.desc.bias = at;
  a.args.y = at - 92;
  expect_packed(kInvalid, "overlaps bias of run 1 at");
  b.desc.bias = b.bias.data();
  std::memcpy(at, b.packed.packed, std::min<std::size_t>(b.packed.packed_bytes, 2048));
  ASSERT_LE(b.packed.packed_bytes, 2048u);
  const Bytes before = room;
  b.packed.packed = at;
  a.args.y = at - 92;
  expect_packed(kInvalid, "overlaps packed of run 1 at");
  EXPECT_EQ(room, before);
  // A run's own residual may be its y.
  a.args.residual[0] = {a.y.data(), 0, a.y.size()};
  EXPECT_EQ(run_linears(), ZENWOQ_OK) << zenwoq_last_error();
  EXPECT_EQ(run_packed(), ZENWOQ_OK) << zenwoq_last_error();
}

}  // namespace
}  // namespace zenwoq::test
