// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// The command line by CLI11; what it does not know goes to Google Benchmark.
#include "options.h"

#include <benchmark/benchmark.h>
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <cstdlib>
#include <map>

namespace zenwoq::bench {
namespace {

// What `zenwoq-bench` means by itself: the shape that our speed goals are given for.
constexpr std::size_t kDefaultRows[] = {1, 2, 3, 4, 6, 8, 12, 16, 32, 64, 128, 512};

constexpr std::size_t kMaxNumber = std::size_t{1} << 32;

const std::map<std::string, zenwoq_dtype> kScales = {{"bf16", ZENWOQ_BF16}, {"f16", ZENWOQ_F16}, {"f32", ZENWOQ_F32}};
const std::map<std::string, zenwoq_zero_kind> kZeros = {
    {"none", ZENWOQ_ZERO_NONE}, {"integer", ZENWOQ_ZERO_INTEGER}, {"offset", ZENWOQ_ZERO_OFFSET}};

// "N,K,g,M,threads". Empty if it was understood, else what is wrong.
std::string parse_shape(const std::string& text, LinearCase* parsed) {
  std::vector<std::size_t> numbers;
  for (const std::string& part : CLI::detail::split(text, ',')) {
    std::size_t number = 0;
    if (!CLI::detail::lexical_cast(part, number) || number > kMaxNumber) return fmt::format("\"{}\" is no size", part);
    numbers.push_back(number);
  }
  if (numbers.size() != 5) return fmt::format("\"{}\": must be N,K,g,M,threads", text);
  const bool all_there = numbers[0] > 0 && numbers[1] > 0 && numbers[3] > 0;
  if (!all_there) return fmt::format("\"{}\": N, K and M must be at least 1", text);
  if (numbers[4] == 0 || numbers[4] > 1024) return fmt::format("\"{}\": threads must be 1..1024", text);
  parsed->format.n = numbers[0];
  parsed->format.k = numbers[1];
  parsed->format.group = numbers[2];
  parsed->m = numbers[3];
  parsed->threads = static_cast<unsigned>(numbers[4]);
  return {};
}

std::vector<LinearCase> read_cases(const std::vector<std::string>& shapes, zenwoq_dtype scale, zenwoq_zero_kind zero) {
  std::vector<LinearCase> cases;
  for (const std::string& shape : shapes) {
    LinearCase parsed;
    if (const std::string wrong = parse_shape(shape, &parsed); !wrong.empty()) throw CLI::ValidationError("--shape", wrong);
    cases.push_back(parsed);
  }
  for (std::size_t i = 0; shapes.empty() && i < std::size(kDefaultRows); ++i) {
    cases.push_back({{.n = 4096, .k = 4096, .group = 128}, kDefaultRows[i], 1});
  }
  for (LinearCase& c : cases) {
    c.format.scale = scale;
    c.format.zero = zero;
  }
  return cases;
}

}  // namespace

Options read_options(int argc, char** argv) {
  CLI::App app(
      "Times zenwoq against the roof that the same run measures. Rows \"linear/...\" give the percent of the roof where\n"
      "generated kernels can run. Medians of repetitions and their spread (cv); times are real times.\n"
      "Example: zenwoq-bench --shape 4096,4096,128,1,1 --shape 4096,4096,32,16,2 --benchmark_filter=linear --json a.json");
  std::vector<std::string> shapes;
  std::string scale = "bf16";
  std::string zero = "none";
  std::size_t cold_mib = 0;
  std::string json;
  app.allow_extras();
  app.add_option("--shape", shapes, "weight N x K, group g (0 = per channel), M rows, threads; may be repeated")
      ->type_name("N,K,g,M,threads")
      ->allow_extra_args(false);
  app.add_option("--scale", scale, "type of the scales")->check(CLI::IsMember(kScales))->capture_default_str();
  app.add_option("--zero", zero, "zero points")->check(CLI::IsMember(kZeros))->capture_default_str();
  app.add_option("--json", json, "write Google Benchmark's JSON, all repetitions, to this file")->type_name("FILE");
  app.add_option("--cold-mib", cold_mib, "MiB of weight copies to rotate over; 0 = 256 and more than twice the L3");
  Options options;
  try {
    app.parse(argc, argv);
    options.cases = read_cases(shapes, kScales.at(scale), kZeros.at(zero));
  } catch (const CLI::CallForHelp& help) {
    app.exit(help);
    benchmark::PrintDefaultHelp();
    std::exit(0);
  } catch (const CLI::ParseError& error) {
    std::exit(app.exit(error));
  }
  options.cold_bytes = cold_mib << 20;
  // First, so that the user's own come later and count.
  options.benchmark_options = {argv[0], "--benchmark_repetitions=5", "--benchmark_display_aggregates_only=true",
                               "--benchmark_counters_tabular=true"};
  if (!json.empty()) {
    options.benchmark_options.push_back("--benchmark_out_format=json");
    options.benchmark_options.push_back("--benchmark_out=" + json);
  }
  for (const std::string& rest : app.remaining()) options.benchmark_options.push_back(rest);
  return options;
}

}  // namespace zenwoq::bench
