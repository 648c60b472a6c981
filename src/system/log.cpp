// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// Words of levels, and a line in one write.
#include "src/system/log.h"

#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <iterator>

namespace zenwoq {
namespace {

constexpr const char* kNames[] = {"", "error", "warn", "info", "dispatch"};  // by LogLevel
constexpr std::size_t kLongestLine = 4096;                                   // what pipes take whole

}  // namespace

Status read_verbosity(LogLevel* level) {
  *level = LogLevel::silent;
  const char* wanted = secure_getenv("ZENWOQ_VERBOSE");
  if (wanted == nullptr) return {};
  const auto found = std::find(std::begin(kNames), std::end(kNames), std::string_view(wanted));
  if (found == std::end(kNames)) {
    return invalid("environment variable ZENWOQ_VERBOSE is \"{}\": must be error, warn, info or dispatch", wanted);
  }
  *level = static_cast<LogLevel>(found - std::begin(kNames));
  return {};
}

void print_line(LogLevel level, std::string_view text) noexcept {
  char line[kLongestLine];
  const auto prefix =
      fmt::format_to_n(line, sizeof line - 1, "zenwoq: {}: {}", kNames[static_cast<std::size_t>(level)], text);
  char* end = prefix.out;
  std::replace(line, end, '\n', ' ');
  *end++ = '\n';
  // Nobody can be told where this fails.
  [[maybe_unused]] const ssize_t written = write(STDERR_FILENO, line, static_cast<std::size_t>(end - line));
}

}  // namespace zenwoq
