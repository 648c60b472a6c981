// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// The command line by CLI11; what it does not know goes to Google Benchmark.
#include "bench/options.h"

#include <benchmark/benchmark.h>

#include <CLI/CLI.hpp>
#include <cstdlib>
#include <map>

#include "bench/models.h"

namespace zenwoq::bench {
namespace {

const std::map<std::string, zenwoq_dtype> kScales = {{"bf16", ZENWOQ_BF16}, {"f16", ZENWOQ_F16}, {"f32", ZENWOQ_F32}};
const std::map<std::string, zenwoq_zero_kind> kZeros = {
    {"none", ZENWOQ_ZERO_NONE}, {"integer", ZENWOQ_ZERO_INTEGER}, {"offset", ZENWOQ_ZERO_OFFSET}};

constexpr const char* kText =
    "Times zenwoq against the roof that the same run measures. Rows \"linear/...\" give the percent of the roof where\n"
    "generated kernels can run. Medians of repetitions and their spread (cv); times are real times.\n"
    "Examples:\n"
    "  zenwoq-bench --suite speed --benchmark_filter=linear --benchmark_min_time=0.1 --json speed.json\n"
    "  zenwoq-bench --model Llama-3.1-8B --m 1,16 --threads 1,2 --group 128,32\n"
    "  zenwoq-bench --shape 4096,4096,128,1,1 --benchmark_filter=linear\n"
    "tools/bench_table.py, tools/plot_bench.py and tools/compare_bench.py read the JSON.";

template <typename Value>
std::vector<Value> values(const std::map<std::string, Value>& known, const std::vector<std::string>& asked) {
  std::vector<Value> found;
  for (const std::string& name : asked) found.push_back(known.at(name));
  return found;
}

// An option that takes "a,b,c" in one word, so that it does not swallow what follows.
template <typename List>
CLI::Option* add_list(CLI::App& app, const char* name, List& list, const char* help) {
  return app.add_option(name, list, help)->delimiter(',')->allow_extra_args(false)->type_name("LIST");
}

}  // namespace

Options read_options(int argc, char** argv) {
  CLI::App app(kText);
  app.allow_extras();
  CaseRequest request;
  std::vector<std::string> scales, zeros;
  std::size_t cold_mib = 0;
  std::string json;
  app.add_option("--shape", request.shapes, "weight N x K, group g (0 = per channel), M rows, threads; may be repeated")
      ->type_name("N,K,g,M,threads")
      ->allow_extra_args(false);
  app.add_option("--model", request.models, "the linear weights of a model; may be repeated: " + names_of(models()))
      ->type_name("NAME")
      ->allow_extra_args(false);
  app.add_option("--suite", request.suite, "the weights, groups and M that goals are given for: " + names_of(suites()))
      ->type_name("NAME");
  add_list(app, "--m", request.rows, "rows of activations, with --model or --suite")->check(CLI::Range(1, 1 << 20));
  add_list(app, "--threads", request.threads, "threads, with --model or --suite")->check(CLI::Range(1, 1024));
  add_list(app, "--group", request.groups, "group sizes, 0 = per channel, with --model or --suite")
      ->check(CLI::Range(0, 1 << 24));
  add_list(app, "--scale", scales, "types of the scales: bf16 (default), f16, f32")->check(CLI::IsMember(kScales));
  add_list(app, "--zero", zeros, "zero points: none (default), integer, offset")->check(CLI::IsMember(kZeros));
  app.add_option("--json", json, "write Google Benchmark's JSON, all repetitions, to this file")->type_name("FILE");
  app.add_option(
      "--cold-mib", cold_mib,
      "MiB of weight copies to rotate over; 0 = 256 and 2.5 times the L3, but at most an eighth of the free memory");
  Options options;
  try {
    app.parse(argc, argv);
    request.scales = values(kScales, scales);
    request.zeros = values(kZeros, zeros);
    options.cases = make_cases(request);
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
