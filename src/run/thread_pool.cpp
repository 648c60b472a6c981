// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// The pool holds no lock, only atomics: a fork at any moment leaves a state that the child can go on from.
#include "src/run/thread_pool.h"

#include <immintrin.h>
#include <signal.h>
#include <unistd.h>

#include <exception>

namespace zenwoq {
namespace {

constexpr uint32_t kOpen = 1u << 31;

// About 30 us on Zen (a pause took 28 ns on Zen 3): longer than the gap between two layers of a model, short enough
// not to be seen on an idle machine.
constexpr int kSpins = 1000;

// True as soon as done() is, false if it is not within kSpins.
template <typename Done>
bool spin_until(Done done) {
  for (int i = 0; i < kSpins; ++i) {
    if (done()) return true;
    _mm_pause();
  }
  return false;
}

// Handlers of the program must not run on workers. Faults are not blocked: a blocked one kills without a report.
sigset_t signals_to_block() {
  sigset_t set;
  sigfillset(&set);
  for (int fault : {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGABRT}) sigdelset(&set, fault);
  return set;
}

}  // namespace

ThreadPool::ThreadPool(unsigned threads, CreateThread create) : owner_(getpid()) {
  if (threads < 2) return;
  const sigset_t blocked = signals_to_block();
  sigset_t before;
  pthread_sigmask(SIG_BLOCK, &blocked, &before);  // inherited by the workers
  try {
    workers_.reserve(threads - 1);  // so that no handle is lost after its thread runs
    for (unsigned i = 1; i < threads; ++i) {
      pthread_t worker;
      if (create(&worker, nullptr, worker_main, this) != 0) break;
      workers_.push_back(worker);
    }
  } catch (const std::exception&) {
    // No memory for the handles: the caller works alone.
  }
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
}

ThreadPool::~ThreadPool() {
  if (getpid() != owner_) return;  // a forked child has no workers, and their handles may be other threads' by now
  stop_ = true;
  ++epoch_;
  epoch_.notify_all();
  for (pthread_t worker : workers_) pthread_join(worker, nullptr);
}

void ThreadPool::parallel_for(size_t n, Task task, void* arg) noexcept {
  if (n < 2 || workers_.empty() || busy_.exchange(true, std::memory_order_acquire)) {
    for (size_t i = 0; i < n; ++i) task(arg, i);
    return;
  }
  task_ = task;
  arg_ = arg;
  n_ = n;
  next_.store(0, std::memory_order_relaxed);
  gate_.store(kOpen, std::memory_order_release);
  ++epoch_;
  epoch_.notify_all();
  take_tasks();
  close_and_wait();
  busy_.store(false, std::memory_order_release);
}

// Once the gate is closed nobody enters, and once it is empty nobody reads the loop: then the caller's arg may die.
void ThreadPool::close_and_wait() {
  gate_.fetch_and(~kOpen, std::memory_order_acquire);
  if (spin_until([&] { return gate_.load(std::memory_order_acquire) == 0; })) return;
  if (getpid() != owner_) return;  // a task forked, this is the child: the workers inside do not exist here
  while (const uint32_t inside = gate_.load(std::memory_order_acquire)) gate_.wait(inside);
}

void ThreadPool::take_tasks() {
  for (size_t i; (i = next_.fetch_add(1, std::memory_order_relaxed)) < n_;) task_(arg_, i);
}

void* ThreadPool::worker_main(void* pool) {
  pthread_setname_np(pthread_self(), "zenwoq");
  static_cast<ThreadPool*>(pool)->work();
  return nullptr;
}

void ThreadPool::work() {
  uint32_t seen = 0;
  while (true) {
    seen = wait_for_epoch_after(seen);
    if (stop_) return;
    // The loop may have ended by now (the gate is closed), or another one may be running: joining it is fine.
    if (!enter()) continue;
    take_tasks();
    leave();
  }
}

uint32_t ThreadPool::wait_for_epoch_after(uint32_t seen) {
  if (!spin_until([&] { return epoch_.load(std::memory_order_acquire) != seen; })) epoch_.wait(seen);
  return epoch_.load(std::memory_order_acquire);
}

bool ThreadPool::enter() {
  uint32_t gate = gate_.load(std::memory_order_relaxed);
  while (gate & kOpen) {
    if (gate_.compare_exchange_weak(gate, gate + 1, std::memory_order_acquire)) return true;
  }
  return false;
}

void ThreadPool::leave() {
  if (gate_.fetch_sub(1, std::memory_order_release) == 1) gate_.notify_one();  // closed, and this was the last
}

}  // namespace zenwoq
