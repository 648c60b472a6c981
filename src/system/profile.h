// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// What ZENWOQ_PERF asks for: files in which perf finds the names of generated kernels, and unwinding through them.
#pragma once

#include <cstddef>
#include <span>
#include <string>

#include "jit/status.h"

namespace zenwoq {

struct Profile {
  bool unwind = false;         // tables for unwinding, wherever kernels run: with each value
  bool map = false;            // /tmp/perf-PID.map: perf names kernels while the file is there
  std::string jitdump_folder;  // jit-PID.dump in it, names and code: perf inject --jit; empty: none

  // What ZENWOQ_PERF asks for, nothing in a program with raised privileges. Errors: INVALID_ARGUMENT.
  static Status read(Profile* profile);

  // Takes down a kernel, for the process that calls: a forked child has files of its own. Any thread. Nothing is
  // followed or overwritten that this user's processes did not make. Errors: UNSUPPORTED, with the file and what is
  // wrong with it; of a jitdump once, then it is left alone.
  Status add(const std::string& name, std::span<const std::uint8_t> code) const;
};

}  // namespace zenwoq
