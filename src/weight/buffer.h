// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// Memory for packed weights.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <memory>

namespace zenwoq {

inline constexpr std::size_t kHugePageBytes = std::size_t{2} << 20;

struct FreeDeleter {
  void operator()(void* pointer) const { std::free(pointer); }
};
using PackedBuffer = std::unique_ptr<std::uint8_t, FreeDeleter>;

// 64-byte aligned, and in huge pages from 2 MiB on where the system has them; NULL if there is no memory. No page is
// touched yet.
PackedBuffer allocate_packed(std::size_t bytes);

}  // namespace zenwoq
