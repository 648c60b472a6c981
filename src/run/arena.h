// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// Arrays one after another in one piece of memory. A function that takes them is called twice: with an arena that only
// measures, then with the memory.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <type_traits>

namespace zenwoq {

class Arena {
 public:
  Arena() = default;  // measures: what it gives must not be touched
  explicit Arena(std::uint8_t* memory)
      : memory_((reinterpret_cast<std::uintptr_t>(memory) + kAlignment - 1) / kAlignment * kAlignment) {}

  // Uninitialised memory for `count` values, which nobody will destroy.
  template <typename T>
  T* take(std::size_t count) {
    static_assert(std::is_trivially_destructible_v<T> && alignof(T) <= kAlignment);
    const std::size_t at = used_;
    std::size_t bytes = 0;
    overflow_ |= __builtin_mul_overflow(count, sizeof(T), &bytes) ||
                 __builtin_add_overflow(bytes, kAlignment - 1, &bytes) ||
                 __builtin_add_overflow(used_, bytes / kAlignment * kAlignment, &used_) || used_ > PTRDIFF_MAX;
    return reinterpret_cast<T*>(memory_ + at);
  }

  // Of the memory that all of it takes, of any alignment; empty if they overflow.
  std::optional<std::size_t> bytes() const {
    if (overflow_) return std::nullopt;
    return used_ + kAlignment - 1;
  }

 private:
  static constexpr std::size_t kAlignment = 64;
  std::uintptr_t memory_ = 0;
  std::size_t used_ = 0;
  bool overflow_ = false;
};

}  // namespace zenwoq
