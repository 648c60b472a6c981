// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// The one exception of files that cannot be read.
#pragma once

#include <stdexcept>
#include <utility>

#include "src/text/formatted.h"

namespace zenwoq::formats {

// A file is damaged, contradicts itself, or is of no known kind. what() is one line that says what is wrong and where.
class ReadError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

template <typename... Args>
[[noreturn]] void fail(fmt::format_string<Args...> text, Args&&... args) {
  throw ReadError(formatted(text, std::forward<Args>(args)...));
}

}  // namespace zenwoq::formats
