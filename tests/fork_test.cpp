// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// Forks beside nine threads that run, generate, pack, inspect, destroy and throw: whatever they were doing, each child
// runs the same layers to the same bits, generates, packs, throws, and destroys all it has inherited, within seconds.
//
// ZENWOQ_FORKS=20000 build/tests/fork_test    as many forks
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <deque>
#include <thread>
#include <vector>

#include "tests/support/forked.h"
#include "tools/api_handles.h"

namespace zenwoq::test {
namespace {

using Context = tools::ContextHandle;
using Weight = tools::WeightHandle;
using Linear = tools::LinearHandle;

// Wide enough that its runs use the threads of the pool, and take scratch for their rows and their bias.
constexpr std::size_t kN = 192, kK = 4128;
constexpr std::size_t kForksARound = 50, kChildrenAtOnce = 2;

const std::vector<std::uint8_t> kCodes(kN* kK / 2, 0x9A);
const std::vector<float> kScales(kN*kK / 32, 0.25f), kX(kK, 1.5f);
const std::vector<std::uint16_t> kBias(kN, 0);  // of another type than f32: it is converted into scratch

std::size_t forks_to_make() {
  const char* wanted = std::getenv("ZENWOQ_FORKS");
  return wanted != nullptr ? std::strtoul(wanted, nullptr, 10) : ZENWOQ_TSAN ? 50 : 1000;
}

Weight weight_of(zenwoq_context* context, std::size_t n, std::size_t k) {
  zenwoq_weight_desc desc;
  zenwoq_weight_desc_init(&desc);
  desc.n = n, desc.k = k, desc.group_size = 32, desc.scale_type = ZENWOQ_F32;
  zenwoq_weight_source source;
  zenwoq_weight_source_init(&source);
  source.codes = kCodes.data(), source.codes_bytes = kCodes.size();
  source.scales = kScales.data(), source.scales_bytes = kScales.size() * sizeof kScales[0];
  zenwoq_weight* weight = nullptr;
  return Weight(zenwoq_weight_create(context, &desc, &source, &weight) == ZENWOQ_OK ? weight : nullptr);
}

Linear linear_of(zenwoq_context* context, const Weight& weight) {
  zenwoq_linear* linear = nullptr;
  return Linear(zenwoq_linear_create(context, weight.get(), nullptr, &linear) == ZENWOQ_OK ? linear : nullptr);
}

class Arguments {
 public:
  Arguments(std::size_t n, std::size_t k) : y_(n) {
    zenwoq_run_args_init(&args_);
    args_.m = 1, args_.x_type = ZENWOQ_F32;
    args_.x = kX.data(), args_.x_bytes = k * sizeof(float);
    args_.y = y_.data(), args_.y_bytes = n * sizeof(float);
  }
  const zenwoq_run_args* get() const { return &args_; }
  // Codes 10 and 9 are +2 and +1 times 0.25: exact in f32.
  bool right(std::size_t k) const {
    const float expected = 0.25f * 1.5f * 1.5f * static_cast<float>(k);
    return std::all_of(y_.begin(), y_.end(), [&](float y) { return y == expected; });
  }

 private:
  std::vector<float> y_;
  zenwoq_run_args args_;
};

// What parent and children share, and what each of them does with it: 0, or the number of the step that failed.
class Shared {
 public:
  Shared() {
    // TSan takes a child's threads for those of its parent whose stacks they have.
    context_ = tools::make_context({.threads = ZENWOQ_TSAN ? 1u : 3u, .tuning = {}});
    weight_ = weight_of(context_.get(), kN, kK);
    linear_ = linear_of(context_.get(), weight_);
  }

  bool run() const {
    const Arguments args(kN, kK);
    return zenwoq_linear_run(linear_.get(), args.get()) == ZENWOQ_OK && args.right(kK);
  }

  bool run_packed() const {
    zenwoq_packed packed;
    zenwoq_packed_init(&packed);
    packed.n = kN, packed.k = kK;
    if (zenwoq_weight_packed(weight_.get(), &packed.packed, &packed.packed_bytes) != ZENWOQ_OK) return false;
    zenwoq_linear_desc desc;
    zenwoq_linear_desc_init(&desc);
    desc.bias = kBias.data(), desc.bias_bytes = kN * 2, desc.bias_type = ZENWOQ_BF16;
    const Arguments args(kN, kK);
    return zenwoq_packed_run(context_.get(), &packed, &desc, args.get()) == ZENWOQ_OK && args.right(kK);
  }

