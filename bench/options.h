// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// The command line: the options of zenwoq-bench, and all others for Google Benchmark.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "bench/cases.h"

namespace zenwoq::bench {

struct Options {
  std::vector<LinearCase> cases;
  std::vector<ExpertsBlock> experts;
  std::size_t cold_bytes = 0;                  // of all copies of a weight together; 0 = chosen from the caches' size
  std::vector<std::string> benchmark_options;  // for benchmark::Initialize
};

// Ends the process after --help and after a wrong option.
Options read_options(int argc, char** argv);

}  // namespace zenwoq::bench
