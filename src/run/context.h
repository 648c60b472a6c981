// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// All that linears share: the CPU, the tier, code memory, kernels, threads, scratch.
#pragma once

#include <memory>
#include <string>

#include "src/cpu/cpu.h"
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
  zenwoq_isa max_isa = ZENWOQ_ISA_BEST;
  std::string max_isa_source;  // who set the cap: "zenwoq_context_options.max_isa", "ZENWOQ_ISA"
  std::optional<Tuning> tuning;
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
  zenwoq_isa isa() const { return isa_; }
  const std::string& isa_reason() const { return isa_reason_; }  // why no higher tier runs
  const std::string& code_memory_mode() const { return code_memory_mode_; }
  Tuning tuning() const { return tuning_; }
  unsigned threads() const { return settings_.threads; }
  ReferenceFunction reference() const { return reference_gemm(cpu_.avx2_fma); }
  Registry& registry() { return registry_; }
  const Registry& registry() const { return registry_; }
  Scratch& scratch() { return scratch_; }

  // task(arg, i) once for every i in [0, n), on the pool or the caller's threads.
  void parallel_for(std::size_t n, void (*task)(void* arg, std::size_t i), void* arg);
  // The same on at most so many threads at once.
  void parallel_for(std::size_t n, unsigned threads, void (*task)(void* arg, std::size_t i), void* arg);

 private:
  void choose_tier(bool code_runs);
  void log(const std::string& line) const;

  ContextSettings settings_;
  const CpuReport cpu_;
  Tuning tuning_;
  zenwoq_isa isa_ = ZENWOQ_ISA_REFERENCE;
  std::string isa_reason_;
  CodeMemory code_memory_;
  std::string code_memory_mode_;
  Registry registry_;
  Scratch scratch_;
  std::unique_ptr<ThreadPool> pool_;
};

}  // namespace zenwoq
