// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// Replaces operator new and delete. What malloc rounds up is counted too.
#include "tests/support/counted_memory.h"

#include <malloc.h>

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <new>

namespace {

std::atomic<std::size_t> now = 0, peak = 0;

void* counted(void* memory) {
  if (memory == nullptr) return nullptr;
  const std::size_t bytes = now += malloc_usable_size(memory);
  std::size_t highest = peak;
  while (highest < bytes && !peak.compare_exchange_weak(highest, bytes)) {}
  return memory;
}

void* allocate(std::size_t bytes) noexcept { return counted(std::malloc(std::max<std::size_t>(bytes, 1))); }

void* allocate(std::size_t bytes, std::align_val_t alignment) noexcept {
  const auto step = static_cast<std::size_t>(alignment);
  return counted(std::aligned_alloc(step, (std::max<std::size_t>(bytes, 1) + step - 1) / step * step));
}

void* or_throw(void* memory) { return memory != nullptr ? memory : throw std::bad_alloc(); }

void release(void* memory) noexcept {
  if (memory == nullptr) return;
  now -= malloc_usable_size(memory);
  std::free(memory);
}

}  // namespace

namespace zenwoq::test {

std::size_t counted_bytes() { return now; }
std::size_t counted_peak_bytes() { return peak; }
void start_counted_peak() { peak = now.load(); }

}  // namespace zenwoq::test

void* operator new(std::size_t bytes) { return or_throw(allocate(bytes)); }
void* operator new[](std::size_t bytes) { return or_throw(allocate(bytes)); }
void* operator new(std::size_t bytes, const std::nothrow_t&) noexcept { return allocate(bytes); }
void* operator new[](std::size_t bytes, const std::nothrow_t&) noexcept { return allocate(bytes); }
void* operator new(std::size_t bytes, std::align_val_t a) { return or_throw(allocate(bytes, a)); }
void* operator new[](std::size_t bytes, std::align_val_t a) { return or_throw(allocate(bytes, a)); }
void* operator new(std::size_t bytes, std::align_val_t a, const std::nothrow_t&) noexcept { return allocate(bytes, a); }
void* operator new[](std::size_t bytes, std::align_val_t a, const std::nothrow_t&) noexcept {
  return allocate(bytes, a);
}
void operator delete(void* memory) noexcept { release(memory); }
void operator delete[](void* memory) noexcept { release(memory); }
void operator delete(void* memory, std::size_t) noexcept { release(memory); }
void operator delete[](void* memory, std::size_t) noexcept { release(memory); }
void operator delete(void* memory, std::align_val_t) noexcept { release(memory); }
void operator delete[](void* memory, std::align_val_t) noexcept { release(memory); }
void operator delete(void* memory, std::size_t, std::align_val_t) noexcept { release(memory); }
void operator delete[](void* memory, std::size_t, std::align_val_t) noexcept { release(memory); }
void operator delete(void* memory, const std::nothrow_t&) noexcept { release(memory); }
void operator delete[](void* memory, const std::nothrow_t&) noexcept { release(memory); }
