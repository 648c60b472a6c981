// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// A small pool of threads for one loop at a time. The caller works too and waits only for tasks that a worker has
// already taken, so a loop always ends: with no workers, inside another loop, on a busy pool, or in a forked child,
// where the first loop starts workers anew.
#pragma once

#include <pthread.h>

#include <atomic>
#include <climits>
#include <cstddef>
#include <memory>

#include "src/system/fork_mutex.h"

namespace zenwoq {

class ThreadPool {
 public:
  using CreateThread = int (*)(pthread_t*, const pthread_attr_t*, void* (*)(void*), void*);  // a test's may fail
  using Task = void (*)(void* arg, size_t i);

  // threads includes the caller. If the system refuses threads, the pool runs with fewer. Who waits spins for a moment,
  // in which it yields if more threads of pools are awake than there are `cpus`, then sleeps.
  explicit ThreadPool(unsigned threads, unsigned cpus = UINT_MAX, CreateThread create = pthread_create);
  ~ThreadPool();  // no loop may be running, except in threads that a fork left behind
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  unsigned threads() const { return threads_; }  // that the pool was made with

  // Calls task(arg, i) once for every i in [0, n). Any thread may call it, a task too: where the pool is busy the loop
  // runs in the caller alone. Allocates nothing, except where it starts threads anew. If a task forks, the child may
  // miss tasks that workers had taken.
  void parallel_for(size_t n, Task task, void* arg) noexcept;

 private:
  class Team;
  Team* team() noexcept;
  std::unique_ptr<Team> new_team() const;

  unsigned threads_;
  const unsigned cpus_;
  const CreateThread create_;
  ForkMutex starting_anew_;
  std::atomic<Team*> team_{nullptr};  // the newest; it owns the one that it took the place of
};

// How many workers of all pools of this process are awake: at work, or spinning.
unsigned workers_awake();

}  // namespace zenwoq
