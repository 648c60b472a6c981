// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// What a second thread costs: until it works beside the caller, and until the caller knows that it has ended. And what
// the pool costs inside a host whose own threads poll, as against a loop of the host's.
#include <benchmark/benchmark.h>
#include <fmt/format.h>
#include <immintrin.h>

#include <atomic>
#include <chrono>
#include <thread>

#include "bench/session.h"
#include "src/api/boundary.h"

namespace zenwoq::bench {
namespace {

using Clock = std::chrono::steady_clock;

constexpr unsigned kThreads = 2;
constexpr int kSleeps = 10;                      // per repetition
constexpr std::chrono::milliseconds kPause{50};  // longer than any pool should spin
constexpr std::chrono::seconds kPatience{1};

// Tasks that wait for each other, so that the caller cannot do both alone. They give up if no second thread comes.
struct Meeting {
  std::atomic<unsigned> arrived{0};
  std::atomic<bool> missed{false};

  static void attend(void* arg, std::size_t) {
    Meeting& meeting = *static_cast<Meeting*>(arg);
    meeting.arrived.fetch_add(1);
    constexpr int kLooks = 10000;  // at the counter between two looks at the clock
    const Clock::time_point start = Clock::now();
    while (true) {
      for (int i = 0; i < kLooks; ++i) {
        if (meeting.arrived.load(std::memory_order_relaxed) == kThreads) return;
      }
      if (Clock::now() - start > kPatience) break;
    }
    meeting.missed = true;
  }
};

void label(benchmark::State& state, Session& session) {
  const unsigned cpus = session.usable_cpus();
  if (cpus < kThreads) state.SetLabel(fmt::format("{} threads on {} CPU: no figure of the pool", kThreads, cpus));
}

void wake_row(benchmark::State& state, Session& session, std::chrono::milliseconds pause) {
  Context& context = *session.context(kThreads)->context;
  bool missed = false;
  const auto meet = [&] {
    Meeting meeting;
    const Clock::time_point start = Clock::now();
    context.parallel_for(kThreads, Meeting::attend, &meeting);
    const Clock::time_point end = Clock::now();
    missed = missed || meeting.missed;
    return std::chrono::duration<double>(end - start).count();
  };
  meet();  // so that the pool has run before and spins
  for (auto _ : state) {
    if (pause.count() > 0) std::this_thread::sleep_for(pause);
    state.SetIterationTime(meet());
    if (missed) {
      state.SkipWithError("no second thread came");
      break;
    }
  }
  label(state, session);
}

// The least cost of a loop over threads: its tasks do nothing, and the caller may run all before another thread comes.
void empty_row(benchmark::State& state, Session& session) {
  Context& context = *session.context(kThreads)->context;
  for (auto _ : state)
    context.parallel_for(
        kThreads, [](void*, std::size_t) {}, nullptr);
  label(state, session);
}

// A runtime with a thread beside the caller's that polls for work and never sleeps, as those of OpenMP and llama.cpp
// do.
class PollingHost {
 public:
  PollingHost() : thread_([this] { poll(); }) {}
  ~PollingHost() {
    stop_ = true;
    thread_.join();
  }
  PollingHost(const PollingHost&) = delete;
  PollingHost& operator=(const PollingHost&) = delete;

  static void parallel_for(void* host, std::size_t n, void (*task)(void* arg, std::size_t i), void* arg) {
    PollingHost& self = *static_cast<PollingHost*>(host);
    self.n_ = n, self.task_ = task, self.arg_ = arg;
    self.next_.store(0, std::memory_order_relaxed);
    self.done_.store(0, std::memory_order_relaxed);
    self.loop_.fetch_add(1, std::memory_order_release);
    self.take();
    while (self.done_.load(std::memory_order_acquire) == 0) _mm_pause();
  }

 private:
  void take() {
    for (std::size_t i; (i = next_.fetch_add(1, std::memory_order_relaxed)) < n_;) task_(arg_, i);
  }
  void poll() {
    for (unsigned seen = 0; !stop_;) {
      if (loop_.load(std::memory_order_acquire) == seen) {
        _mm_pause();
        continue;
      }
      ++seen;
      take();
      done_.store(1, std::memory_order_release);
    }
  }

  std::size_t n_ = 0;
  void (*task_)(void* arg, std::size_t i) = nullptr;
  void* arg_ = nullptr;
  std::atomic<std::size_t> next_{0};
  std::atomic<unsigned> loop_{0}, done_{0};
  std::atomic<bool> stop_{false};
  std::thread thread_;
};

// Runs of one row beside such a host, on the context's pool or on the host's threads.
void host_row(benchmark::State& state, Session& session, bool lent) {
  const Format format(2048, 2048, 32);
  const ColdWeights weights(session.context(kThreads), format, 0);
  const LinearHandle linear = tools::make_linear(session.context(kThreads), weights.copies()[0].get());
  const std::vector<std::uint16_t> x = random_activations(format.k);
  std::vector<float> y(format.n);
  PollingHost host;
  zenwoq_run_args args;
  zenwoq_run_args_init(&args);
  args.m = 1;
  args.x = x.data(), args.x_bytes = x.size() * sizeof x[0];
  args.y = y.data(), args.y_bytes = y.size() * sizeof y[0];
  if (lent) args.threads = kThreads, args.parallel_for = PollingHost::parallel_for, args.parallel_for_user = &host;
  for (auto _ : state) tools::require(zenwoq_linear_run(linear.get(), &args));
  label(state, session);
}

}  // namespace

void register_pool_benchmarks(Session& session) {
  const auto add = [](const char* name, auto row) { return benchmark::RegisterBenchmark(name, row); };
  const auto wake = [&session](std::chrono::milliseconds pause) {
    return [&session, pause](benchmark::State& state) { wake_row(state, session, pause); };
  };
  add("pool/empty/t2", [&session](benchmark::State& state) { empty_row(state, session); })->UseRealTime();
  add("pool/wake/spinning/t2", wake(std::chrono::milliseconds(0)))->UseManualTime();
  for (const bool lent : {false, true}) {
    add(lent ? "pool/host/lent/t2" : "pool/host/own/t2", [&session, lent](benchmark::State& state) {
      host_row(state, session, lent);
    })->UseRealTime();
  }
  // A fixed, small number of iterations, because Google Benchmark does not see the pauses.
  add("pool/wake/slept/t2", wake(kPause))->UseManualTime()->Iterations(kSleeps);
}

}  // namespace zenwoq::bench
