// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// zenwoq dump: listing, bytes and key of a kernel, or of the kernels of a layer.
#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <memory>
#include <nlohmann/json.hpp>

#include "tools/api_handles.h"
#include "tools/commands.h"
#include "tools/kernel_json.h"
#include "tools/listing.h"
#include "tools/option_names.h"
#include "tools/planned_kernels.h"

namespace zenwoq::tools {
namespace {

constexpr const char* kFooter =
    "Works for every kernel on every x86-64 machine: kernels are emitted, not run.\n"
    "Example: zenwoq dump gemm_bf16_t4_g128_k4096_sbf16_z0_m6x2_yf32_avx512bf16_p4096\n"
    "Example: zenwoq dump model.gguf --layer blk.0.attn_q --m 33 --tuning zen5 --output-dir kernels\n"
    "Files: NAME.lst (listing), NAME.bin (the code), NAME.json (the key).\n"
    "JSON keys: kernels [{name, isa, activation_type, code_bits, k, group, per_channel, scale_type, zero_kind,\n"
    "zero_type, tile {rows, strips, scratch, gated}, output_type, tensor_scale, bias, activation, factor, residuals,\n"
    "decode_first, share_x, prefetch {bytes, every, to_l2}, code_bytes, version, arithmetic_version,\n"
    "code (hexadecimal)}];\n"
    "NAME.json holds one such object without code.";

struct DumpOptions {
  std::string target;  // a kernel name, or a file if a layer is given
  std::string layer;
  std::vector<std::size_t> m = {1};
  zenwoq_dtype output_type = ZENWOQ_F32;
  EpilogueChoice epilogue;
  TuningChoice tuning;
  std::string output_dir;
  bool json = false;
};

// The library checks the name, so that its message says what is wrong.
KernelKey key_of_name(const std::string& name) {
  std::size_t code_bytes = 0;
  require(zenwoq_kernel_emit(name.c_str(), nullptr, 0, &code_bytes));
  return *parse_kernel_name(name);
}

LayerInfo find_layer(const std::string& file, const std::string& name) {
  const auto checkpoint = open_checkpoint(file);
  for (const auto& source : checkpoint->layers()) {
    if (source->name == name) return info_of(*source);
  }
  for (const LeftAlone& left : checkpoint->left_alone()) {
    if (left.name == name) throw ToolError(fmt::format("{}: {} is no 4-bit linear: {}", file, name, left.reason));
  }
  throw ToolError(fmt::format("{}: has no layer \"{}\" (zenwoq check lists them)", file, name));
}

std::vector<KernelKey> wanted_keys(const DumpOptions& options) {
  if (options.layer.empty()) return {key_of_name(options.target)};
  const CpuTuning& tuning = wanted_tuning(options.tuning);
  const LayerInfo info = find_layer(options.target, options.layer);
  std::vector<KernelKey> keys;
  for (const std::size_t m : options.m) {
    for (const KernelKey& key : planned_kernels(info, m, options.output_type, options.epilogue, tuning)) {
      if (std::find(keys.begin(), keys.end(), key) == keys.end()) keys.push_back(key);
    }
  }
  return keys;
}

void write_file(const std::filesystem::path& path, const void* data, std::size_t bytes) {
  std::ofstream file(path, std::ios::binary);
  file.write(static_cast<const char*>(data), static_cast<std::streamsize>(bytes));
  file.close();
  if (!file) throw ToolError(fmt::format("{}: cannot be written: {}", path.string(), std::strerror(errno)));
}

void write_files(const EmittedKernel& kernel, const std::filesystem::path& directory) {
  std::error_code error;
  std::filesystem::create_directories(directory, error);
  if (error) throw ToolError(fmt::format("{}: cannot be made: {}", directory.string(), error.message()));
  const auto path = [&](const char* ending) { return directory / (kernel.key.name() + ending); };
  const std::string text = listing(kernel);
  const std::string key = json_text(kernel_json(kernel));
  write_file(path(".lst"), text.data(), text.size());
  write_file(path(".bin"), kernel.code.data(), kernel.code.size());
  write_file(path(".json"), key.data(), key.size());
}

Json kernel_json_with_code(const EmittedKernel& kernel) {
  Json json = kernel_json(kernel);
  json["code"] = hex_text(kernel.code.data(), kernel.code.size());
  return json;
}

void run_dump(const DumpOptions& options) {
  Json json = {{"kernels", Json::array()}};
  for (const KernelKey& key : wanted_keys(options)) {
    const EmittedKernel kernel = emit_kernel(key);
    if (!options.output_dir.empty()) write_files(kernel, options.output_dir);
    if (options.json) {
      json["kernels"].push_back(kernel_json_with_code(kernel));
    } else if (options.output_dir.empty()) {
      fmt::print("{}\n", listing(kernel));
    } else {
      fmt::print("{}\n", (std::filesystem::path(options.output_dir) / key.name()).string());
    }
  }
  if (options.json) print_json(json);
}

}  // namespace

void add_dump_command(CLI::App& app, int& exit_code) {
  CLI::App* command = app.add_subcommand("dump", "Show the code of a kernel, or of the kernels of a layer");
  command->footer(kFooter);
  const auto options = std::make_shared<DumpOptions>();
  command->add_option("KERNEL_OR_FILE", options->target, "a kernel name; with --layer a checkpoint file")->required();
  CLI::Option* layer = command->add_option("--layer", options->layer, "the layer of the file whose kernels are wanted");
  add_m_option(*command, options->m)->default_str("1")->needs(layer);
  add_output_option(*command, options->output_type)->needs(layer);
  for (CLI::Option* option : add_epilogue_options(*command, options->epilogue)) option->needs(layer);
  for (CLI::Option* option : add_tuning_options(*command, options->tuning)) option->needs(layer);
  command->add_option("--output-dir", options->output_dir, "write files into this folder instead");
  command->add_flag("--json", options->json, "print the keys and the code as JSON");
  command->callback([options, &exit_code] {
    run_dump(*options);
    exit_code = kPassed;
  });
}

}  // namespace zenwoq::tools
