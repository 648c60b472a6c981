// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// The one file that has fmt's code.
#define FMT_HEADER_ONLY
#include "src/text/formatted.h"

#include <fmt/format.h>

namespace zenwoq {

// Weak: libzenwoq.a and libzenwoq-formats.a both have it, and a program may link all of both.
[[gnu::weak]] std::string formatted_of(fmt::string_view pattern, fmt::format_args args) {
  return fmt::vformat(pattern, args);
}

}  // namespace zenwoq
