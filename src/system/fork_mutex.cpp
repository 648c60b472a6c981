// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// All mutexes in a list, and the three handlers that pthread_atfork calls.
#include "src/system/fork_mutex.h"

#include <pthread.h>

namespace zenwoq {
namespace {

constinit std::mutex list_mutex;
constinit ForkMutex* first = nullptr;

}  // namespace

constinit std::atomic<std::uint32_t> fork_count_of_this_process{0};

struct ForkHandlers {
  static void before() {
    list_mutex.lock();
    for (ForkMutex* each = first; each != nullptr; each = each->next_) each->mutex_.lock();
  }
  static void in_parent() {
    for (ForkMutex* each = first; each != nullptr; each = each->next_) each->mutex_.unlock();
    list_mutex.unlock();
  }
  static void in_child() {
    fork_count_of_this_process.fetch_add(1, std::memory_order_relaxed);
    in_parent();
  }
};

namespace {

// When the library is loaded: the handlers of a host that holds its own locks around calls of zenwoq come later, and so
// run before these.
const int not_registered = pthread_atfork(ForkHandlers::before, ForkHandlers::in_parent, ForkHandlers::in_child);

}  // namespace

bool forks_are_handled() { return not_registered == 0; }

ForkMutex::ForkMutex() {
  const std::lock_guard lock(list_mutex);
  next_ = first;
  if (first != nullptr) first->previous_ = this;
  first = this;
}

ForkMutex::~ForkMutex() {
  const std::lock_guard lock(list_mutex);
  (previous_ == nullptr ? first : previous_->next_) = next_;
  if (next_ != nullptr) next_->previous_ = previous_;
}

void ForkMutex::lock() { mutex_.lock(); }
void ForkMutex::unlock() { mutex_.unlock(); }

}  // namespace zenwoq
