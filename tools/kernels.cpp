// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// zenwoq kernels: which kernels the plan chooses for the layers of a file, or for a shape.
#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <set>

#include "tools/api_handles.h"
#include "tools/commands.h"
#include "tools/cpu_info.h"
#include "tools/json_output.h"
#include "tools/option_names.h"
#include "tools/planned_kernels.h"
#include "tools/stopwatch.h"
#include "tools/table.h"

namespace zenwoq::tools {
namespace {

constexpr const char* kFooter =
    "Works on every x86-64 machine: kernels are emitted, not run.\n"
    "Example: zenwoq kernels --shape 4096,4096,128 --m 1,16 --tuning zen5\n"
    "Example: zenwoq kernels --shape 14336,4096,128 --activation silu --gated\n"
    "Example: zenwoq kernels model.gguf --json\n"
    "JSON keys: tuning, tier, kernels [{name, m [..], layers [..] (names, or shapes as N,K,GROUP), code_bytes, emit_us,\n"
    "refused (why there is no such kernel, or empty)}].";

struct KernelsOptions {
  std::vector<std::string> files;
  std::vector<std::string> shapes;
  std::vector<std::size_t> m = {1, 4, 33};
  zenwoq_dtype scale_type = ZENWOQ_BF16;
  zenwoq_zero_kind zero_kind = ZENWOQ_ZERO_NONE;
  zenwoq_dtype output_type = ZENWOQ_F32;
  bool bias = false;
  EpilogueChoice epilogue;
  TuningChoice tuning;
  bool json = false;
};

struct ListedKernel {
  KernelKey key;
  std::set<std::size_t> m;
  std::vector<std::string> layers;
  std::size_t code_bytes = 0;
  double emit_us = 0;
  std::string refused;
};

// "4096,4096,128" or "4096,4096,pc"
LayerInfo parse_shape(const std::string& text, const KernelsOptions& options) {
  LayerInfo info;
  info.name = text;
  info.scale_type = options.scale_type;
  info.zero_kind = options.zero_kind;
  info.has_bias = options.bias;
  const char* at = text.data();
  const char* const end = at + text.size();
  for (std::size_t* number : {&info.n, &info.k, &info.group_size}) {
    const bool last = number == &info.group_size;
    if (last && std::string_view(at, static_cast<std::size_t>(end - at)) == "pc") return info;
    const std::from_chars_result parsed = std::from_chars(at, end, *number);
    const bool separated = last ? parsed.ptr == end : parsed.ptr != end && *parsed.ptr == ',';
    if (parsed.ec != std::errc() || !separated) {
      throw ToolError(fmt::format("shape \"{}\": must be N,K,GROUP, GROUP a number or \"pc\" (one scale a row)", text));
    }
    at = parsed.ptr + 1;
  }
  return info;
}

std::vector<LayerInfo> wanted_layers(const KernelsOptions& options) {
  std::vector<LayerInfo> layers;
  for (const std::string& shape : options.shapes) layers.push_back(parse_shape(shape, options));
  for (const std::string& file : options.files) {
    const auto checkpoint = open_checkpoint(file);
    for (const auto& source : checkpoint->layers()) layers.push_back(info_of(*source));
  }
  return layers;
}

// In the order in which the layers first need them.
std::vector<ListedKernel> list_kernels(const KernelsOptions& options, const CpuTuning& tuning) {
  std::vector<ListedKernel> listed;
  std::map<std::string, std::size_t> by_name;
  for (const LayerInfo& layer : wanted_layers(options)) {
    for (const std::size_t m : options.m) {
      for (const KernelKey& key : planned_kernels(layer, m, options.output_type, options.epilogue, tuning)) {
        const auto known = by_name.emplace(key.name(), listed.size());
        if (known.second) listed.push_back({key, {}, {}, 0, 0, {}});
        ListedKernel& kernel = listed[known.first->second];
        kernel.m.insert(m);
        if (kernel.layers.empty() || kernel.layers.back() != layer.name) kernel.layers.push_back(layer.name);
      }
    }
  }
  return listed;
}

// Records the size of the code and the time of the fastest of several emissions.
void measure(ListedKernel* kernel) {
  constexpr int kEmissions = 5;
  try {
    for (int i = 0; i < kEmissions; ++i) {
      std::vector<std::uint8_t> code;
      const Stopwatch watch;
      const Status status = emit(kernel->key, &code);
      const double us = watch.seconds() * 1e6;
      if (!status.ok()) throw ToolError(status.text());
      kernel->emit_us = i == 0 ? us : std::min(us, kernel->emit_us);
      kernel->code_bytes = code.size();
    }
  } catch (const ToolError& error) {
    kernel->refused = error.what();
  }
}

std::string comma_list(const std::set<std::size_t>& numbers) {
  std::string text;
  for (const std::size_t number : numbers) text += fmt::format("{}{}", text.empty() ? "" : ",", number);
  return text;
}

void print_text(const std::vector<ListedKernel>& kernels) {
  Table table({{"kernel", Table::Align::left},
               {"M", Table::Align::left},
               {"layers", Table::Align::right},
               {"bytes", Table::Align::right},
               {"emit us", Table::Align::right},
               {"", Table::Align::left}});
  for (const ListedKernel& kernel : kernels) {
    table.add({kernel.key.name(), comma_list(kernel.m), fmt::format("{}", kernel.layers.size()),
               fmt::format("{}", kernel.code_bytes), fmt::format("{:.1f}", kernel.emit_us), kernel.refused});
  }
  fmt::print("{}", table.text());
}

Json list_json(const std::vector<ListedKernel>& kernels, const CpuTuning& tuning) {
  Json json = {{"tuning", tuning.name}, {"tier", zenwoq_tier_name(tuning.tier)}, {"kernels", Json::array()}};
  for (const ListedKernel& kernel : kernels) {
    json["kernels"].push_back({{"name", kernel.key.name()},
                               {"m", kernel.m},
                               {"layers", kernel.layers},
                               {"code_bytes", kernel.code_bytes},
                               {"emit_us", kernel.emit_us},
                               {"refused", kernel.refused}});
  }
  return json;
}

ExitCode run_kernels(const KernelsOptions& options) {
  if (options.files.empty() && options.shapes.empty()) throw ToolError("name a FILE or a --shape (see kernels --help)");
  const CpuTuning& tuning = wanted_tuning(options.tuning);
  std::vector<ListedKernel> kernels = list_kernels(options, tuning);
  for (ListedKernel& kernel : kernels) measure(&kernel);
  if (options.json) {
    print_json(list_json(kernels, tuning));
  } else {
    print_text(kernels);
  }
  const auto refused = [](const ListedKernel& kernel) { return !kernel.refused.empty(); };
  return kernels.empty() || std::any_of(kernels.begin(), kernels.end(), refused) ? kFailed : kPassed;
}

}  // namespace

void add_kernels_command(CLI::App& app, int& exit_code) {
  CLI::App* command = app.add_subcommand("kernels", "List the kernels of the layers of a file, or of a shape");
  command->footer(kFooter);
  const auto options = std::make_shared<KernelsOptions>();
  command->add_option("FILE", options->files, "safetensors, .safetensors.index.json, GGUF or .onnx files");
  CLI::Option* shape =
      command->add_option("--shape", options->shapes, "N,K,GROUP; GROUP \"pc\" for one scale a row; may be repeated");
  shape->allow_extra_args(false);
  add_m_option(*command, options->m)->default_str("1,4,33");
  command
      ->add_option("--scale", options->scale_type,
                   "scales of a --shape: f32, f16, bf16 (default), e8m0, e4m3, u8f16, s8f16")
      ->transform(CLI::CheckedTransformer(scale_types_by_name()))
      ->needs(shape);
  command->add_option("--zero", options->zero_kind, "zeros of a --shape: none (default), integer, offset, float")
      ->transform(CLI::CheckedTransformer(zero_kinds_by_name()))
      ->needs(shape);
  command->add_flag("--bias", options->bias, "a --shape with a bias")->needs(shape);
  add_epilogue_options(*command, options->epilogue);
  add_output_option(*command, options->output_type);
  add_tuning_options(*command, options->tuning);
  command->add_flag("--json", options->json, "print JSON");
  command->callback([options, &exit_code] { exit_code = run_kernels(*options); });
}

}  // namespace zenwoq::tools
