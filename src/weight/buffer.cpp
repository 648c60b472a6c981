// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// A cold weight is read at the speed of memory only in huge pages: in pages of 4 KiB, the walks of page tables cost a
// product with one row about a tenth of its speed.
#include "weight/buffer.h"

#include <sys/mman.h>

#include <cstdlib>

#include "zenwoq/zenwoq.h"

namespace zenwoq {
namespace {

std::uintptr_t round_up(std::uintptr_t value, std::size_t unit) { return (value + unit - 1) / unit * unit; }

// A mapping of its own, not memory of the heap: the advice would stay on what the heap gives to others later.
PackedBuffer map_huge(std::size_t bytes) {
  constexpr std::size_t kPageBytes = 4096;
  // The last huge page is completed where that wastes at most an eighth; otherwise the end lies in small pages.
  std::size_t size = round_up(bytes, kHugePageBytes);
  if (size - bytes > bytes / 8) size = round_up(bytes, kPageBytes);
  const std::size_t reserved = size + kHugePageBytes;  // whatever lies before and behind is given back
  void* mapping = mmap(nullptr, reserved, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (mapping == MAP_FAILED) return nullptr;
  auto* begin = static_cast<std::uint8_t*>(mapping);
  auto* aligned = reinterpret_cast<std::uint8_t*>(round_up(reinterpret_cast<std::uintptr_t>(begin), kHugePageBytes));
  if (aligned != begin) munmap(begin, static_cast<std::size_t>(aligned - begin));
  munmap(aligned + size, static_cast<std::size_t>(begin + reserved - (aligned + size)));
  madvise(aligned, size, MADV_HUGEPAGE);  // only an advice: without it the weight is as right
  return PackedBuffer(aligned, {size});
}

}  // namespace

void PackedDeleter::operator()(std::uint8_t* memory) const {
  if (mapped_bytes == 0) return std::free(memory);
  munmap(memory, mapped_bytes);
}

PackedBuffer allocate_packed(std::size_t bytes) {
  if (bytes > PTRDIFF_MAX - 2 * kHugePageBytes) return nullptr;
  if (bytes >= kHugePageBytes) return map_huge(bytes);
  const std::size_t size = round_up(bytes, ZENWOQ_PACKED_ALIGNMENT);
  return PackedBuffer(static_cast<std::uint8_t*>(std::aligned_alloc(ZENWOQ_PACKED_ALIGNMENT, size)));
}

}  // namespace zenwoq
