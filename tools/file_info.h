// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// What zenwoq info says of a checkpoint: each layer and tensor, and totals.
#pragma once

#include <string>

#include "formats/contents.h"

namespace zenwoq::tools {

// Opens it and prints to stdout. Packs nothing. Throws ReadError if it cannot be opened.
void print_file_info(const std::string& path, const formats::ReadOptions& options, bool json);

}  // namespace zenwoq::tools
