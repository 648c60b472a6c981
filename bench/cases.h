// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// The rows "linear/...": makes a list, in the order in which they run, of what the command line asks for.
#pragma once

#include <cstddef>
#include <iterator>
#include <string>
#include <tuple>
#include <vector>

#include "bench/source.h"

namespace zenwoq::bench {

// What is done to a product before it is stored. Gated: the weight's halves are gate and up, so that bytes and products
// are those of the plain row.
struct BenchEpilogue {
  const char* name;  // parts as in the names of kernels, or "none"
  zenwoq_activation activation = ZENWOQ_ACTIVATION_NONE;
  bool gated = false;
  unsigned factors = 0, residuals = 0;
};
inline constexpr BenchEpilogue kEpilogues[] = {
    {"none"},
    {"relu", ZENWOQ_ACTIVATION_RELU},
    {"silu", ZENWOQ_ACTIVATION_SILU},
    {"gelu", ZENWOQ_ACTIVATION_GELU},
    {"gelutanh", ZENWOQ_ACTIVATION_GELU_TANH},
    {"add", ZENWOQ_ACTIVATION_NONE, false, 0, 1},
    {"add2", ZENWOQ_ACTIVATION_NONE, false, 0, 2},
    {"mul", ZENWOQ_ACTIVATION_NONE, false, 1, 0},
    {"mul_add", ZENWOQ_ACTIVATION_NONE, false, 1, 1},
    {"silu_mul", ZENWOQ_ACTIVATION_SILU, false, 1, 0},
    {"gu_silu", ZENWOQ_ACTIVATION_SILU, true},
    {"gu_gelu", ZENWOQ_ACTIVATION_GELU, true},
    {"gu_gelutanh", ZENWOQ_ACTIVATION_GELU_TANH, true},
    {"gu_swigluoai", ZENWOQ_ACTIVATION_SWIGLU_OAI, true},
};

struct LinearCase {
  Format format;
  std::size_t m = 1;
  unsigned threads = 1;
  BenchEpilogue epilogue = kEpilogues[0];

  std::string name() const;  // "linear/4096x4096/g128/sbf16/z0/m16/t1", then "/gu_silu"
};

// A mixture of experts, for the rows "experts/...".
struct ExpertsBlock {
  const char* name;
  std::size_t experts, slots, hidden, intermediate;
};
inline constexpr ExpertsBlock kExpertsBlocks[] = {
    {"qwen3-30b-a3b", 128, 8, 2048, 768}, {"mixtral-8x7b", 8, 2, 4096, 14336}, {"tiny", 4, 2, 128, 64}};

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
  std::vector<std::size_t> epilogues = {0};  // of kEpilogues
};

// Throws std::invalid_argument with a message for the user.
std::vector<LinearCase> make_cases(const CaseRequest& request);

}  // namespace zenwoq::bench
