// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// The rows "linear/...": makes a list, in the order in which they run, of what the command line asks for.
#pragma once

#include <cstddef>
#include <string>
#include <tuple>
#include <vector>

#include "bench/source.h"

namespace zenwoq::bench {

struct LinearCase {
  Format format;
  std::size_t m = 1;
  unsigned threads = 1;
};

// What the command line asks for; an empty list stands for the default. Names are those of models.h.
struct CaseRequest {
  std::vector<std::tuple<std::size_t, std::size_t, std::size_t, std::size_t, unsigned>> shapes;  // N, K, g, M, threads
  std::vector<std::string> models;
  std::string suite;
  std::vector<std::size_t> rows, groups;
  std::vector<unsigned> threads;
  std::vector<zenwoq_dtype> scales = {ZENWOQ_BF16};
  std::vector<zenwoq_zero_kind> zeros = {ZENWOQ_ZERO_NONE};
  std::vector<Table> tables = {Table::integer};
};

// Throws std::invalid_argument with a message for the user.
std::vector<LinearCase> make_cases(const CaseRequest& request);

}  // namespace zenwoq::bench
