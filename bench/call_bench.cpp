// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// What the library costs besides the products: making a context, and a call on a tiny weight.
#include <benchmark/benchmark.h>
#include <fmt/format.h>

#include <chrono>

#include "bench/session.h"

namespace zenwoq::bench {
namespace {

// Times CPU detection, the probe of executable memory and the pool. first_us is the time of the process's first
// context, which has one thread.
void context_row(benchmark::State& state, Session& session, unsigned threads) {
  zenwoq_context_options options;
  zenwoq_context_options_init(&options);
  options.threads = threads;
  for (auto _ : state) {
    zenwoq_context* context = nullptr;
    const auto start = std::chrono::steady_clock::now();
    tools::require(zenwoq_context_create(&options, &context));
    state.SetIterationTime(std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
    zenwoq_context_destroy(context);
  }
  if (threads == 1) state.counters["first_us"] = session.first_context_us();
}

// One row of x on a weight that stays in the caches. At 64 x 64 this is the cost of a call, at 576 x 576 a layer of a
// small model.
void warm_row(benchmark::State& state, Session& session, std::size_t size) {
  const Format format(size, size, 32);
  const ColdWeights weights(session.context(1), format, 0);
  const std::vector<std::uint16_t> x = random_activations(size);
  std::vector<float> y(size);
  const LinearHandle linear = tools::make_linear(session.context(1), weights.copies()[0].get());
  tools::require(zenwoq_linear_prepare(linear.get(), 1));
  zenwoq_run_args args;
  zenwoq_run_args_init(&args);
  args.m = 1;
  args.x = x.data();
  args.x_bytes = x.size() * sizeof x[0];
  args.y = y.data();
  args.y_bytes = y.size() * sizeof y[0];
  const auto start = std::chrono::steady_clock::now();
  for (auto _ : state) tools::require(zenwoq_linear_run(linear.get(), &args));
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  state.counters["GB/s"] = format.bytes() * static_cast<double>(state.iterations()) / seconds * 1e-9;
  state.SetLabel(fmt::format("tier={} cpu={}", session.tier(), session.cpu().uarch));
}

}  // namespace

void register_call_benchmarks(Session& session) {
  for (const unsigned threads : {1u, 2u}) {
    benchmark::RegisterBenchmark(fmt::format("context/create/t{}", threads).c_str(),
                                 [&session, threads](benchmark::State& state) { context_row(state, session, threads); })
        ->UseManualTime()
        ->Unit(benchmark::kMicrosecond);
  }
  for (const std::size_t size : {64, 576}) {
    benchmark::RegisterBenchmark(fmt::format("call/{0}x{0}/g32/m1/t1", size).c_str(),
                                 [&session, size](benchmark::State& state) { warm_row(state, session, size); });
  }
}

}  // namespace zenwoq::bench
