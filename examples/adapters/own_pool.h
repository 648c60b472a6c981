// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// A program's own pool for zenwoq, in C++14. Pool is any class with submit(std::function<void()>) and threads():
//
//   options.parallel_for = run_on_pool<Pool>;
//   options.parallel_for_user = &pool;
//   options.threads = pool.threads() + 1;
//
// zenwoq_run_args has the same fields for one run, where threads must be set too: it says how many tasks to cut.
//
// The caller works too and waits only for tasks that a thread of the pool has taken, so a loop ends even if the pool is
// busy, and where the caller is itself one of the pool's threads.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <exception>
#include <functional>
#include <memory>
#include <thread>

template <typename Pool>
void run_on_pool(void* user, std::size_t n, void (*task)(void* arg, std::size_t i), void* arg) {
  struct Loop {
    std::atomic<std::size_t> next{0}, done{0};
  };
  std::shared_ptr<Loop> loop;  // shared, since a helper may start after the caller has gone on
  const auto work = [n, task, arg](Loop& l) {
    for (std::size_t i; (i = l.next++) < n; ++l.done) task(arg, i);
  };
  try {
    loop = std::make_shared<Loop>();
    Pool& pool = *static_cast<Pool*>(user);
    const std::size_t count = std::min<std::size_t>(n, pool.threads() + 1);
    for (std::size_t t = 1; t < count; ++t) pool.submit([work, loop] { work(*loop); });
  } catch (const std::exception&) {
    // No memory for more helpers: the caller and those that there are take all the tasks.
  }
  if (loop == nullptr) {
    for (std::size_t i = 0; i < n; ++i) task(arg, i);
    return;
  }
  work(*loop);
  while (loop->done < n) std::this_thread::yield();
}
