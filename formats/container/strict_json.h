// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// JSON from a file that is not trusted: no duplicate keys, bounded depth, errors as one-line ReadErrors.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

namespace zenwoq::formats {

// The message of a ReadError begins with `where`.
nlohmann::json parse_strict_json(std::string_view text, const std::string& where);

}  // namespace zenwoq::formats
