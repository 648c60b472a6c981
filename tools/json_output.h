// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// What every --json prints. Files that build JSON include <nlohmann/json.hpp> themselves: it takes long to compile.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>

namespace zenwoq::tools {

using Json = nlohmann::ordered_json;  // keys in the order they were set

// Text that is no UTF-8 (paths) is made harmless.
std::string json_text(const Json& value);

void print_json(const Json& value);

}  // namespace zenwoq::tools
