// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// zenwoq: looks at this CPU, checks and converts checkpoints, lists and dumps kernels.
#include <fmt/format.h>
#include <CLI/CLI.hpp>

#include <algorithm>
#include <cstdio>
#include <exception>
#include <new>
#include <string>

#include "tools/api_handles.h"
#include "tools/commands.h"

namespace zenwoq::tools {
namespace {

int fail(std::string text) {
  std::replace(text.begin(), text.end(), '\n', ' ');
  std::fprintf(stderr, "zenwoq: %s\n", text.c_str());
  return kBadInput;
}

int run(int argc, char** argv) {
  int exit_code = kPassed;
  CLI::App app(
      "Linear layers with 4-bit weights on AMD Zen: checks checkpoints, shows what the library does with them.");
  app.footer(
      "Exit code: 0 all is right, 1 a check failed, 2 the input or the usage is wrong.\n"
      "Example: zenwoq check model.gguf");
  app.set_version_flag("--version", std::string("zenwoq ") + zenwoq_version());
  app.require_subcommand(0, 1);
  add_info_command(app, exit_code);
  add_check_command(app, exit_code);
  add_convert_command(app, exit_code);
  add_kernels_command(app, exit_code);
  add_dump_command(app, exit_code);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    if (error.get_exit_code() == 0) return app.exit(error);  // --help, --version
    return fail(std::string(error.what()) + " (see --help)");
  }
  if (app.get_subcommands().empty()) return fail("name a command (see --help)");
  if (std::fflush(stdout) != 0 || std::ferror(stdout) != 0) throw ToolError("cannot write to standard output");
  return exit_code;
}

}  // namespace
}  // namespace zenwoq::tools

int main(int argc, char** argv) {
  using zenwoq::tools::fail;
  try {
    return zenwoq::tools::run(argc, argv);
  } catch (const std::bad_alloc&) {
    return fail("out of memory");
  } catch (const std::exception& error) {
    return fail(error.what());
  }
}
