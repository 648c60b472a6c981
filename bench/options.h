// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// The command line: our options, the rest is Google Benchmark's.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "bench/cases.h"

namespace zenwoq::bench {

struct Options {
  std::vector<LinearCase> cases;
  std::size_t cold_bytes = 0;                  // what the copies of a weight take together; 0 = from the caches
  std::vector<std::string> benchmark_options;  // for benchmark::Initialize
};

// Ends the process after --help and after a wrong option.
Options read_options(int argc, char** argv);

}  // namespace zenwoq::bench
