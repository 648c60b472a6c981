// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// A cold weight is read at the speed of memory only in huge pages: in pages of 4 KiB, the walks of page tables cost a
// product with one row about a tenth of its speed.
#include "weight/buffer.h"

#include <sys/mman.h>

#include "zenwoq/zenwoq.h"

namespace zenwoq {
namespace {

std::size_t round_up(std::size_t bytes, std::size_t unit) { return (bytes + unit - 1) / unit * unit; }

}  // namespace

PackedBuffer allocate_packed(std::size_t bytes) {
  if (bytes > PTRDIFF_MAX - kHugePageBytes) return nullptr;
  const std::size_t unit = bytes < kHugePageBytes ? ZENWOQ_PACKED_ALIGNMENT : kHugePageBytes;
  // The last huge page is completed where that wastes at most an eighth; otherwise the end lies in small pages.
  std::size_t size = round_up(bytes, unit);
  if (size - bytes > bytes / 8) size = round_up(bytes, ZENWOQ_PACKED_ALIGNMENT);
  void* memory = nullptr;
  if (posix_memalign(&memory, unit, size) != 0) return nullptr;
  if (unit == kHugePageBytes) madvise(memory, size / unit * unit, MADV_HUGEPAGE);  // in vain is no error
  return PackedBuffer(static_cast<std::uint8_t*>(memory));
}

}  // namespace zenwoq
