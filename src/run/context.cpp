// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// Choice of the tier, and the loop that runs on the pool or on the caller's threads.
#include "run/context.h"

#include <algorithm>
#include <atomic>

#include "gemm_avx512.h"

namespace zenwoq {

Context::Context(const ContextSettings& settings, const ContextSeams& seams)
    : settings_(settings),
      cpu_(describe_cpu(probe_cpu())),
      tuning_(settings.tuning.value_or(parse_tuning(cpu_.tuning).value_or(Tuning::generic))),
      code_memory_(settings.code_bytes_max),
      code_memory_mode_(code_memory_.mode()),
      registry_([](const KernelKey& key, std::vector<std::uint8_t>* code) { return emit_gemm(key, code); },
                seams.load ? seams.load
                           : [this](std::span<const std::uint8_t> code, const void** address) {
                               return code_memory_.add(code, address);
                             },
                settings.log == nullptr ? Registry::Log() : [this](const std::string& line) { log(line); }) {
  if (settings_.threads == 0) settings_.threads = cpu_.usable_cpus;
  if (settings_.parallel_for == nullptr) {
    pool_ = std::make_unique<ThreadPool>(settings_.threads);
    settings_.threads = pool_->threads();
  }
  choose_tier(seams.load || (cpu_.avx512bf16 && code_memory_.executable()));
  log(fmt::format("tier {}, tuning {}, {} threads, code memory {}{}{}", isa_ == ZENWOQ_ISA_REFERENCE ? "reference" : "avx512bf16",
                  tuning_name(tuning_), threads(), code_memory_mode_, isa_reason_.empty() ? "" : ": ", isa_reason_));
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

void Context::parallel_for(std::size_t n, unsigned threads, void (*task)(void* arg, std::size_t i), void* arg) {
  if (n == 1 || (pool_ != nullptr && threads >= pool_->threads())) return parallel_for(n, task, arg);
  // One loop a thread, each takes what is next: many a caller's parallel-for shares indices out beforehand, and then the
  // loop would end with the slowest thread.
  struct Loop {
    std::size_t n;
    void (*task)(void* arg, std::size_t i);
    void* arg;
    std::atomic<std::size_t> next{0};
  } loop{n, task, arg};
  const auto take_tasks = [](void* shared, std::size_t) {
    Loop& l = *static_cast<Loop*>(shared);
    for (std::size_t i; (i = l.next.fetch_add(1, std::memory_order_relaxed)) < l.n;) l.task(l.arg, i);
  };
  parallel_for(std::min<std::size_t>(n, threads), take_tasks, &loop);
}

}  // namespace zenwoq
