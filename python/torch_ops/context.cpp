// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
#include "python/torch_ops/context.h"

#include <pthread.h>
#include <torch/csrc/stable/ops.h>

#include <atomic>

#include "python/torch_ops/refusal.h"

namespace zenwoq::torch_ops {

namespace {

constexpr uint32_t kMaxThreads = 4096;

// libgomp's threads, which torch computes on, are gone in a forked child, and a parallel loop waits for them forever:
// a child computes on the library's own pool, which starts anew there. The handler is registered when this library is
// loaded, because the first call may be the child's.
std::atomic<bool> forked{false};
[[maybe_unused]] const int fork_is_seen = pthread_atfork(nullptr, nullptr, [] { forked = true; });

// zenwoq_parallel_for_fn on torch's intra-op threads.
void run_on_torch_threads(void*, size_t n, void (*task)(void* arg, size_t i), void* arg) {
  struct Loop {
    void (*task)(void* arg, size_t i);
    void* arg;
  } loop{task, arg};
  const auto body = [](int64_t begin, int64_t end, void* context) {
    const Loop& l = *static_cast<const Loop*>(context);
    for (int64_t i = begin; i < end; ++i) l.task(l.arg, static_cast<size_t>(i));
  };
  STABLE_TORCH_ERROR_CODE_CHECK(torch_parallel_for(0, static_cast<int64_t>(n), 1, body, &loop));
}

void require(zenwoq_status status) {
  check(status == ZENWOQ_OK, zenwoq_last_error(), " (", zenwoq_status_name(status), ")");
}

}  // namespace

uint32_t torch_threads() {
  uint32_t threads = 1;
  STABLE_TORCH_ERROR_CODE_CHECK(torch_get_num_threads(&threads));
  return threads;
}

// Made at the first call, without a lock that a fork could leave locked: of several threads that make it, one wins. It
// is never destroyed, because threads may still compute while the process ends.
zenwoq_context* context() {
  static constinit std::atomic<zenwoq_context*> on_torch{nullptr}, on_its_own{nullptr};
  const bool own = forked.load(std::memory_order_relaxed);
  std::atomic<zenwoq_context*>& slot = own ? on_its_own : on_torch;
  zenwoq_context* shared = slot.load(std::memory_order_acquire);
  if (shared != nullptr) return shared;
  zenwoq_context_options options;
  zenwoq_context_options_init(&options);
  options.threads = own ? 0 : kMaxThreads;  // all that the child may use, or torch's: each run says how many
  if (!own) options.parallel_for = run_on_torch_threads;
  zenwoq_context* made = nullptr;
  require(zenwoq_context_create(&options, &made));
  if (slot.compare_exchange_strong(shared, made, std::memory_order_acq_rel)) return made;
  zenwoq_context_destroy(made);
  return shared;
}

}  // namespace zenwoq::torch_ops
