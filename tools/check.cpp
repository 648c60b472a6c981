// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// zenwoq check: runs every 4-bit linear of checkpoint files and compares the results with the reference and with an f64
// product.
#include "tools/check.h"

#include <cstdio>
#include <memory>
#include <nlohmann/json.hpp>

#include "tools/api_handles.h"
#include "tools/commands.h"
#include "tools/cpu_info.h"
#include "tools/opaque_option.h"
#include "tools/progress.h"
#include "tools/stopwatch.h"

namespace zenwoq::tools {
namespace {

constexpr const char* kFooter =
    "For every layer: imports, packs, unpacks and compares, generates kernels, runs M = 1, 4 and 33 rows, compares\n"
    "all bits with the reference and the values with an f64 product (error/bound at most 1), and times M = 1. Of .zwq\n"
    "files all bytes are compared with their checksums first.\n"
    "Example: zenwoq check --json model.safetensors.index.json > report.json\n"
    "JSON keys: files, cpu (as in info), passed, verdict, bits_equal (null where the reference ran),\n"
    "max_error_over_bound, kernels_generated, jit_us_total, pack_gb_per_s, seconds, layers [{file, name, format,\n"
    "n, k, error (then no more keys), quantization, experts, experts_checked, bias, unpacks_exactly, bits_equal, difference,\n"
    "max_error_over_bound, kernels [name], packed_bytes, pack_gb_per_s, m1_us, m1_gb_per_s}], kernels [{name,\n"
    "code_bytes, generation_us, reason}], left_alone [{file, name, reason}].\n"
    "Exit code: 0 only if there is a layer, all bits are equal and all errors within bounds; 2 for a file or layer\n"
    "that cannot be read; else 1, also where no generated kernels run and --allow-reference is not given.";

struct CheckOptions {
  std::vector<std::string> files;
  unsigned threads = 0;
  ReadOptions read;
  std::size_t experts = 0;
  bool json = false;
  bool allow_reference = false;
  bool no_progress = false;
};

zenwoq_registry_stats stats_of(const zenwoq_context* context) {
  zenwoq_registry_stats stats{};
  stats.struct_size = sizeof stats;
  require(zenwoq_context_registry_stats(context, &stats));
  return stats;
}

LayerCheck check_or_error(const Checkpoint& checkpoint, std::size_t index, std::size_t experts, zenwoq_context* jit,
                          zenwoq_context* reference) {
  LayerCheck failed;
  try {
    return check_layer(*checkpoint.layers()[index], experts, jit, reference);
  } catch (const ReadError& error) {
    failed.error = error.what();
  } catch (const ToolError& error) {
    failed.error = error.what();
  }
  failed.info = info_of(*checkpoint.layers()[index]);
  return failed;
}

ExitCode run_check(const CheckOptions& options) {
  const ContextHandle jit = make_context({options.threads, ZENWOQ_TIER_BEST, {}});
  const ContextHandle reference = make_context({options.threads, ZENWOQ_TIER_REFERENCE, {}});
  const CheckReport report =
      check_files(options.files, options.read, jit.get(), reference.get(), !options.no_progress, options.experts);
  const Verdict result = verdict(report, options.allow_reference);
  if (options.json) {
    print_json(report_json(report, result));
    if (result.exit_code == kFailed) std::fprintf(stderr, "zenwoq: %s\n", result.text.c_str());
  } else {
    print_report(report, result);
  }
  if (result.exit_code == kBadInput) throw ToolError(result.text);
  return result.exit_code;
}

}  // namespace

CheckReport check_files(const std::vector<std::string>& paths, const ReadOptions& options, zenwoq_context* jit,
                        zenwoq_context* reference, bool progress, std::size_t experts) {
  const Stopwatch watch;
  const zenwoq_registry_stats before = stats_of(jit);
  CheckReport report;
  report.files = paths;
  report.cpu = read_cpu_info(jit);
  std::vector<std::unique_ptr<Checkpoint>> checkpoints;
  std::size_t total = 0;
  for (const std::string& path : paths) {
    checkpoints.push_back(open_checkpoint(path, options));
    if (checkpoints.back()->has_checksums()) checkpoints.back()->verify();
    total += checkpoints.back()->layers().size();
  }
  const Progress bar("checking", total, progress);
  for (std::size_t file = 0; file < paths.size(); ++file) {
    for (std::size_t i = 0; i < checkpoints[file]->layers().size(); ++i) {
      bar.show(report.layers.size());
      report.layers.push_back(check_or_error(*checkpoints[file], i, experts, jit, reference));
      report.layers.back().file = paths[file];
    }
    for (const LeftAlone& tensor : checkpoints[file]->left_alone()) report.left_alone.push_back({paths[file], tensor});
  }
  const zenwoq_registry_stats after = stats_of(jit);
  report.kernels_generated = after.kernels - before.kernels;
  report.jit_us_total = static_cast<double>(after.generation_ns - before.generation_ns) * 1e-3;
  report.seconds = watch.seconds();
  return report;
}

void add_check_command(CLI::App& app, int& exit_code) {
  CLI::App* command = app.add_subcommand("check", "Run every 4-bit linear of checkpoint files and compare all bits");
  command->footer(kFooter);
  const auto options = std::make_shared<CheckOptions>();
  command->add_option("FILE", options->files, "safetensors, .safetensors.index.json, GGUF, .onnx or .zwq files")
      ->required();
  command->add_option("--threads", options->threads, "threads a run may use; 0 = the CPUs this process may use");
  add_opaque_layout_option(*command, options->read);
  command->add_option("--experts", options->experts,
                      "weights that are checked of each mixture of experts, from the first on; 0 = all");
  command->add_flag("--allow-reference", options->allow_reference,
                    "accept that no generated kernels run on this machine");
  command->add_flag("--no-progress", options->no_progress, "no progress bar, not even on a terminal");
  command->add_flag("--json", options->json, "print JSON");
  command->callback([options, &exit_code] { exit_code = run_check(*options); });
}

}  // namespace zenwoq::tools
