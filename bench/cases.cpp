// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// Products of lists. All rows of a format come one after another, so that its cold weights are made once, and
// thread counts of the same M are neighbours in time, because they are compared.
#include "bench/cases.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <stdexcept>

#include "bench/models.h"

namespace zenwoq::bench {
namespace {

constexpr std::size_t kMaxNumber = std::size_t{1} << 32;
constexpr std::size_t kMaxThreads = 1024;

// What `zenwoq-bench` means by itself.
const Suite kDefault = {"", {{4096, 4096}}, {128}, {1, 2, 3, 4, 6, 8, 12, 16, 32, 64, 128, 512}};

template <typename... Args>
[[noreturn]] void refuse(fmt::format_string<Args...> text, Args&&... args) {
  throw std::invalid_argument(fmt::format(text, std::forward<Args>(args)...));
}

std::vector<std::size_t> read_numbers(const std::string& text) {
  std::vector<std::size_t> numbers;
  const char* at = text.data();
  const char* const end = at + text.size();
  while (true) {
    std::size_t number = 0;
    const auto [stop, error] = std::from_chars(at, end, number);
    if (error != std::errc() || number > kMaxNumber || (stop != end && *stop != ',')) {
      refuse("--shape \"{}\": no size up to {} at \"{}\"", text, kMaxNumber, std::string(at, end));
    }
    numbers.push_back(number);
    if (stop == end) return numbers;
    at = stop + 1;
  }
}

// "N,K,g,M,threads"
LinearCase read_shape(const std::string& text) {
  const std::vector<std::size_t> numbers = read_numbers(text);
  if (numbers.size() != 5) refuse("--shape \"{}\": {} numbers, must be N,K,g,M,threads", text, numbers.size());
  if (numbers[0] == 0 || numbers[1] == 0 || numbers[3] == 0)
    refuse("--shape \"{}\": N, K and M must be at least 1", text);
  if (numbers[4] == 0 || numbers[4] > kMaxThreads) refuse("--shape \"{}\": threads must be 1..{}", text, kMaxThreads);
  return {{.n = numbers[0], .k = numbers[1], .group = numbers[2]}, numbers[3], static_cast<unsigned>(numbers[4])};
}

// The entry of a table with this name.
template <typename Named>
const Named& find(const char* option, std::span<const Named> table, const std::string& name) {
  for (const Named& entry : table) {
    if (entry.name == name) return entry;
  }
  refuse("{} \"{}\" is unknown, must be one of: {}", option, name, names_of(table));
}

template <typename T>
std::vector<T> or_default(const std::vector<T>& asked, std::vector<T> otherwise) {
  return asked.empty() ? std::move(otherwise) : asked;
}

// The suite and all models, a matrix that several of them have only once.
std::vector<Matrix> read_matrices(const CaseRequest& request) {
  std::vector<Matrix> matrices;
  if (!request.suite.empty()) matrices = find("--suite", suites(), request.suite).matrices;
  for (const std::string& name : request.models) {
    for (const Matrix& matrix : find("--model", models(), name).matrices) {
      if (std::find(matrices.begin(), matrices.end(), matrix) == matrices.end()) matrices.push_back(matrix);
    }
  }
  return matrices;
}

// What the library would refuse is better refused before an hour of measurements than in it.
void check_format(const Format& format) {
  const zenwoq_weight_desc desc = format.desc();
  std::size_t bytes = 0;
  if (zenwoq_weight_packed_bytes(&desc, &bytes) != ZENWOQ_OK) refuse("{}: {}", format.name(), zenwoq_last_error());
}

}  // namespace

std::vector<LinearCase> make_cases(const CaseRequest& request) {
  std::vector<Matrix> matrices = read_matrices(request);
  if (matrices.empty()) {
    const bool lists = !request.rows.empty() || !request.groups.empty() || !request.threads.empty();
    if (!request.shapes.empty() && lists)
      refuse("--m, --group and --threads go with --model and --suite: --shape has its own");
    if (request.shapes.empty()) matrices = kDefault.matrices;
  }
  const Suite& suite = request.suite.empty() ? kDefault : find("--suite", suites(), request.suite);
  const auto scales = or_default(request.scales, {ZENWOQ_BF16});
  const auto zeros = or_default(request.zeros, {ZENWOQ_ZERO_NONE});

  std::vector<LinearCase> cases;
  // Every scale and zero of a weight that is otherwise described.
  const auto each_format = [&](Format format, auto&& add) {
    for (const zenwoq_dtype scale : scales) {
      for (const zenwoq_zero_kind zero : zeros) {
        format.scale = scale;
        format.zero = zero;
        check_format(format);
        add(format);
      }
    }
  };
  for (const std::string& text : request.shapes) {
    const LinearCase shape = read_shape(text);
    each_format(shape.format, [&](const Format& format) { cases.push_back({format, shape.m, shape.threads}); });
  }
  for (const Matrix& matrix : matrices) {
    for (const std::size_t group : or_default(request.groups, suite.groups)) {
      each_format({.n = matrix.n, .k = matrix.k, .group = group}, [&](const Format& format) {
        for (const std::size_t m : or_default(request.rows, suite.rows)) {
          for (const unsigned threads : or_default(request.threads, {1u})) cases.push_back({format, m, threads});
        }
      });
    }
  }
  return cases;
}

}  // namespace zenwoq::bench
