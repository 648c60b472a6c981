// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// Which vector register of a kernel holds what, in words.
#pragma once

#include <array>
#include <string>

#include "jit/key.h"

namespace zenwoq::tools {

// Comment lines for the head of a listing.
std::string register_map(const KernelKey& key);

// For each zmm register that holds sums: "acc row 1, columns 16..31"; empty for the others.
std::array<std::string, 32> sum_registers(const KernelKey& key);

}  // namespace zenwoq::tools
