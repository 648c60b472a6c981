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

// Gives `bytes` bytes back to where they came from.
struct PackedDeleter {
  void (*give_back)(std::uint8_t* memory, std::size_t bytes) = nullptr;
  std::size_t bytes = 0;
  void operator()(std::uint8_t* memory) const { give_back(memory, bytes); }
};
using PackedBuffer = std::unique_ptr<std::uint8_t, PackedDeleter>;

// 64-byte aligned, in huge pages where the system has them; NULL if there is no memory. From 2 MiB on it is a mapping
// of its own, whose pages are not touched: each thread that packs makes its own. Smaller ones share mappings of 8 MiB,
// each of which goes with its last buffer. Thread-safe, and a forked child can go on.
PackedBuffer allocate_packed(std::size_t bytes);

}  // namespace zenwoq
