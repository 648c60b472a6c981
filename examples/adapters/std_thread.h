// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// Threads for zenwoq that live as long as one loop, in C++11, for programs that want none to wait in between:
//
//   unsigned threads = 4;
//   options.parallel_for = run_on_std_threads;
//   options.parallel_for_user = &threads;
//   options.threads = threads;
//
// zenwoq_run_args has the same fields for one run, where threads must be set too: it says how many tasks to cut.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <exception>
#include <thread>
#include <vector>

inline void run_on_std_threads(void* user, std::size_t n, void (*task)(void* arg, std::size_t i), void* arg) {
  std::atomic<std::size_t> next{0};
  const auto work = [&] {
    for (std::size_t i; (i = next++) < n;) task(arg, i);
  };
  std::vector<std::thread> threads;
  try {
    const std::size_t count = std::min<std::size_t>(n, *static_cast<const unsigned*>(user));
    for (std::size_t t = 1; t < count; ++t) threads.emplace_back(work);
  } catch (const std::exception&) {
    // The system gives no more threads: those that run take all the tasks.
  }
  work();
  for (std::thread& thread : threads) thread.join();
}
