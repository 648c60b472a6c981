// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// Times linear layers on cold weights and compares them with the roof.
#include <benchmark/benchmark.h>
#include <fmt/format.h>

#include <chrono>

#include "bench/session.h"

namespace zenwoq::bench {
namespace {

// A layer for each copy of the weights, its kernels generated, and operands for a run.
class Layers {
 public:
  Layers(Session& session, const LinearCase& c)
      : x_(random_activations(c.m * c.format.k)), y_(c.m * c.format.n), operand_(y_.size(), 1.0f) {
    const BenchEpilogue& epilogue = c.epilogue;
    zenwoq_linear_desc desc;
    zenwoq_linear_desc_init(&desc);
    desc.activation = epilogue.activation;
    desc.halves = epilogue.gated;
    desc.factors = epilogue.factors;
    desc.residuals = epilogue.residuals;
    const ColdWeights& weights = session.weights(c.format);
    bytes_per_weight_ = static_cast<double>(weights.buffers()[0].size()) / static_cast<double>(c.format.n * c.format.k);
    for (const WeightHandle& copy : weights.copies()) {
      layers_.push_back(tools::make_linear(session.context(c.threads), copy.get(), &desc));
      tools::require(zenwoq_linear_prepare(layers_.back().get(), c.m));
    }
    zenwoq_run_args_init(&args_);
    args_.m = c.m;
    args_.x = x_.data();
    args_.x_bytes = x_.size() * sizeof x_[0];
    args_.y = y_.data();
    args_.y_bytes = y_.size() * sizeof y_[0];
    const zenwoq_matrix operand{operand_.data(), 0, operand_.size() * sizeof operand_[0]};
    if (epilogue.factors > 0) args_.factor = operand;
    for (unsigned i = 0; i < epilogue.residuals; ++i) args_.residual[i] = operand;
  }

  void run(std::size_t i) { tools::require(zenwoq_linear_run(layers_[i % layers_.size()].get(), &args_)); }
  std::size_t count() const { return layers_.size(); }

  // Of the packed form, header and padding included.
  double bytes_per_weight() const { return bytes_per_weight_; }

  std::string kernels() const {
    std::string names;
    std::size_t count = 1;
    for (std::size_t i = 0; i < count; ++i) {
      zenwoq_kernel_info info;
      zenwoq_kernel_info_init(&info);
      tools::require(zenwoq_linear_kernel(layers_[0].get(), args_.m, i, &count, &info));
      if (names.find(info.name) == std::string::npos) names.append(i == 0 ? "" : " ").append(info.name);
    }
    return names;
  }

 private:
  std::vector<std::uint16_t> x_;
  std::vector<float> y_, operand_;
  std::vector<LinearHandle> layers_;
  double bytes_per_weight_;
  zenwoq_run_args args_;
};

void set_counters(benchmark::State& state, const Work& work, const Roof& roof, double seconds, zenwoq_tier tier) {
  state.counters["bytes"] = work.bytes;
  state.counters["GB/s"] = work.bytes / seconds * 1e-9;
  state.counters["GFLOP/s"] = work.flops / seconds * 1e-9;
  state.counters["read_GB/s"] = roof.bytes_per_second * 1e-9;
  // Bandwidth alone is no roof: a percentage needs the dot product's peak too.
  if (!roof.known()) return;
  state.counters["peak_GFLOP/s"] = roof.gflops(tier);
  // The roof is the largest of these.
  state.counters["read_percent"] = work.bytes / roof.bytes_per_second / seconds * 100;
  state.counters["peak_percent"] = work.slots / roof.slots_per_second / seconds * 100;
  if (work.decode_slots > 0)
    state.counters["decode_percent"] = work.decode_slots / roof.slots_per_second / seconds * 100;
  state.counters["roof_percent"] = roof.seconds(work) / seconds * 100;
}

void linear_row(benchmark::State& state, Session& session, const LinearCase& c) {
  Layers layers(session, c);
  const zenwoq_tier tier = session.cpu().tier;
  const Work work(c.format, c.m, tier);
  RoofMeter& meter = session.roof_meter(c.format, c.threads);
  // Clocks and neighbours drift by more than the differences that matter. So every repetition has its own roof, the
  // mean of what is measured right before and right after its layers.
  const Roof before = meter.measure_for(work);
  layers.run(layers.count() - 1);  // the last one: the loop begins with the copies that were touched longest ago
  std::size_t i = 0;
  const auto start = std::chrono::steady_clock::now();
  for (auto _ : state) layers.run(i++);
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  set_counters(state, work, before.mean(meter.measure_for(work)), seconds / static_cast<double>(i), tier);
  state.counters["bytes_per_weight"] = layers.bytes_per_weight();
  state.SetLabel(fmt::format("tier={} cpu={} {}", session.tier(), session.cpu().uarch, layers.kernels()));
}

}  // namespace

void register_linear_benchmarks(Session& session, const std::vector<LinearCase>& cases) {
  for (const LinearCase& c : cases) {
    benchmark::RegisterBenchmark(c.name().c_str(),
                                 [&session, c](benchmark::State& state) { linear_row(state, session, c); })
        ->UseRealTime()
        ->Unit(benchmark::kMicrosecond);
  }
}

}  // namespace zenwoq::bench
