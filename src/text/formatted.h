// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// Sentences with values in them. fmt's code is compiled once, here, and not into every file that says something: that
// took longer than the files themselves. So the libraries include fmt's core alone, and need no libfmt where they run.
#pragma once

#include <fmt/core.h>

#include <string>

namespace zenwoq {

std::string formatted_of(fmt::string_view pattern, fmt::format_args args);

// As fmt::format. A pointer is given as const void*: fmt's core has no fmt::ptr.
template <typename... Args>
std::string formatted(fmt::format_string<Args...> pattern, Args&&... args) {
  return formatted_of(pattern, fmt::make_format_args(args...));
}

}  // namespace zenwoq
