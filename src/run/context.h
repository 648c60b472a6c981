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
#include "src/run/slot_sums.h"
#include "src/run/thread_pool.h"
#include "src/system/log.h"
#include "src/system/profile.h"
#include "zenwoq/zenwoq.h"

namespace zenwoq {

// A caller's own loop over threads; NULL: none.
struct CallersLoop {
  zenwoq_parallel_for_fn parallel_for = nullptr;
  void* user = nullptr;
};

// Options that have passed the C boundary.
struct ContextSettings {
  unsigned threads = 0;  // 0 = what the process may use
  zenwoq_tier max_tier = ZENWOQ_TIER_BEST;
  std::string max_tier_source;  // who set the cap: "zenwoq_context_options.max_tier", "ZENWOQ_TIER"
  std::string tuning;           // name of a table; empty: this CPU's
  std::size_t code_bytes_max = std::size_t{64} << 20;
  CallersLoop loop;  // NULL: a pool
  zenwoq_log_fn log = nullptr;
  void* log_user = nullptr;
  LogLevel verbosity = LogLevel::silent;  // of lines on stderr, where there is no log
  Profile profile;
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
  SlotSumFunction slot_sum() const { return cpu_.runs(ZENWOQ_TIER_AVX2) ? slot_sum_avx2_fma : slot_sum_portable; }
  Registry& registry() { return registry_; }
  const Registry& registry() const { return registry_; }
  Scratch& scratch() { return scratch_; }

  // Lines go to the caller's log function, or to stderr as far as they were asked for. Not for the hot path, except for
  // logs_runs().
  void log(LogLevel level, const std::string& line) const;
  bool logs_itself() const { return settings_.log != nullptr; }
  bool logs_runs() const { return settings_.verbosity == LogLevel::dispatch; }

  // task(arg, i) once for every i in [0, n), in the given loop, else in the one of the settings, else on the pool.
  void parallel_for(std::size_t n, void (*task)(void* arg, std::size_t i), void* arg, const CallersLoop& loop = {});
  // The same on at most `threads` threads at once.
  void parallel_for_at_most(std::size_t n, unsigned threads, void (*task)(void* arg, std::size_t i), void* arg,
                            const CallersLoop& loop = {});

 private:
  void choose_tier(bool emulated);
  std::string why_not(const TierInfo& tier, const std::string& machine, bool emulated) const;
  void log_kernel(const Kernel& kernel) const;

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
