// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// Which vector register of a kernel holds what, in words.
#pragma once

#include <map>
#include <string>

#include "jit/key.h"

namespace zenwoq::tools {

// Comment lines for the head of a listing.
std::string register_map(const KernelKey& key);

// For each vector register that holds sums, by its name: "acc row 1, columns 16..31".
std::map<std::string, std::string> sum_registers(const KernelKey& key);

}  // namespace zenwoq::tools
