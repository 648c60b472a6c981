// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// Writes what an open checkpoint has as a .zwq file.
#pragma once

#include <functional>
#include <string>

#include "formats/checkpoint.h"

namespace zenwoq::formats {

// Whether the tensor will be in the file.
bool is_written(const LeftAlone& left);

// Whether the tensor has values that will not be in the file.
bool is_lost(const LeftAlone& left);

// "2 of its tensors cannot be in a .zwq file, the first is ..."; empty if none would be lost.
std::string losses(const Checkpoint& checkpoint);

using ConvertProgress = std::function<void(std::size_t done, std::size_t total)>;  // in entries

// Leaves out what is not is_written(). The file appears whole or not at all; what was there is replaced. Packs on the
// context's threads, a weight at a time. progress may be empty. Throws ReadError for values that cannot be packed and
// for a file that cannot be written.
void convert(const Checkpoint& checkpoint, zenwoq_context* context, const std::string& path,
             const ConvertProgress& progress);

}  // namespace zenwoq::formats
