// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// A small pool of threads for one loop at a time. The caller works too and waits only for tasks that a worker has
// already taken, so a loop always ends: with no workers, inside another loop, on a busy pool, or in a forked child.
#pragma once

#include <pthread.h>
#include <sys/types.h>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace zenwoq {

class ThreadPool {
 public:
  using CreateThread = int (*)(pthread_t*, const pthread_attr_t*, void* (*)(void*), void*);  // a test's may fail
  using Task = void (*)(void* arg, size_t i);

  // threads includes the caller. If the system refuses threads, the pool runs with fewer.
  explicit ThreadPool(unsigned threads, CreateThread create = pthread_create);
  ~ThreadPool();  // no loop may be running, except in threads that a fork left behind
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  unsigned threads() const { return static_cast<unsigned>(workers_.size()) + 1; }

  // Calls task(arg, i) once for every i in [0, n). Any thread may call it, a task too: where the pool is busy the loop
  // runs in the caller alone. Allocates nothing. If a task forks, the child may miss tasks that workers had taken.
  void parallel_for(size_t n, Task task, void* arg) noexcept;

 private:
  static void* worker_main(void* pool);
  void work();
  uint32_t wait_for_epoch_after(uint32_t seen);
  bool enter();
  void leave();
  void take_tasks();
  void close_and_wait();

  std::vector<pthread_t> workers_;  // plain handles: a forked child must neither join nor detach them
  pid_t owner_;
  std::atomic<bool> stop_{false};

  // The loop. Written only while the gate is closed and empty, read only by those inside.
  std::atomic<bool> busy_{false};
  Task task_ = nullptr;
  void* arg_ = nullptr;
  size_t n_ = 0;

  // One cache line each, since all threads write the last two.
  alignas(64) std::atomic<uint32_t> epoch_{0};  // counts loops (and the end): what workers wait for
  alignas(64) std::atomic<size_t> next_{0};     // the first index nobody has taken
  alignas(64) std::atomic<uint32_t> gate_{0};   // kOpen while workers may enter, plus the number of workers inside
};

}  // namespace zenwoq
