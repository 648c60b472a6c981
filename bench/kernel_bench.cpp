// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// Times generating kernels and finding them again.
#include <benchmark/benchmark.h>
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <set>
#include <stdexcept>
#include <string>

#include "bench/session.h"
#include "jit/jit.h"
#include "src/plan/plan.h"
#include "src/registry/code_memory.h"
#include "src/registry/registry.h"

namespace zenwoq::bench {
namespace {

constexpr int kPasses = 20;
constexpr std::size_t kCodeBytes = std::size_t{64} << 20;
constexpr std::size_t kMostRows = 128;  // M of the plans whose tiles are made

// Every tile of every tuning of a tier for layers of SmolLM2-135M, Llama-3.1-8B and TinyLlama, in formats that
// checkpoints have; where a tier has kernels for integers and for tables, both.
std::vector<KernelKey> real_keys(zenwoq_tier tier) {
  const Quantization weights[] = {
      {.k = 576, .group_size = 32, .scale_type = ZENWOQ_F16, .zero_kind = ZENWOQ_ZERO_OFFSET},
      {.k = 1536, .group_size = 32, .scale_type = ZENWOQ_F16, .zero_kind = ZENWOQ_ZERO_OFFSET},
      {.k = 1536, .group_size = 128},
      {.k = 4096, .group_size = 128},
      {.k = 14336, .group_size = 128},
      {.k = 4096, .group_size = 32, .scale_type = ZENWOQ_F16},
      {.k = 4096, .group_size = 4096},
      {.k = 4096, .group_size = 128, .scale_type = ZENWOQ_F16, .zero_kind = ZENWOQ_ZERO_INTEGER},
      {.k = 5632, .group_size = 256, .scale_type = ZENWOQ_F32, .zero_kind = ZENWOQ_ZERO_INTEGER},
      {.k = 1001, .group_size = 64},
  };
  std::vector<KernelKey> keys;
  std::set<std::string> names;  // tunings share tiles
  for (const CpuTuning* tuning : tunings()) {
    if (tuning->tier != tier) continue;
    for (const Quantization& weight : weights) {
      for (std::size_t m = 1; m <= kMostRows; ++m) {
        for (const Tile& tile : Plan({m, 2 * kPanelColumns, weight.k}, *tuning, 1).tiles()) {
          for (const bool integer : {true, false}) {
            for (const auto& [output, bias] : {std::pair(ZENWOQ_F32, false), {ZENWOQ_BF16, true}}) {
              const KernelKey key = kernel_key(weight, integer, output, {.bias = bias}, tile, *tuning);
              if (names.insert(key.name()).second) keys.push_back(key);
            }
          }
        }
      }
    }
  }
  return keys;
}

void check(const Status& status) {
  if (!status.ok()) throw std::runtime_error(status.text());
}

double median(std::vector<double> values) {
  std::nth_element(values.begin(), values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2), values.end());
  return values[values.size() / 2];
}

// One iteration makes the kernel of every key once; the time shown is the mean per kernel.
template <typename Make>
void generation_row(benchmark::State& state, zenwoq_tier tier, const Make& make) {
  const std::vector<KernelKey> keys = real_keys(tier);
  std::vector<std::vector<double>> times(keys.size());  // us, [key][pass]
  for (auto _ : state) {
    CodeMemory memory(kCodeBytes);
    double pass = 0;
    for (std::size_t i = 0; i < keys.size(); ++i) {
      const auto start = std::chrono::steady_clock::now();
      make(keys[i], memory);
      const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
      times[i].push_back(seconds * 1e6);
      pass += seconds;
    }
    state.SetIterationTime(pass / static_cast<double>(keys.size()));
  }
  // A kernel's time is the median of its passes, so that no timer interrupt is charged to it.
  std::vector<double> by_key;
  for (const std::vector<double>& passes : times) by_key.push_back(median(passes));
  const auto slowest = std::max_element(by_key.begin(), by_key.end());
  state.counters["kernels"] = static_cast<double>(keys.size());
  state.counters["median_us"] = median(by_key);
  state.counters["max_us"] = *slowest;
  state.SetLabel("slowest " + keys[static_cast<std::size_t>(slowest - by_key.begin())].name());
}

void emit_row(benchmark::State& state, zenwoq_tier tier) {
  generation_row(state, tier, [](const KernelKey& key, CodeMemory&) {
    std::vector<std::uint8_t> code;
    check(emit(key, &code));
    benchmark::DoNotOptimize(code.data());
  });
}

void generate_row(benchmark::State& state, zenwoq_tier tier) {
  if (!CodeMemory(kCodeBytes).executable()) {
    state.SkipWithError("no executable memory here");
    return;
  }
  generation_row(state, tier, [](const KernelKey& key, CodeMemory& memory) {
    std::vector<std::uint8_t> code;
    const void* address = nullptr;
    check(emit(key, &code));
    check(memory.add(code, &address));
  });
}

// Looks up all keys in turn. Code is emitted but not loaded, so that this runs on every machine.
void hit_row(benchmark::State& state) {
  static const int somewhere = 0;
  Registry registry([](const KernelKey& key, std::vector<std::uint8_t>* code) { return emit(key, code); },
                    [](std::span<const std::uint8_t>, const void** address) {
                      *address = &somewhere;
                      return Status();
                    },
                    {});
  const std::vector<KernelKey> keys = real_keys(ZENWOQ_TIER_AVX512BF16);
  const Kernel* kernel = nullptr;
  for (const KernelKey& key : keys) check(registry.get(key, &kernel));
  std::size_t i = 0;
  for (auto _ : state) {
    const Status status = registry.get(keys[i], &kernel);
    benchmark::DoNotOptimize(status);
    benchmark::DoNotOptimize(kernel);
    if (++i == keys.size()) i = 0;
  }
  state.counters["kernels"] = static_cast<double>(keys.size());
}

}  // namespace

void register_kernel_benchmarks() {
  for (const zenwoq_tier tier : {ZENWOQ_TIER_AVX2, ZENWOQ_TIER_AVX512BF16}) {
    const auto add = [tier](const char* what, auto row) {
      const std::string name = fmt::format("kernel/{}/{}", what, zenwoq_tier_name(tier));
      benchmark::RegisterBenchmark(name.c_str(), row, tier)
          ->UseManualTime()
          ->Iterations(kPasses)
          ->Unit(benchmark::kMicrosecond);
    };
    add("emit", emit_row);
    add("generate", generate_row);
  }
  benchmark::RegisterBenchmark("registry/hit", hit_row);
}

}  // namespace zenwoq::bench
