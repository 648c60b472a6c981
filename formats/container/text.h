// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// Names and texts that come from a file: made fit for one-line messages, or refused.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "formats/container/read_error.h"

namespace zenwoq::formats {

// Text made fit for a one-line message: \xNN for what is not printable UTF-8, and cut off after `limit` bytes.
std::string shown(std::string_view text, std::size_t limit = 120);

// A path, or the name of a file, made fit in the same way; longer than other texts, so that it can be found.
std::string shown_path(std::string_view path);

// "[64, 128]"
std::string shown(const std::vector<std::uint64_t>& shape);

// Throws ReadError unless name is 1 to 1024 bytes of printable UTF-8, so that it can be printed as it is.
void check_name(std::string_view name, const std::string& where);

// ASCII letters only: "BF16" -> "bf16".
std::string lower_case(std::string_view text);

// Whether text ends with suffix and has something before it.
bool has_suffix(std::string_view text, std::string_view suffix);

// text without suffix if it has_suffix, else text.
std::string_view without_suffix(std::string_view text, std::string_view suffix);

}  // namespace zenwoq::formats
