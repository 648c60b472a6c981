// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// Times mixture-of-experts blocks on cold experts, and compares them with the roof of the experts that were chosen.
#include <benchmark/benchmark.h>
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <numeric>
#include <random>

#include "bench/session.h"

namespace zenwoq::bench {
namespace {

constexpr std::size_t kTokens[] = {1, 4, 16, 64, 256, 1024};
constexpr std::size_t kGroups[] = {128, 32};  // bf16 and f16 scales, as GGUF's Q4_0 has them
constexpr std::size_t kRoutings = 8;  // that runs take in turn, so that one token finds other experts, cold ones

struct ExpertsDeleter {
  void operator()(zenwoq_experts* experts) const { zenwoq_experts_destroy(experts); }
};
using ExpertsHandle = std::unique_ptr<zenwoq_experts, ExpertsDeleter>;

struct ExpertsCase {
  ExpertsBlock block;
  std::size_t group, tokens;
  unsigned threads;
  bool hot;  // all tokens choose the same experts

  Format gate_or_up() const { return format(block.intermediate, block.hidden); }
  Format down() const { return format(block.hidden, block.intermediate); }
  std::string name() const {
    return fmt::format("experts/{}/g{}/tokens{}/t{}{}", block.name, group, tokens, threads, hot ? "/hot" : "");
  }

 private:
  Format format(std::size_t n, std::size_t k) const {
    Format format(n, k, group);
    if (group == 32) format.scale_type = ZENWOQ_F16;
    return format;
  }
};

// The weights of a block, kept until another block or group is asked for: they take hundreds of megabytes.
class ExpertWeights {
 public:
  ExpertWeights(zenwoq_context* context, const ExpertsCase& c) {
    const Format gate = c.gate_or_up(), down = c.down();
    const Source gate_source(gate, ZENWOQ_CODES_NIBBLES), down_source(down, ZENWOQ_CODES_NIBBLES);
    for (std::size_t e = 0; e < c.block.experts; ++e) {
      gate_.push_back(tools::make_weight(context, gate.desc(), gate_source.view()));
      up_.push_back(tools::make_weight(context, gate.desc(), gate_source.view()));
      down_.push_back(tools::make_weight(context, down.desc(), down_source.view()));
    }
  }

  ExpertsHandle make_experts(zenwoq_context* context, const ExpertsBlock& block) const {
    const auto handles = [](const std::vector<WeightHandle>& weights) {
      std::vector<zenwoq_weight*> all;
      for (const WeightHandle& weight : weights) all.push_back(weight.get());
      return all;
    };
    const auto gate = handles(gate_), up = handles(up_), down = handles(down_);
    zenwoq_experts_desc desc;
    zenwoq_experts_desc_init(&desc);
    desc.experts = block.experts;
    desc.hidden = block.hidden;
    desc.intermediate = block.intermediate;
    desc.gate = gate.data();
    desc.up = up.data();
    desc.down = down.data();
    desc.output_type = ZENWOQ_BF16;
    zenwoq_experts* experts = nullptr;
    tools::require(zenwoq_experts_create(context, &desc, &experts));
    return ExpertsHandle(experts);
  }

 private:
  std::vector<WeightHandle> gate_, up_, down_;
};

// Which experts each token has, and what that is in work.
struct Routing {
  std::vector<std::int32_t> ids;  // [tokens, slots]
  std::vector<std::size_t> rows;  // [experts]

  Routing(const ExpertsCase& c, unsigned seed) : rows(c.block.experts) {
    std::mt19937 random(seed);
    std::vector<std::int32_t> experts(c.block.experts);
    std::iota(experts.begin(), experts.end(), 0);
    for (std::size_t t = 0; t < c.tokens; ++t) {
      if (t == 0 || !c.hot) std::shuffle(experts.begin(), experts.end(), random);
      for (std::size_t s = 0; s < c.block.slots; ++s) {
        ids.push_back(experts[s]);
        ++rows[static_cast<std::size_t>(experts[s])];
      }
    }
  }

