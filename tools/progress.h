// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// A progress bar on stderr; it leaves no trace when it is done.
#pragma once

#include <unistd.h>

#include <cstddef>
#include <cstdio>
#include <string>

namespace zenwoq::tools {

class Progress {
 public:
  // Nothing is written if stderr is not a terminal.
  Progress(const char* what, std::size_t total, bool wanted)
      : what_(what), total_(total), shown_(wanted && total > 0 && isatty(STDERR_FILENO) == 1) {}
  ~Progress() {
    if (shown_) std::fputs("\r\033[K", stderr);
  }
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  void show(std::size_t done) const {
    if (!shown_) return;
    const std::size_t filled = kWidth * done / total_;
    const std::string bar = std::string(filled, '#') + std::string(kWidth - filled, '.');
    std::fprintf(stderr, "\r%s [%s] %zu/%zu", what_, bar.c_str(), done, total_);
    std::fflush(stderr);
  }

 private:
  static constexpr std::size_t kWidth = 40;
  const char* what_;
  std::size_t total_;
  bool shown_;
};

}  // namespace zenwoq::tools
