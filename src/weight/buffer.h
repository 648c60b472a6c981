// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// Memory for packed weights.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

namespace zenwoq {

inline constexpr std::size_t kHugePageBytes = std::size_t{2} << 20;

// Frees memory of the heap, or unmaps so many bytes.
struct PackedDeleter {
  std::size_t mapped_bytes = 0;
  void operator()(std::uint8_t* memory) const;
};
using PackedBuffer = std::unique_ptr<std::uint8_t, PackedDeleter>;

// 64-byte aligned, and from 2 MiB on a mapping of its own, in huge pages where the system has them; NULL if there is no
// memory. The pages are not touched: each thread that packs makes its own.
PackedBuffer allocate_packed(std::size_t bytes);

}  // namespace zenwoq
