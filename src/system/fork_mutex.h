// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// The one lock of the library: a fork waits until nobody holds it, so that a child never inherits it locked by a thread
// that it does not have. tests/locks.py refuses every other lock, condition variables and guarded statics included: a
// child would wait for those for ever.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>

namespace zenwoq {

// For std::lock_guard. A thread holds at most one, makes and destroys none meanwhile, and calls no function of the
// host's: so a fork, which takes all of them, never waits for a thread that waits for the fork.
class ForkMutex {
 public:
  ForkMutex();
  ~ForkMutex();
  ForkMutex(const ForkMutex&) = delete;
  ForkMutex& operator=(const ForkMutex&) = delete;

  void lock();
  void unlock();

 private:
  friend struct ForkHandlers;
  std::mutex mutex_;
  ForkMutex *next_ = nullptr, *previous_ = nullptr;  // of all that there are
};

// False: the system had no memory for it, and no context can be made.
bool forks_are_handled();

extern std::atomic<std::uint32_t> fork_count_of_this_process;

// How many forks lie between the loading of the library and this process: who remembers it with a thread knows whether
// that thread is still there. (A process id would not do: a grandchild may have its grandparent's.)
inline std::uint32_t fork_count() { return fork_count_of_this_process.load(std::memory_order_relaxed); }

// The one object of a slot, made at its first use and never destroyed; of several threads that make it, one wins.
template <typename Object>
Object& made_once(std::atomic<Object*>& slot) {
  Object* object = slot.load(std::memory_order_acquire);
  if (object != nullptr) return *object;
  auto made = std::make_unique<Object>();
  return *(slot.compare_exchange_strong(object, made.get(), std::memory_order_acq_rel) ? made.release() : object);
}

}  // namespace zenwoq
