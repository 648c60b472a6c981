// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// Parses the command line with CLI11; what CLI11 does not know goes to Google Benchmark.
#include "bench/options.h"

#include <benchmark/benchmark.h>

#include <CLI/CLI.hpp>
#include <cstdlib>
#include <map>

#include "bench/models.h"
#include "tools/option_names.h"

namespace zenwoq::bench {
namespace {

constexpr const char* kText =
    "Times zenwoq against the roof that the same run measures. Rows \"linear/...\" give the percent of the roof where\n"
    "generated kernels can run. Medians of repetitions and their spread (cv); times are real times.\n"
    "Examples:\n"
    "  zenwoq-bench --suite speed --benchmark_filter=linear --benchmark_min_time=0.1 --json speed.json\n"
    "  zenwoq-bench --model Llama-3.1-8B --m 1,16 --threads 1,2 --group 128,32\n"
    "  zenwoq-bench --shape 4096,4096,128,1,1 --benchmark_filter=linear\n"
    "python3 -m bench.report.table, .plot, .compare and .store read the JSON.";

// Has no description, because the help describes the range.
CLI::Validator range(std::size_t low, std::size_t high) { return CLI::Range(low, high).description(""); }

const CLI::Validator kSize = range(1, std::size_t{1} << 32);
const CLI::Validator kGroup = range(0, std::size_t{1} << 32);
const CLI::Validator kThreads = range(1, 1024);

// An option that takes "a,b,c" in one word, so that it does not swallow what follows.
template <typename List>
CLI::Option* add_list(CLI::App& app, const char* name, List& list, const char* help) {
  return app.add_option(name, list, help)->delimiter(',')->allow_extra_args(false)->type_name("LIST");
}

// An option that takes a list of names that stand for values.
template <typename List, typename Map>
void add_names(CLI::App& app, const char* name, List& list, const Map& values, const char* help) {
  // CLI11 applies the last one first: names are checked, then replaced.
  add_list(app, name, list, help)
      ->transform(CLI::Transformer(values).description(""))
      ->transform(CLI::IsMember(values));
}

// Places in a table, by the names there.
template <typename Table>
std::map<std::string, std::size_t> indices_by_name(const Table& table) {
  std::map<std::string, std::size_t> indices;
  for (std::size_t i = 0; i < std::size(table); ++i) indices.emplace(table[i].name, i);
  return indices;
}

void add_cases(CLI::App& app, CaseRequest& request) {
  CLI::Option* shape =
      add_list(app, "--shape", request.shapes, "N x K, group (0 = per channel), M rows, threads; may be repeated");
  shape->type_name("N,K,g,M,threads")->check(kSize.application_index(0))->check(kSize.application_index(1));
  shape->check(kGroup.application_index(2))->check(kSize.application_index(3))->check(kThreads.application_index(4));
  app.add_option("--model", request.models, "the linear weights of a model; may be repeated")
      ->check(CLI::IsMember(&models()))
      ->allow_extra_args(false);
  app.add_option("--suite", request.suite, "the weights, groups and M that goals are given for")
      ->check(CLI::IsMember(&suites()));
  add_list(app, "--m", request.rows, "rows of activations, with --model or --suite")->check(kSize);
  add_list(app, "--threads", request.threads, "threads, with --model or --suite")->check(kThreads);
  add_list(app, "--group", request.groups, "groups, 0 = per channel, with --model or --suite")->check(kGroup);
  add_names(app, "--scale", request.scales, tools::scale_types_by_name(), "types of the scales; default: bf16");
  add_names(app, "--zero", request.zeros, tools::zero_kinds_by_name(), "zero points; default: none");
  const auto tables = tools::values_by_name(kTables, table_name);
  add_names(app, "--table", request.tables, tables, "what codes mean; default: integer");
  add_names(app, "--epilogue", request.epilogues, indices_by_name(kEpilogues),
            "what is done to products; default: none");
}

}  // namespace

Options read_options(int argc, char** argv) {
  CLI::App app(kText);
  app.allow_extras();
  CaseRequest request;
  std::size_t cold_mib = 0;
  std::string json;
  std::vector<std::size_t> experts;
  add_cases(app, request);
  add_names(app, "--experts", experts, indices_by_name(kExpertsBlocks),
            "mixtures of experts to measure (up to 1.4 GB of weights); default: none");
  app.add_option("--json", json, "write Google Benchmark's JSON, all repetitions, to this file")->type_name("FILE");
  app.add_option(
      "--cold-mib", cold_mib,
      "MiB of weight copies to rotate over; 0 = 256 and 2.5 times the L3, but at most an eighth of the free memory");
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    const int status = app.exit(error);
    if (status == 0) benchmark::PrintDefaultHelp();
    std::exit(status);
  }
  Options options;
  options.cases = make_cases(request);
  for (const std::size_t i : experts) options.experts.push_back(kExpertsBlocks[i]);
  options.cold_bytes = cold_mib << 20;
  // These come first, so that the user's options override them.
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
