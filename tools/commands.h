// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// The commands of zenwoq; each adds itself to the command line and sets the exit code when it has run.
#pragma once

#include <CLI/CLI.hpp>

namespace zenwoq::tools {

enum ExitCode : int {
  kPassed = 0,
  kFailed = 1,    // a check found something wrong
  kBadInput = 2,  // unreadable or hostile input, bad usage: one line on stderr says what
};

void add_info_command(CLI::App& app, int& exit_code);
void add_check_command(CLI::App& app, int& exit_code);
void add_convert_command(CLI::App& app, int& exit_code);
void add_kernels_command(CLI::App& app, int& exit_code);
void add_dump_command(CLI::App& app, int& exit_code);

}  // namespace zenwoq::tools
