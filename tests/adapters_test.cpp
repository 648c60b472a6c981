// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// The adapters of examples/adapters: each runs every index once, inside its own loops too and from many threads, and
// layers give the same bits on them as on the library's pool.
#include <gtest/gtest.h>
#include <omp.h>

#include <condition_variable>
#include <deque>
#include <mutex>

#include "examples/adapters/openmp.h"
#include "examples/adapters/own_pool.h"
#include "examples/adapters/std_thread.h"
#include "tests/support/random_weight.h"
#include "tools/api_handles.h"

namespace zenwoq::test {
namespace {

constexpr unsigned kThreads = 3;

// What a program may have: a queue and threads that take from it.
class QueuePool {
 public:
  QueuePool() {
    for (unsigned t = 0; t < kThreads; ++t) threads_.emplace_back([this] { work(); });
  }
  ~QueuePool() {
    submit(nullptr);
    for (std::thread& thread : threads_) thread.join();
  }
  unsigned threads() const { return kThreads; }
  void submit(std::function<void()> job) {
    if (refuses_) throw std::bad_alloc();
    const std::lock_guard lock(mutex_);
    jobs_.push_back(std::move(job));
    ready_.notify_one();
  }
  void refuse(bool refuses) { refuses_ = refuses; }

 private:
  void work() {
    while (true) {
      std::unique_lock lock(mutex_);
      ready_.wait(lock, [this] { return !jobs_.empty(); });
      if (!jobs_.front()) return ready_.notify_one();  // the end, left for the others
      const std::function<void()> job = std::move(jobs_.front());
      jobs_.pop_front();
      lock.unlock();
      job();
    }
  }

  std::mutex mutex_;
  std::condition_variable ready_;
  std::deque<std::function<void()>> jobs_;
  std::atomic<bool> refuses_{false};
  std::vector<std::thread> threads_;
};

struct Adapter {
  const char* name;
  zenwoq_parallel_for_fn run;
  void* user;

  void operator()(size_t n, const std::function<void(size_t)>& body) const {
    run(
        user, n, [](void* arg, size_t i) { (*static_cast<const std::function<void(size_t)>*>(arg))(i); },
        const_cast<std::function<void(size_t)>*>(&body));
  }
};

class Adapters : public testing::Test {
 protected:
  std::vector<Adapter> all() {
    return {{"OpenMP", run_on_openmp, nullptr},
            {"std::thread", run_on_std_threads, &threads_},
            {"own pool", run_on_pool<QueuePool>, &pool_}};
  }
  unsigned threads_ = kThreads;
  QueuePool pool_;
};

void expect_each_once(const Adapter& adapter, size_t n) {
  std::vector<std::atomic<int>> hits(n);
  adapter(n, [&](size_t i) { ++hits[i]; });
  for (size_t i = 0; i < n; ++i) ASSERT_EQ(hits[i], 1) << adapter.name << ": index " << i << " of " << n;
}

TEST_F(Adapters, EveryIndexOnce) {
  for (const Adapter& adapter : all()) {
    for (size_t n : {0, 1, 2, 3, 7, 1000}) expect_each_once(adapter, n);
  }
}

TEST_F(Adapters, InsideTheirOwnLoops) {
  for (const Adapter& adapter : all()) {
    std::atomic<int> sum{0};
    adapter(8, [&](size_t) { adapter(5, [&](size_t i) { sum += static_cast<int>(i); }); });
    EXPECT_EQ(sum, 80) << adapter.name;
  }
}

TEST_F(Adapters, FromManyThreads) {
  for (const Adapter& adapter : all()) {
    std::vector<std::thread> callers;
    for (int c = 0; c < 4; ++c) {
      callers.emplace_back([&adapter] {
        for (int round = 0; round < 20; ++round) expect_each_once(adapter, 50);
      });
    }
    for (std::thread& caller : callers) caller.join();
  }
}

TEST_F(Adapters, OwnPoolThatRefuses) {
  pool_.refuse(true);
  expect_each_once(all()[2], 10);
  pool_.refuse(false);
}

// y of one layer, packed and run in a context with these options.
std::vector<float> product(const RandomWeight& weight, const std::vector<float>& x, zenwoq_context_options options) {
  const zenwoq_weight_desc desc = weight.desc();
  const tools::ContextHandle context = tools::make_context_from(options);
  const tools::WeightHandle packed = tools::make_weight(context.get(), desc, weight.source());
  const tools::LinearHandle linear = tools::make_linear(context.get(), packed.get());
  const size_t m = x.size() / desc.k;
  std::vector<float> y(m * desc.n);
  zenwoq_run_args run;
  zenwoq_run_args_init(&run);
  run.m = m, run.x_type = ZENWOQ_F32, run.x = x.data(), run.x_bytes = x.size() * sizeof(float);
  run.y = y.data(), run.y_bytes = y.size() * sizeof(float);
  EXPECT_EQ(zenwoq_linear_run(linear.get(), &run), ZENWOQ_OK) << zenwoq_last_error();
  return y;
}

TEST_F(Adapters, SameBitsAsThePool) {
  Rng rng(17);
  const RandomWeight weight = random_weight(rng, 1000, 256, 32, ZENWOQ_F32, ZENWOQ_ZERO_INTEGER);
  std::vector<float> x(5 * 256);
  for (float& value : x) value = static_cast<float>(pick(rng, 0, 200)) / 64 - 1;
  zenwoq_context_options options;
  zenwoq_context_options_init(&options);
  const std::vector<float> expected = product(weight, x, options);
  for (const Adapter& adapter : all()) {
    options.parallel_for = adapter.run;
    options.parallel_for_user = adapter.user;
    options.threads = kThreads;
    const std::vector<float> y = product(weight, x, options);
    for (size_t i = 0; i < y.size(); ++i) ASSERT_TRUE(same_f32(y[i], expected[i])) << adapter.name << " at " << i;
  }
}

}  // namespace
}  // namespace zenwoq::test
