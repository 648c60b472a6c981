// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// A loop that a few threads share so that each reads memory as one stream.
#pragma once

#include <cstddef>

namespace zenwoq {

// Indices side by side read memory side by side. So each thread has a stretch of them, which the CPU's prefetchers
// follow as one stream, and takes them one by one; whoever has finished its own helps with the next, however late or
// slow its thread.
class StreamLoop {
 public:
  using Task = void (*)(void* arg, std::size_t i);

  // task(arg, i) for i in [0, n), on at most `threads` threads; n and threads are 2 or more.
  StreamLoop(std::size_t n, std::size_t threads, Task task, void* arg);

  std::size_t parts() const { return parts_; }
  // What each of the parts() threads runs, in any order or one after another.
  static void part(void* loop, std::size_t part);

 private:
  static constexpr std::size_t kMaxStretches = 64;
  struct alignas(64) Stretch {
    std::size_t next, end;
  };

  const Task task_;
  void* const arg_;
  const std::size_t parts_, count_;
  Stretch stretches_[kMaxStretches];  // only the first count_ are used, and set
};

}  // namespace zenwoq
