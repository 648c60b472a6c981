// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// Lines on stderr for whoever asks for them: ZENWOQ_VERBOSE.
#pragma once

#include <string_view>

#include "jit/status.h"

namespace zenwoq {

enum class LogLevel { silent, error, warn, info, dispatch };

// What ZENWOQ_VERBOSE asks for; silent where it is not set. Errors: INVALID_ARGUMENT (no such word; then silent).
Status read_verbosity(LogLevel* level);

// Whether calls that fail write a line: the environment as the library was loaded, then as the latest context found it.
// Not read at each failure: other threads may be changing the environment.
bool prints_errors() noexcept;
void print_errors(LogLevel level) noexcept;

// "zenwoq: warn: TEXT" as one line in one write to stderr, without any lock.
void print_line(LogLevel level, std::string_view text) noexcept;

}  // namespace zenwoq
