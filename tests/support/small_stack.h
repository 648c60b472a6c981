// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// A thread with the stack that the header says runs need.
#pragma once

#include <pthread.h>

#include <climits>
#include <cstdlib>
#include <functional>

namespace zenwoq::test {

// body() in a thread with 64 KiB of stack.
inline void on_64_kib_of_stack(std::function<void()> body) {
  pthread_attr_t attributes;
  pthread_attr_init(&attributes);
  // What the thread itself takes (its thread-local variables lie there too) comes on top.
  if (pthread_attr_setstacksize(&attributes, (64 << 10) + PTHREAD_STACK_MIN) != 0) std::abort();
  pthread_t thread;
  const auto call = [](void* at) -> void* {
    (*static_cast<std::function<void()>*>(at))();
    return nullptr;
  };
  if (pthread_create(&thread, &attributes, call, &body) != 0) std::abort();
  pthread_join(thread, nullptr);
  pthread_attr_destroy(&attributes);
}

}  // namespace zenwoq::test
