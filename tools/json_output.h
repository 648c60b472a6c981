// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// What every --json prints. Files that build JSON include <nlohmann/json.hpp> themselves, as it is slow to compile.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>

namespace zenwoq::tools {

using Json = nlohmann::ordered_json;  // keys in the order they were set

// Bytes that are not UTF-8, which paths may contain, become U+FFFD.
std::string json_text(const Json& value);

void print_json(const Json& value);

}  // namespace zenwoq::tools
