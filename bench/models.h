// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// Which weights are measured: those of named models, and those that our speed goals are given for.
#pragma once

#include <cstddef>
#include <map>
#include <string>
#include <vector>

namespace zenwoq::bench {

// A weight's outputs and inputs.
struct Matrix {
  std::size_t n = 0;
  std::size_t k = 0;

  bool operator==(const Matrix&) const = default;
};

// Measurements that have a name.
struct Suite {
  std::vector<Matrix> matrices;
  std::vector<std::size_t> groups;
  std::vector<std::size_t> rows;
};

// Every linear of a layer once, unfused; neither the embedding nor the head.
const std::map<std::string, std::vector<Matrix>>& models();
const std::map<std::string, Suite>& suites();

}  // namespace zenwoq::bench