  // Packs a weight, and generates the kernels of a few heights of rows for it.
  bool generate(std::size_t k) const {
    const Weight weight = weight_of(context_.get(), 64, k);
    const Linear linear = linear_of(context_.get(), weight);
    for (std::size_t m = 1; m <= 6; ++m) {
      if (zenwoq_linear_prepare(linear.get(), m) != ZENWOQ_OK) return false;
    }
    const Arguments args(64, k);
    return zenwoq_linear_run(linear.get(), args.get()) == ZENWOQ_OK && args.right(k);
  }

  bool inspect() const {
    zenwoq_registry_stats stats;
    zenwoq_registry_stats_init(&stats);
    return zenwoq_context_registry_stats(context_.get(), &stats) == ZENWOQ_OK;
  }

  // As code of a host may at any time: the compiler's runtime looks through all code that it knows of.
  static bool throws() {
    try {
      throw 1;
    } catch (int) {
      return true;
    }
  }

  static bool come_and_go() {
    const Shared own;
    return own.generate(64);
  }

  int in_a_child(std::size_t k) {
    if (!run()) return 1;
    if (!run_packed()) return 2;
    if (!inspect()) return 3;
    if (!generate(k) || !generate(32)) return 4;  // of which one is in the making by a thread that is not here
    if (!come_and_go()) return 5;
    if (!throws()) return 6;
    linear_.reset(), weight_.reset(), context_.reset();
    return 0;
  }

 private:
  Context context_;
  Weight weight_;
  Linear linear_;
};

class Threads {
 public:
  explicit Threads(const Shared& shared) {
    start([&] { return shared.run(); });
    start([&] { return shared.run_packed(); });
    start([&] { return shared.run_packed(); });
    start([&] { return shared.inspect(); });
    for (std::size_t first : {32, 64, 96}) {
      start([&shared, first, k = first]() mutable { return shared.generate(k = k + 96 < kK ? k + 96 : first); });
    }
    start([] { return Shared::come_and_go(); });
    start([] { return Shared::throws(); });
  }
  ~Threads() {
    stop_ = true;
    for (std::thread& thread : threads_) thread.join();
    EXPECT_EQ(failed_, 0) << "in the parent";
  }

 private:
  template <typename Work>
  void start(Work work) {
    threads_.emplace_back([this, work]() mutable {
      while (!stop_) failed_ += work() ? 0 : 1;
    });
  }
  std::atomic<bool> stop_{false};
  std::atomic<int> failed_{0};
  std::vector<std::thread> threads_;
};

TEST(Fork, ChildrenGoOnWhateverTheThreadsWereDoing) {
  using Clock = std::chrono::steady_clock;
  struct Child {
    pid_t process;
    Clock::time_point start;
  };
  const std::size_t forks = forks_to_make();
  std::deque<Child> children;
  Clock::duration slowest{0};
  const auto wait_for_one = [&] {
    const Child child = children.front();
    children.pop_front();
    const int end = wait_for_child(child.process);
    slowest = std::max(slowest, Clock::now() - child.start);
    return end;
  };
  for (std::size_t made = 0; made < forks;) {
    Shared shared;  // anew, so that there is always something to generate
    const Threads threads(shared);
    for (const std::size_t end = std::min(made + kForksARound, forks); made < end; ++made) {
      const std::size_t k = 32 * (1 + made % 128);
      children.push_back({start_child([&] { return shared.in_a_child(k); }), Clock::now()});
      if (children.size() < kChildrenAtOnce) continue;
      const int ended = wait_for_one();
      ASSERT_EQ(ended, 0) << "around fork " << made << ": 1000 and more is a signal, SIGALRM if the child hung";
    }
  }
  while (!children.empty()) ASSERT_EQ(wait_for_one(), 0);
  std::printf("%zu forks, the slowest child took %.2f s\n", forks, std::chrono::duration<double>(slowest).count());
}

}  // namespace
}  // namespace zenwoq::test
