// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// From the groups of columns to their places.
#include <vector>

#include "src/weight/packed.h"

namespace zenwoq {

Status fill_permutation(std::span<const std::int32_t> g_idx, std::size_t group, std::span<std::uint32_t> permutation,
                        std::uint32_t* permuted) {
  const std::size_t k = g_idx.size();
  const std::size_t groups = (k + group - 1) / group;
  std::vector<std::size_t> filled(groups);
  for (std::size_t column = 0; column < k; ++column) {
    const std::int32_t g = g_idx[column];
    if (g < 0 || static_cast<std::size_t>(g) >= groups) {
      return invalid("g_idx[{}] is {}: must be in 0..{}, k = {} has {} groups of {}", column, g, groups - 1, k, groups,
                     group);
    }
    ++filled[static_cast<std::size_t>(g)];
  }
  for (std::size_t g = 0; g < groups; ++g) {
    const std::size_t length = std::min(group, k - g * group);
    if (filled[g] != length) return invalid("group {} of g_idx has {} columns: must have {}", g, filled[g], length);
  }
  std::fill(filled.begin(), filled.end(), 0);
  *permuted = 0;
  for (std::size_t column = 0; column < k; ++column) {
    const auto g = static_cast<std::size_t>(g_idx[column]);
    const std::size_t place = g * group + filled[g]++;
    permutation[place] = static_cast<std::uint32_t>(column);
    if (place != column) *permuted = 1;
  }
  return {};
}

}  // namespace zenwoq
