// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// The one file that fmt is compiled into (FMT_HEADER_ONLY, by meson.build).
#include "src/text/formatted.h"

#include <fmt/format.h>

namespace zenwoq {

std::string formatted_of(fmt::string_view pattern, fmt::format_args args) { return fmt::vformat(pattern, args); }

}  // namespace zenwoq
