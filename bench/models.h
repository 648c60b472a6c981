// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// Which weights are measured: those of named models, and those that our speed goals are given for.
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <vector>

namespace zenwoq::bench {

// A weight's outputs and inputs.
struct Matrix {
  std::size_t n = 0;
  std::size_t k = 0;

  bool operator==(const Matrix&) const = default;
};

struct Model {
  std::string name;
  std::vector<Matrix> matrices;  // every linear of a layer once: no fusion, no embedding, no head
};

// A list of measurements that has a name.
struct Suite {
  std::string name;
  std::vector<Matrix> matrices;
  std::vector<std::size_t> groups;
  std::vector<std::size_t> rows;
};

std::span<const Model> models();
std::span<const Suite> suites();

// "a, b, c"
template <typename Named>
std::string names_of(std::span<const Named> table) {
  std::string names;
  for (const Named& entry : table) names.append(names.empty() ? "" : ", ").append(entry.name);
  return names;
}

}  // namespace zenwoq::bench
