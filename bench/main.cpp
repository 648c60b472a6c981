// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// zenwoq-bench: speed against the roof measured in the same run.
#include <benchmark/benchmark.h>
#include <fmt/format.h>

#include <algorithm>
#include <cstdio>
#include <exception>

#include "bench/session.h"

namespace zenwoq::bench {
namespace {

// Adds to the head of the console's and the JSON's output: the machine, and its roof at the start of the run.
void add_context(Session& session, const std::vector<LinearCase>& cases) {
  const zenwoq_cpu_info cpu = session.cpu();
  const auto add = [](const std::string& key, const std::string& value) { benchmark::AddCustomContext(key, value); };
  add("zenwoq_version", zenwoq_version());
  add("cpu", cpu.brand);
  add("uarch", fmt::format("{} (family {:02X}h model {:02X}h)", cpu.uarch, cpu.family, cpu.model));
  add("tier", session.tier());
  add("tier_reason", cpu.tier_reason);
  add("tuning", cpu.tuning);
  add("usable_cpus", fmt::format("{}", session.usable_cpus()));
  add("l3_bytes", fmt::format("{} ({})", cpu.l3_bytes, cpu.cache_source));
  add("cold_bytes", fmt::format("{}", session.cold_bytes()));
  std::vector<unsigned> seen;
  for (const LinearCase& c : cases) {
    if (std::find(seen.begin(), seen.end(), c.threads) != seen.end()) continue;
    seen.push_back(c.threads);
    RoofMeter& meter = session.roof_meter(cases.front().format, c.threads);
    const Roof roof = meter.measure();
    const auto or_not = [](double value) { return value > 0 ? fmt::format("{:.1f}", value) : "not available"; };
    add(fmt::format("read_gb_per_s_t{}", c.threads), or_not(roof.bytes_per_second * 1e-9));
    add(fmt::format("read_loop_t{}", c.threads), meter.read_loop());
    add(fmt::format("peak_gflop_per_s_t{}", c.threads), or_not(roof.gflops(cpu.tier)));
    add(fmt::format("peak_loop_t{}", c.threads), meter.dot_loop());
  }
}

int run(int argc, char** argv) {
  Options options = read_options(argc, argv);
  std::vector<char*> arguments;
  for (std::string& option : options.benchmark_options) arguments.push_back(option.data());
  int count = static_cast<int>(arguments.size());
  benchmark::Initialize(&count, arguments.data());
  if (benchmark::ReportUnrecognizedArguments(count, arguments.data())) return 1;
  Session session(options);
  add_context(session, options.cases);
  register_linear_benchmarks(session, options.cases);
  register_experts_benchmarks(session, options.experts);
  register_kernel_benchmarks();
  register_weight_benchmarks(session);
  register_call_benchmarks(session);
  register_pool_benchmarks(session);
  const std::size_t matched = benchmark::RunSpecifiedBenchmarks();
  benchmark::Shutdown();
  return matched == 0 ? 1 : 0;
}

}  // namespace
}  // namespace zenwoq::bench

int main(int argc, char** argv) {
  try {
    return zenwoq::bench::run(argc, argv);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "zenwoq-bench: %s\n", error.what());
    return 2;
  }
}
