// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// What `zenwoq check` does, callable without a command line.
#pragma once

#include <string>
#include <vector>

#include "tools/check_report.h"

namespace zenwoq::tools {

// Checks every 4-bit linear of the files, of a mixture of experts the first `experts` (0: all). Opens all files before
// it runs the first layer. `reference` must be capped to ZENWOQ_TIER_REFERENCE. Throws ReadError if a file cannot be
// opened or has bytes that differ from its checksums; a layer that cannot be read or packed is reported as one with an
// error.
CheckReport check_files(const std::vector<std::string>& paths, const ReadOptions& options, zenwoq_context* jit,
                        zenwoq_context* reference, bool progress, std::size_t experts = 0);

}  // namespace zenwoq::tools
