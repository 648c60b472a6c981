// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// All that linears share: the CPU, the tier, code memory, kernels, threads, scratch.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "src/cpu/cpu.h"
#include "src/plan/tuning.h"
#include "src/reference/reference.h"
#include "src/registry/code_memory.h"
#include "src/registry/registry.h"
#include "src/run/scratch.h"
#include "src/run/thread_pool.h"
#include "zenwoq/zenwoq.h"

namespace zenwoq {

// Options that have passed the C boundary.
struct ContextSettings {
  unsigned threads = 0;  // 0 = what the process may use
  zenwoq_tier max_tier = ZENWOQ_TIER_BEST;
  std::string max_tier_source;  // who set the cap: "zenwoq_context_options.max_tier", "ZENWOQ_TIER"
  std::string tuning;           // name of a table; empty: this CPU's
  std::size_t code_bytes_max = std::size_t{64} << 20;
  zenwoq_parallel_for_fn parallel_for = nullptr;
  void* parallel_for_user = nullptr;
  zenwoq_log_fn log = nullptr;
  void* log_user = nullptr;
};

// What a test may put in the place of the machine: a loader that hands generated code to an emulator.
struct ContextSeams {
  Registry::Load load;  // empty: into executable memory, run by this CPU
};

class Context {
 public:
  Context(const ContextSettings& settings, const ContextSeams& seams);

  const CpuReport& cpu() const { return cpu_; }
  zenwoq_tier tier() const { return tier_; }
  zenwoq_dtype x_type() const { return x_type_; }  // how kernels take activations
  bool generates() const { return tier_ != ZENWOQ_TIER_REFERENCE; }
  const std::string& tier_reason() const { return tier_reason_; }  // why no higher tier runs; empty if none is higher
  const std::string* why_not(zenwoq_tier tier) const;              // empty if it can run, NULL for an unknown tier
  const std::string& code_memory_mode() const { return code_memory_mode_; }
  const CpuTuning& tuning() const { return *tuning_; }
  unsigned threads() const { return settings_.threads; }
  ReferenceFunction reference() const {
    return reference_gemm(cpu_.runs(ZENWOQ_TIER_AVX2) ? ReferenceCode::avx2_fma : ReferenceCode::portable);
  }
  Registry& registry() { return registry_; }
  const Registry& registry() const { return registry_; }
  Scratch& scratch() { return scratch_; }

  // task(arg, i) once for every i in [0, n), on the pool or the caller's threads.
  void parallel_for(std::size_t n, void (*task)(void* arg, std::size_t i), void* arg);
  // The same on at most `threads` threads at once.
  void parallel_for_at_most(std::size_t n, unsigned threads, void (*task)(void* arg, std::size_t i), void* arg);

 private:
  void choose_tier(bool emulated);
  std::string why_not(const TierInfo& tier, const std::string& machine, bool emulated) const;
  void log(const std::string& line) const;

  ContextSettings settings_;
  const CpuReport cpu_;
  std::vector<std::string> why_not_;  // in the order of tiers()
  zenwoq_tier tier_ = ZENWOQ_TIER_REFERENCE;
  std::string tier_reason_;
  const CpuTuning* tuning_;  // of the tier
  zenwoq_dtype x_type_;
  CodeMemory code_memory_;
  std::string code_memory_mode_;
  Registry registry_;
  Scratch scratch_;
  std::unique_ptr<ThreadPool> pool_;
};

}  // namespace zenwoq
