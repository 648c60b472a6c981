// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// Words of levels, and a line in one write.
#include "src/system/log.h"

#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <iterator>

namespace zenwoq {
namespace {

constexpr const char* kNames[] = {"", "error", "warn", "info", "dispatch"};  // by LogLevel
constexpr std::size_t kLongestLine = 4096;                                   // what pipes take whole

LogLevel verbosity_when_loaded() {
  LogLevel level;
  (void)read_verbosity(&level);
  return level;
}

std::atomic<LogLevel> level_of_errors{verbosity_when_loaded()};

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

bool prints_errors() noexcept { return level_of_errors.load(std::memory_order_relaxed) >= LogLevel::error; }
void print_errors(LogLevel level) noexcept { level_of_errors.store(level, std::memory_order_relaxed); }

void print_line(LogLevel level, std::string_view text) noexcept {
  char line[kLongestLine];
  const int shown = static_cast<int>(std::min(text.size(), kLongestLine));
  const int whole =
      std::snprintf(line, sizeof line, "zenwoq: %s: %.*s", kNames[static_cast<std::size_t>(level)], shown, text.data());
  char* end = line + std::clamp(whole, 0, static_cast<int>(sizeof line) - 1);
  std::replace(line, end, '\n', ' ');
  *end++ = '\n';
  // Nobody can be told where this fails.
  [[maybe_unused]] const ssize_t written = write(STDERR_FILENO, line, static_cast<std::size_t>(end - line));
}

}  // namespace zenwoq
