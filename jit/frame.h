// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// How to unwind through a kernel, at each of its instructions: what compilers write into .eh_frame.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace zenwoq {

// The .eh_frame of a kernel that lies at `address`: a common entry, the kernel's, the terminator. Empty if the code
// does not begin and end as Emitter::open_frame and close_frame make it.
std::vector<std::uint8_t> unwind_table(std::span<const std::uint8_t> code, const void* address);

}  // namespace zenwoq