  // The sum over experts of the time that the roof takes: a small expert waits for memory, a large one for products.
  double roof_seconds(const ExpertsCase& c, const Roof& roof, zenwoq_tier tier) const {
    double seconds = 0;
    for (const std::size_t m : rows) {
      if (m == 0) continue;
      seconds += 2 * roof.seconds(Work(c.gate_or_up(), m, tier)) + roof.seconds(Work(c.down(), m, tier));
    }
    return seconds;
  }
};

class ExpertsRows {
 public:
  explicit ExpertsRows(Session& session) : session_(session) {}

  void run(benchmark::State& state, const ExpertsCase& c) {
    zenwoq_context* const context = session_.context(c.threads);
    const ExpertsHandle experts = weights(c).make_experts(context, c.block);
    std::vector<Routing> routings;
    for (unsigned i = 0; i < kRoutings; ++i) routings.emplace_back(c, i);
    const std::vector<std::uint16_t> x = random_activations(c.tokens * c.block.hidden);
    std::vector<std::uint16_t> y(x.size());
    const std::vector<float> router(c.tokens * c.block.slots, 1.0f / static_cast<float>(c.block.slots));
    zenwoq_experts_args args;
    zenwoq_experts_args_init(&args);
    args.tokens = c.tokens;
    args.slots = c.block.slots;
    args.x = x.data();
    args.x_bytes = args.y_bytes = x.size() * sizeof x[0];
    args.y = y.data();
    args.router = router.data();
    args.router_bytes = router.size() * sizeof router[0];
    const auto run_once = [&](std::size_t i) {
      const Routing& routing = routings[i % kRoutings];
      args.ids = routing.ids.data();
      args.ids_bytes = routing.ids.size() * sizeof routing.ids[0];
      tools::require(zenwoq_experts_run(experts.get(), &args));
    };
    for (std::size_t i = 0; i < kRoutings; ++i) run_once(i);  // generates all kernels
    RoofMeter& meter = session_.roof_meter(c.gate_or_up(), c.threads);
    const Roof before = meter.measure();
    std::size_t i = 0;
    const auto start = std::chrono::steady_clock::now();
    for (auto _ : state) run_once(i++);
    const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    const Roof roof = before.mean(meter.measure());
    state.counters["tokens/s"] = static_cast<double>(c.tokens * i) / seconds;
    state.SetLabel(fmt::format("tier={} cpu={}", session_.tier(), session_.cpu().uarch));
    if (!roof.known()) return;
    double roof_seconds = 0;
    for (std::size_t r = 0; r < i; ++r)
      roof_seconds += routings[r % kRoutings].roof_seconds(c, roof, session_.cpu().tier);
    state.counters["read_GB/s"] = roof.bytes_per_second * 1e-9;
    state.counters["peak_GFLOP/s"] = roof.gflops(session_.cpu().tier);
    state.counters["roof_percent"] = roof_seconds / seconds * 100;
  }

 private:
  const ExpertWeights& weights(const ExpertsCase& c) {
    const std::string key = fmt::format("{}/g{}", c.block.name, c.group);
    if (key != key_) {
      weights_.reset();
      weights_ = std::make_unique<ExpertWeights>(session_.context(c.threads), c);
      key_ = key;
    }
    return *weights_;
  }

  Session& session_;
  std::string key_;
  std::unique_ptr<ExpertWeights> weights_;
};

}  // namespace

void register_experts_benchmarks(Session& session, const std::vector<ExpertsBlock>& blocks) {
  const auto rows = std::make_shared<ExpertsRows>(session);
  for (const ExpertsBlock& block : blocks) {
    for (const std::size_t group : kGroups) {
      for (const std::size_t tokens : kTokens) {
        for (unsigned threads = 1; threads <= std::min(session.usable_cpus(), 2u); ++threads) {
          for (const bool hot : {false, true}) {
            const ExpertsCase c{block, group, tokens, threads, hot};
            benchmark::RegisterBenchmark(c.name().c_str(), [rows, c](benchmark::State& state) { rows->run(state, c); })
                ->UseRealTime()
                ->Unit(benchmark::kMicrosecond);
          }
        }
      }
    }
  }
}

}  // namespace zenwoq::bench
