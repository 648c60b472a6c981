// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// Combines the lists of a request. All rows of a format come one after another, so that its cold weights are made once.
// Thread counts of the same M are neighbours in time, because they are compared.
#include "bench/cases.h"

#include <fmt/format.h>

#include <algorithm>
#include <stdexcept>

#include "bench/models.h"

namespace zenwoq::bench {
namespace {

// What `zenwoq-bench` measures without options.
const Suite kDefault = {{{4096, 4096}}, {128}, {1, 2, 3, 4, 6, 8, 12, 16, 32, 64, 128, 512}};

template <typename T>
std::vector<T> or_default(const std::vector<T>& asked, std::vector<T> otherwise) {
  return asked.empty() ? std::move(otherwise) : asked;
}

// The matrices of the suite and all models, each only once; those of the default if nothing is asked for.
std::vector<Matrix> matrices_of(const CaseRequest& request) {
  std::vector<Matrix> matrices;
  if (!request.suite.empty()) matrices = suites().at(request.suite).matrices;
  for (const std::string& name : request.models) {
    for (const Matrix& matrix : models().at(name)) {
      if (std::find(matrices.begin(), matrices.end(), matrix) == matrices.end()) matrices.push_back(matrix);
    }
  }
  if (!matrices.empty()) return matrices;
  if (request.shapes.empty()) return kDefault.matrices;
  if (!request.rows.empty() || !request.groups.empty() || !request.threads.empty())
    throw std::invalid_argument("--m, --group and --threads go with --model and --suite: --shape has its own");
  return {};
}

// It is better to refuse what the library would refuse before an hour of measurements than during it.
void check_format(const Format& format) {
  const zenwoq_weight_desc desc = format.desc();
  std::size_t bytes = 0;
  if (zenwoq_weight_packed_bytes(&desc, &bytes) != ZENWOQ_OK)
    throw std::invalid_argument(format.name() + ": " + zenwoq_last_error());
}

}  // namespace

std::string LinearCase::name() const {
  const bool plain = std::string_view(epilogue.name) == kEpilogues[0].name;
  return fmt::format("linear/{}/m{}/t{}{}{}", format.name(), m, threads, plain ? "" : "/", plain ? "" : epilogue.name);
}

std::vector<LinearCase> make_cases(const CaseRequest& request) {
  const Suite& suite = request.suite.empty() ? kDefault : suites().at(request.suite);
  std::vector<LinearCase> cases;
  // Adds a format with each of the scale types, zero kinds and tables.
  const auto add = [&](Format format, const std::vector<std::size_t>& rows, const std::vector<unsigned>& threads) {
    for (const zenwoq_dtype scale : request.scales) {
      for (const zenwoq_zero_kind zero : request.zeros) {
        for (const Table table : request.tables) {
          format.scale_type = scale;
          format.zero_kind = zero;
          format.set_table(table);
          check_format(format);
          for (const std::size_t m : rows) {
            for (const unsigned t : threads) {
              for (const std::size_t i : request.epilogues) cases.push_back({format, m, t, kEpilogues[i]});
            }
          }
        }
      }
    }
  };
  for (const auto& [n, k, group, m, threads] : request.shapes) {
    // CLI11 does not complain about numbers that are missing after a whole shape.
    if (threads == 0) throw std::invalid_argument("--shape takes five numbers: N,K,g,M,threads");
    add({n, k, group}, {m}, {threads});
  }
  const auto groups = or_default(request.groups, suite.groups);
  const auto rows = or_default(request.rows, suite.rows);
  const auto threads = or_default(request.threads, {1u});
  for (const Matrix& matrix : matrices_of(request)) {
    for (const std::size_t group : groups) add({matrix.n, matrix.k, group}, rows, threads);
  }
  return cases;
}

}  // namespace zenwoq::bench
