// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// Contexts at the C boundary: options, the ZENWOQ_TIER variable, reports.
#include <cstdlib>

#include "src/api/boundary.h"
#include "src/system/fork_mutex.h"

namespace zenwoq {
namespace {

constexpr std::uint32_t kMaxThreads = 4096;

Status read_options(const zenwoq_context_options* options, ContextSettings* settings) {
  if (options == nullptr) return {};
  zenwoq_context_options o;
  if (Status status = read_struct(options, &o); !status.ok()) return status;
  if (o.threads > kMaxThreads) return invalid("threads is {}, at most {} are possible", o.threads, kMaxThreads);
  if (o.max_tier != ZENWOQ_TIER_BEST && find_tier(o.max_tier) == nullptr) {
    return invalid("max_tier {}: must be best (0), reference (10), avx2 (20) or avx512bf16 (30)",
                   static_cast<int>(o.max_tier));
  }
  settings->threads = o.threads;
  settings->max_tier = o.max_tier;
  settings->max_tier_source = "zenwoq_context_options.max_tier";
  if (o.tuning != nullptr) {
    if (!is_tuning(o.tuning)) return invalid("tuning \"{}\": must be {}", o.tuning, tuning_names());
    settings->tuning = o.tuning;
  }
  if (o.code_bytes_max != 0) settings->code_bytes_max = o.code_bytes_max;
  settings->loop = {o.parallel_for, o.parallel_for_user};
  settings->log = o.log;
  settings->log_user = o.log_user;
  return {};
}

// The environment caps the tier; it never raises what the options allow.
Status read_tier(ContextSettings* settings) {
  const char* name = std::getenv("ZENWOQ_TIER");
  if (name == nullptr || *name == '\0') return {};
  const TierInfo* tier = find_tier(std::string_view(name));
  if (tier == nullptr) return invalid("environment variable ZENWOQ_TIER is \"{}\": must be {}", name, tier_names());
  if (settings->max_tier != ZENWOQ_TIER_BEST && settings->max_tier <= tier->tier) return {};
  settings->max_tier = tier->tier;
  settings->max_tier_source = "the environment variable ZENWOQ_TIER";
  return {};
}

Status read_environment(ContextSettings* settings) {
  if (Status status = read_verbosity(&settings->verbosity); !status.ok()) return status;
  print_errors(settings->verbosity);
  if (Status status = Profile::read(&settings->profile); !status.ok()) return status;
  return read_tier(settings);
}

}  // namespace

Status create_context(const zenwoq_context_options* options, const ContextSeams& seams, zenwoq_context** context) {
  if (Status status = check_pointer("context", context); !status.ok()) return status;
  *context = nullptr;
  if (!forks_are_handled()) {
    return {ZENWOQ_ERROR_OUT_OF_MEMORY, "no memory for handlers of forks (pthread_atfork) as the library was loaded"};
  }
  ContextSettings settings;
  if (Status status = read_options(options, &settings); !status.ok()) return status;
  if (Status status = read_environment(&settings); !status.ok()) return status;
  *context = new zenwoq_context{std::make_shared<Context>(settings, seams)};
  return {};
}

}  // namespace zenwoq

using namespace zenwoq;

zenwoq_status zenwoq_context_create(const zenwoq_context_options* options, zenwoq_context** context) {
  return at_boundary([&] { return create_context(options, {}, context); });
}

void zenwoq_context_destroy(zenwoq_context* context) { delete context; }

zenwoq_status zenwoq_context_cpu_info(const zenwoq_context* context, zenwoq_cpu_info* info) {
  return at_boundary(context_of(context), [&]() -> Status {
    if (Status status = check_pointer("context", context); !status.ok()) return status;
    const Context& c = *context->context;
    const CpuReport& cpu = c.cpu();
    zenwoq_cpu_info value{};
    copy_text(value.vendor, cpu.vendor);
    copy_text(value.brand, cpu.brand);
    copy_text(value.uarch, cpu.uarch);
    copy_text(value.tuning, c.tuning().name);
    value.family = cpu.family;
    value.model = cpu.model;
    value.stepping = cpu.stepping;
    value.avx2 = cpu.runs(ZENWOQ_TIER_AVX2);
    value.avx512bf16 = cpu.runs(ZENWOQ_TIER_AVX512BF16);
    value.l1d_bytes = cpu.l1d_bytes;
    value.l2_bytes = cpu.l2_bytes;
    value.l3_bytes = cpu.l3_bytes;
    copy_text(value.cache_source, cpu.cache_source);
    value.threads = c.threads();
    value.tier = c.tier();
    copy_text(value.tier_reason, c.tier_reason());
    copy_text(value.code_memory, c.code_memory_mode());
    return write_struct(value, info);
  });
}

const char* zenwoq_context_why_not(const zenwoq_context* context, zenwoq_tier tier) {
  const std::string* reason = context == nullptr ? nullptr : context->context->why_not(tier);
  return reason == nullptr ? nullptr : reason->c_str();
}

const char* zenwoq_tier_name(zenwoq_tier tier) {
  const TierInfo* info = find_tier(tier);
  return info == nullptr ? nullptr : info->name;
}

zenwoq_status zenwoq_context_registry_stats(const zenwoq_context* context, zenwoq_registry_stats* stats) {
  return at_boundary(context_of(context), [&]() -> Status {
    if (Status status = check_pointer("context", context); !status.ok()) return status;
    const RegistryStats counted = static_cast<const Context&>(*context->context).registry().stats();
    zenwoq_registry_stats value{};
    value.kernels = counted.kernels;
    value.code_bytes = counted.code_bytes;
    value.generation_ns = counted.generation_ns;
    value.refused = counted.refused;
    value.failed = counted.failed;
    return write_struct(value, stats);
  });
}
