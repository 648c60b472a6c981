// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// Workspaces for callers that bring none: kept from run to run, one for each run that goes on at the same time.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <new>
#include <utility>
#include <vector>

#include "src/system/fork_mutex.h"

namespace zenwoq {

class Scratch {
 public:
  struct Buffer {
    std::unique_ptr<std::uint8_t[]> data;
    std::size_t bytes = 0;
  };

  // A buffer for the length of one run; goes back to the scratch at the end.
  class Lease {
   public:
    Lease(Scratch& scratch, std::size_t bytes) : scratch_(scratch), buffer_(scratch.take(bytes)) {}  // throws bad_alloc
    ~Lease() { scratch_.give(std::move(buffer_)); }
    Lease(const Lease&) = delete;
    Lease& operator=(const Lease&) = delete;
    std::uint8_t* data() const { return buffer_.data.get(); }

   private:
    Scratch& scratch_;
    Buffer buffer_;
  };

 private:
  Buffer take(std::size_t bytes) {
    Buffer buffer;
    {
      const std::lock_guard lock(mutex_);
      if (!free_.empty()) {
        buffer = std::move(free_.back());
        free_.pop_back();
      }
      free_.reserve(free_.size() + lent_ + 1);  // so that give() cannot fail
      ++lent_;
    }
    if (buffer.bytes < bytes) {
      buffer = {};  // first, so that both are never held
      buffer.data.reset(new (std::nothrow) std::uint8_t[bytes]);
      if (buffer.data == nullptr) {
        give({});
        throw std::bad_alloc();
      }
      buffer.bytes = bytes;
    }
    return buffer;
  }
  void give(Buffer buffer) {
    const std::lock_guard lock(mutex_);
    --lent_;
    if (buffer.data != nullptr && free_.size() < free_.capacity()) free_.push_back(std::move(buffer));
  }

  ForkMutex mutex_;
  std::vector<Buffer> free_;
  std::size_t lent_ = 0;
};

}  // namespace zenwoq
