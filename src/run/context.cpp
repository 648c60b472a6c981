// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// Choice of the tier, and the loop that runs on the pool or on the caller's threads.
#include "src/run/context.h"

#include <algorithm>
#include <atomic>

#include "jit/gemm_avx512.h"

namespace zenwoq {

Context::Context(const ContextSettings& settings, const ContextSeams& seams)
    : settings_(settings),
      cpu_(describe_cpu(probe_cpu())),
      tuning_(settings.tuning.value_or(parse_tuning(cpu_.tuning).value_or(Tuning::generic))),
      code_memory_(settings.code_bytes_max),
      code_memory_mode_(code_memory_.mode()),
      registry_([](const KernelKey& key, std::vector<std::uint8_t>* code) { return emit_gemm(key, code); },
                seams.load ? seams.load
                           : [this](std::span<const std::uint8_t> code,
                                    const void** address) { return code_memory_.add(code, address); },
                settings.log == nullptr ? Registry::Log() : [this](const std::string& line) { log(line); }) {
  if (settings_.threads == 0) settings_.threads = cpu_.usable_cpus;
  if (settings_.parallel_for == nullptr) {
    pool_ = std::make_unique<ThreadPool>(settings_.threads);
    settings_.threads = pool_->threads();
  }
  choose_tier(seams.load || (cpu_.avx512bf16 && code_memory_.executable()));
  log(fmt::format("tier {}, tuning {}, {} threads, code memory {}{}{}",
                  isa_ == ZENWOQ_ISA_REFERENCE ? "reference" : "avx512bf16", tuning_name(tuning_), threads(),
                  code_memory_mode_, isa_reason_.empty() ? "" : ": ", isa_reason_));
}

void Context::choose_tier(bool code_runs) {
  if (settings_.max_isa == ZENWOQ_ISA_REFERENCE) {
    isa_reason_ = fmt::format("capped to reference by {}", settings_.max_isa_source);
  } else if (code_runs) {
    isa_ = ZENWOQ_ISA_AVX512BF16;
  } else if (!cpu_.avx512bf16) {
    isa_reason_ = cpu_.isa_reason;
  } else {
    isa_reason_ = fmt::format("no executable memory: {}", code_memory_mode_);
  }
}

void Context::log(const std::string& line) const {
  if (settings_.log != nullptr) settings_.log(settings_.log_user, line.c_str());
}

void Context::parallel_for(std::size_t n, void (*task)(void* arg, std::size_t i), void* arg) {
  if (n == 1) return task(arg, 0);
  if (settings_.parallel_for != nullptr) return settings_.parallel_for(settings_.parallel_for_user, n, task, arg);
  pool_->parallel_for(n, task, arg);
}

// Indices side by side read memory side by side. So each thread has a run of them, which the CPU's prefetchers follow
// as one stream, and takes them one by one; whoever has done its own helps with the next run, however late or slow its
// thread.
void Context::parallel_for(std::size_t n, unsigned threads, void (*task)(void* arg, std::size_t i), void* arg) {
  constexpr std::size_t kMaxRuns = 64;
  struct alignas(64) Run {
    std::size_t next, end;
  };
  struct Loop {
    void (*task)(void* arg, std::size_t i);
    void* arg;
    std::size_t parts, runs;
    Run run[kMaxRuns];
  } loop;  // not cleared: so many runs as there are threads are used
  loop.task = task;
  loop.arg = arg;
  loop.parts = std::min<std::size_t>(n, threads);
  if (loop.parts <= 1) {
    for (std::size_t i = 0; i < n; ++i) task(arg, i);
    return;
  }
  loop.runs = std::min(loop.parts, kMaxRuns);
  for (std::size_t r = 0; r < loop.runs; ++r) loop.run[r] = {n * r / loop.runs, n * (r + 1) / loop.runs};
  const auto take_tasks = [](void* shared, std::size_t part) {
    Loop& l = *static_cast<Loop*>(shared);
    for (std::size_t r = 0, first = part * l.runs / l.parts; r < l.runs; ++r) {
      Run& run = l.run[(first + r) % l.runs];
      const std::atomic_ref<std::size_t> next(run.next);
      while (next.load(std::memory_order_relaxed) < run.end) {  // a load alone leaves the line with all who look
        const std::size_t i = next.fetch_add(1, std::memory_order_relaxed);
        if (i < run.end) l.task(l.arg, i);
      }
    }
  };
  parallel_for(loop.parts, take_tasks, &loop);
}

}  // namespace zenwoq
