// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// Formats and prints JSON.
#include "tools/json_output.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

namespace zenwoq::tools {

std::string json_text(const Json& value) { return value.dump(2, ' ', false, Json::error_handler_t::replace) + "\n"; }

void print_json(const Json& value) { fmt::print("{}", json_text(value)); }

}  // namespace zenwoq::tools
