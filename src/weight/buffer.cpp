// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// A cold weight is read at the speed of memory only in huge pages: in pages of 4 KiB, the walks of page tables cost a
// product with one row a tenth of its speed, and if the weight is small and its pages are scattered, a third.
#include "src/weight/buffer.h"

#include <sys/mman.h>

#include <cstdlib>
#include <mutex>
#include <new>

#include "src/system/fork_mutex.h"
#include "zenwoq/zenwoq.h"

namespace zenwoq {
namespace {

std::uintptr_t round_up(std::uintptr_t value, std::size_t unit) { return (value + unit - 1) / unit * unit; }

// A private mapping, not heap memory: the advice would stay on memory that the heap later gives to others.
std::uint8_t* map_huge(std::size_t size, std::size_t alignment) {
  const std::size_t reserved = size + alignment;  // what lies before and after is given back
  void* mapping = mmap(nullptr, reserved, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (mapping == MAP_FAILED) return nullptr;
  auto* begin = static_cast<std::uint8_t*>(mapping);
  auto* aligned = reinterpret_cast<std::uint8_t*>(round_up(reinterpret_cast<std::uintptr_t>(begin), alignment));
  if (aligned != begin) munmap(begin, static_cast<std::size_t>(aligned - begin));
  munmap(aligned + size, static_cast<std::size_t>(begin + reserved - (aligned + size)));
  madvise(aligned, size, MADV_HUGEPAGE);  // only advice: correctness does not depend on it
  return aligned;
}

void unmap(std::uint8_t* memory, std::size_t bytes) { munmap(memory, bytes); }

PackedBuffer allocate_large(std::size_t bytes) {
  constexpr std::size_t kPageBytes = 4096;
  // The last huge page is completed where that wastes at most an eighth; otherwise the end lies in small pages.
  std::size_t size = round_up(bytes, kHugePageBytes);
  if (size - bytes > bytes / 8) size = round_up(bytes, kPageBytes);
  return PackedBuffer(map_huge(size, kHugePageBytes), {unmap, size});
}

// Mappings that small weights share. A mapping is filled from front to back and goes with its last weight; the newest
// one stays, and what its last weights leave is filled anew.
class SharedMappings {
 public:
  std::uint8_t* allocate(std::size_t bytes) {
    const std::lock_guard lock(mutex_);
    if (newest_ == nullptr || used_ + bytes > kMappingBytes) {
      std::uint8_t* made = map_huge(kMappingBytes, kMappingBytes);
      if (made == nullptr) return nullptr;
      if (newest_ != nullptr) leave(newest_);
      newest_ = new (made) Mapping{1};
      used_ = kHeaderBytes;
    }
    std::uint8_t* memory = reinterpret_cast<std::uint8_t*>(newest_) + used_;
    used_ += bytes;
    ++newest_->users;
    return memory;
  }

  void free(std::uint8_t* memory, std::size_t bytes) {
    const std::lock_guard lock(mutex_);
    auto* mapping = reinterpret_cast<Mapping*>(reinterpret_cast<std::uintptr_t>(memory) & ~(kMappingBytes - 1));
    leave(mapping);
    if (mapping != newest_) return;
    if (memory + bytes == reinterpret_cast<std::uint8_t*>(newest_) + used_) used_ -= bytes;
    if (newest_->users == 1) used_ = kHeaderBytes;
  }

 private:
  static constexpr std::size_t kMappingBytes = 4 * kHugePageBytes;  // and its alignment, by which a weight finds it
  static constexpr std::size_t kHeaderBytes = ZENWOQ_PACKED_ALIGNMENT;

  // At the beginning of its memory.
  struct Mapping {
    std::size_t users;  // weights, and being the newest
  };

  static void leave(Mapping* mapping) {
    if (--mapping->users == 0) munmap(mapping, kMappingBytes);
  }

  ForkMutex mutex_;
  Mapping* newest_ = nullptr;
  std::size_t used_ = 0;  // bytes of the newest mapping
};

// Never destroyed: weights may outlive every static object.
constinit std::atomic<SharedMappings*> the_mappings{nullptr};
SharedMappings& shared_mappings() { return made_once(the_mappings); }

PackedBuffer allocate_small(std::size_t bytes) {
  const std::size_t size = round_up(bytes, ZENWOQ_PACKED_ALIGNMENT);
#if defined(__SANITIZE_ADDRESS__)  // sees accesses beyond the end only in memory of the heap
  auto* memory = static_cast<std::uint8_t*>(std::aligned_alloc(ZENWOQ_PACKED_ALIGNMENT, size));
  return PackedBuffer(memory, {[](std::uint8_t* own, std::size_t) { std::free(own); }, size});
#else
  return PackedBuffer(shared_mappings().allocate(size),
                      {[](std::uint8_t* own, std::size_t own_bytes) { shared_mappings().free(own, own_bytes); }, size});
#endif
}

}  // namespace

PackedBuffer allocate_packed(std::size_t bytes) {
  if (bytes > PTRDIFF_MAX - 2 * kHugePageBytes) return nullptr;
  return bytes >= kHugePageBytes ? allocate_large(bytes) : allocate_small(bytes);
}

}  // namespace zenwoq
