// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// Stretches of indices, and how threads take from them.
#include "src/run/schedule.h"

#include <algorithm>
#include <atomic>

namespace zenwoq {

StreamLoop::StreamLoop(std::size_t n, std::size_t threads, Task task, void* arg)
    : task_(task), arg_(arg), parts_(std::min(n, threads)), count_(std::min(parts_, kMaxStretches)) {
  for (std::size_t i = 0; i < count_; ++i) stretches_[i] = {n * i / count_, n * (i + 1) / count_};
}

void StreamLoop::part(void* shared, std::size_t part) {
  StreamLoop& loop = *static_cast<StreamLoop*>(shared);
  const std::size_t own = part * loop.count_ / loop.parts_;
  for (std::size_t i = 0; i < loop.count_; ++i) {
    Stretch& stretch = loop.stretches_[(own + i) % loop.count_];
    const std::atomic_ref<std::size_t> next(stretch.next);
    while (next.load(std::memory_order_relaxed) < stretch.end) {  // a load alone leaves the line with all who look
      const std::size_t index = next.fetch_add(1, std::memory_order_relaxed);
      if (index < stretch.end) loop.task_(loop.arg_, index);
    }
  }
}

}  // namespace zenwoq
