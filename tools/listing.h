// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// A kernel's code as text: instructions with the emitter's labels and notes, and which sums they change.
#pragma once

#include <string>

#include "tools/planned_kernels.h"

namespace zenwoq::tools {

// Two digits per byte.
std::string hex_text(const std::uint8_t* bytes, std::size_t count);

std::string listing(const EmittedKernel& kernel);

}  // namespace zenwoq::tools
