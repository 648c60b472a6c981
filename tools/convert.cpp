// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// zenwoq convert: writes a checkpoint as a .zwq file.
#include "formats/convert.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>

#include "tools/api_handles.h"
#include "tools/commands.h"
#include "tools/json_output.h"
#include "tools/opaque_option.h"
#include "tools/progress.h"
#include "tools/stopwatch.h"

namespace zenwoq::tools {
namespace {

using formats::Checkpoint;
using formats::LeftAlone;

constexpr const char* kFooter =
    "OUT.zwq (docs/zwq.md) has packed 4-bit layers with their biases, dense tensors as they lie in IN, and config.json.\n"
    "It is opened in the time of mapping it, and processes that map it share its pages. It appears whole or not at all.\n"
    "Example: zenwoq convert model.gguf -o model.zwq\n"
    "JSON keys: file, output, layers, tensors, packed_bytes, bytes (of the output), seconds,\n"
    "left_out [{name, reason}].\n"
    "Exit code: 2 where a file cannot be read or written, or where a tensor cannot be written and --skip is not given.";

struct ConvertCommand {
  std::string input, output;
  unsigned threads = 0;
  formats::ReadOptions read;
  bool skip = false;
  bool json = false;
  bool no_progress = false;
};

struct Outcome {
  std::size_t layers = 0, tensors = 0;
  std::uint64_t packed_bytes = 0, bytes = 0;
  double seconds = 0;
};

std::uint64_t packed_bytes_of(const Checkpoint& checkpoint) {
  std::uint64_t total = 0;
  for (const auto& layer : checkpoint.layers()) {
    std::size_t bytes = 0;
    require(zenwoq_weight_packed_bytes(&layer->desc, &bytes));
    total += bytes * layer->experts;
  }
  return total;
}

Outcome convert(const ConvertCommand& command, const Checkpoint& checkpoint) {
  const Stopwatch watch;
  const ContextHandle context = make_context({command.threads, ZENWOQ_TIER_BEST, {}});
  Outcome outcome;
  outcome.layers = checkpoint.layers().size();
  outcome.tensors = static_cast<std::size_t>(
      std::count_if(checkpoint.left_alone().begin(), checkpoint.left_alone().end(), formats::is_written));
  outcome.packed_bytes = packed_bytes_of(checkpoint);
  const Progress bar("converting", outcome.layers + outcome.tensors, !command.no_progress);
  formats::convert(checkpoint, context.get(), command.output,
                   [&](std::size_t done, std::size_t) { bar.show(std::min(done, outcome.layers + outcome.tensors)); });
  outcome.bytes = std::filesystem::file_size(command.output);
  outcome.seconds = watch.seconds();
  return outcome;
}

void print_text(const ConvertCommand& command, const Checkpoint& checkpoint, const Outcome& outcome) {
  for (const LeftAlone& left : checkpoint.left_alone()) {
    if (formats::is_lost(left)) fmt::print("left out: {}: {}\n", left.name, left.reason);
  }
  fmt::print("{}: {} layers ({:.2f} MB packed), {} tensors, {:.2f} MB in {:.2f} s\n", command.output, outcome.layers,
             static_cast<double>(outcome.packed_bytes) * 1e-6, outcome.tensors,
             static_cast<double>(outcome.bytes) * 1e-6, outcome.seconds);
}

void print_as_json(const ConvertCommand& command, const Checkpoint& checkpoint, const Outcome& outcome) {
  Json json = {{"file", command.input},
               {"output", command.output},
               {"layers", outcome.layers},
               {"tensors", outcome.tensors},
               {"packed_bytes", outcome.packed_bytes},
               {"bytes", outcome.bytes},
               {"seconds", outcome.seconds},
               {"left_out", Json::array()}};
  for (const LeftAlone& left : checkpoint.left_alone()) {
    if (formats::is_lost(left)) json["left_out"].push_back({{"name", left.name}, {"reason", left.reason}});
  }
  print_json(json);
}

void run_convert(const ConvertCommand& command) {
  const std::unique_ptr<Checkpoint> checkpoint = formats::open_checkpoint(command.input, command.read);
  const std::string lost = command.skip ? std::string() : formats::losses(*checkpoint);
  if (!lost.empty()) throw ToolError(fmt::format("{}: {}", command.input, lost));
  const Outcome outcome = convert(command, *checkpoint);
  if (command.json) {
    print_as_json(command, *checkpoint, outcome);
  } else {
    print_text(command, *checkpoint, outcome);
  }
}

}  // namespace

void add_convert_command(CLI::App& app, int& exit_code) {
  CLI::App* command = app.add_subcommand("convert", "Write a checkpoint as one .zwq file of packed weights");
  command->footer(kFooter);
  const auto options = std::make_shared<ConvertCommand>();
  command->add_option("IN", options->input, "a file or folder that zenwoq reads (docs/formats.md)")->required();
  command->add_option("-o,--output", options->output, "the .zwq file; what is there is replaced")->required();
  command->add_option("--threads", options->threads, "threads that pack; 0 = the CPUs this process may use");
  add_opaque_layout_option(*command, options->read);
  command->add_flag("--skip", options->skip, "leave out what cannot be written, and name it");
  command->add_flag("--no-progress", options->no_progress, "no progress bar, not even on a terminal");
  command->add_flag("--json", options->json, "print JSON");
  command->callback([options, &exit_code] {
    run_convert(*options);
    exit_code = kPassed;
  });
}

}  // namespace zenwoq::tools
