// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// Choice of the tier, and the loop that runs on the pool or on the caller's threads.
#include "src/run/context.h"

#include <algorithm>
#include <bit>
#include <span>

#include "jit/jit.h"
#include "src/run/schedule.h"

namespace zenwoq {

Context::Context(const ContextSettings& settings, const ContextSeams& seams)
    : settings_(settings),
      cpu_(describe_cpu(probe_cpu())),
      code_memory_(settings.code_bytes_max, SystemCalls::real(),
                   {.anonymous_first = settings.profile.map, .unwind_tables = settings.profile.unwind}),
      code_memory_mode_(code_memory_.mode()),
      registry_([](const KernelKey& key, std::vector<std::uint8_t>* code) { return emit(key, code); },
                seams.load ? seams.load
                           : [this](std::span<const std::uint8_t> code,
                                    const void** address) { return code_memory_.add(code, address); },
                [this](const Kernel& kernel) { log_kernel(kernel); }) {
  if (settings_.threads == 0) settings_.threads = cpu_.usable_cpus;
  if (settings_.loop.parallel_for == nullptr) {
    pool_ = std::make_unique<ThreadPool>(settings_.threads, cpu_.usable_cpus);
    if (pool_->threads() < settings_.threads) {
      log(LogLevel::warn, formatted("{} of {} threads: the system refuses more", pool_->threads(), settings_.threads));
    }
    settings_.threads = pool_->threads();
  }
  if (seams.load) settings_.profile = {};  // code that is elsewhere
  choose_tier(static_cast<bool>(seams.load));
  x_type_ = find_tier(tier_)->x_type;
  tuning_ = &find_tuning(settings_.tuning.empty() ? cpu_.tuning : settings_.tuning, tier_);
  const zenwoq_tier wanted = settings_.max_tier == ZENWOQ_TIER_BEST ? tiers().front().tier : settings_.max_tier;
  log(tier_ == wanted ? LogLevel::info : LogLevel::warn,
      formatted("tier {}, tuning {}, {} threads, code memory {}{}{}", find_tier(tier_)->name, tuning_->name, threads(),
                code_memory_mode_, tier_reason_.empty() ? "" : ": ", tier_reason_));
}

// The best tier that nothing speaks against. emulated: code goes to a test's emulator, so the CPU does not matter.
void Context::choose_tier(bool emulated) {
  tier_ = ZENWOQ_TIER_BEST;
  for (std::size_t i = 0; i < tiers().size(); ++i) {
    why_not_.push_back(why_not(tiers()[i], cpu_.why_not[i], emulated));
    if (tier_ != ZENWOQ_TIER_BEST || !why_not_[i].empty()) continue;
    tier_ = tiers()[i].tier;
    if (i > 0) tier_reason_ = why_not_[i - 1];
  }
}

std::string Context::why_not(const TierInfo& tier, const std::string& machine, bool emulated) const {
  if (tier.tier == ZENWOQ_TIER_REFERENCE) return {};
  if (settings_.max_tier != ZENWOQ_TIER_BEST && tier.tier > settings_.max_tier) {
    return formatted("capped to {} by {}", find_tier(settings_.max_tier)->name, settings_.max_tier_source);
  }
  if (!has_kernels(tier.tier)) return formatted("this version has no kernels of the tier {}", tier.name);
  if (emulated) return {};
  if (!machine.empty()) return machine;
  return code_memory_.executable() ? "" : formatted("no executable memory: {}", code_memory_mode_);
}

const std::string* Context::why_not(zenwoq_tier tier) const {
  for (std::size_t i = 0; i < tiers().size(); ++i) {
    if (tiers()[i].tier == tier) return &why_not_[i];
  }
  return nullptr;
}

void Context::log(LogLevel level, const std::string& line) const {
  if (settings_.log != nullptr) {
    settings_.log(settings_.log_user, line.c_str());
  } else if (level <= settings_.verbosity) {
    print_line(level, line);
  }
}

void Context::log_kernel(const Kernel& kernel) const {
  if (!kernel.status.ok()) {
    return log(LogLevel::warn, formatted("cannot generate {}: {}", kernel.key.name(), kernel.status.text()));
  }
  log(LogLevel::info,
      formatted("generated {}: {} bytes in {} us", kernel.key.name(), kernel.code_bytes, kernel.generation_ns / 1000));
  const std::span code(std::bit_cast<const std::uint8_t*>(kernel.run), kernel.code_bytes);
  if (Status status = settings_.profile.add(kernel.key.name(), code); !status.ok()) log(LogLevel::warn, status.text());
}

void Context::parallel_for(std::size_t n, void (*task)(void* arg, std::size_t i), void* arg, const CallersLoop& loop) {
  if (n == 1) return task(arg, 0);
  const CallersLoop& callers = loop.parallel_for != nullptr ? loop : settings_.loop;
  if (callers.parallel_for != nullptr) return callers.parallel_for(callers.user, n, task, arg);
  pool_->parallel_for(n, task, arg);
}

void Context::parallel_for_at_most(std::size_t n, unsigned threads, void (*task)(void* arg, std::size_t i), void* arg,
                                   const CallersLoop& callers) {
  if (std::min<std::size_t>(n, threads) <= 1) {
    for (std::size_t i = 0; i < n; ++i) task(arg, i);
    return;
  }
  StreamLoop loop(n, threads, task, arg);
  parallel_for(loop.parts(), StreamLoop::part, &loop, callers);
}

}  // namespace zenwoq
