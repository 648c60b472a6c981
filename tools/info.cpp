// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// zenwoq info: what this CPU is, which tier runs and why not a higher one; or what checkpoints hold.
#include <fmt/format.h>

#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "tools/api_handles.h"
#include "tools/commands.h"
#include "tools/cpu_info.h"
#include "tools/file_info.h"

namespace zenwoq::tools {
namespace {

constexpr const char* kFooter =
    "With FILEs (or folders): their layers, bits per weight as they are packed and as they lie in the file, and what is\n"
    "left in other types, by reason. Parameters are weights, biases and tensors of plain numbers.\n"
    "Example: zenwoq info --json\n"
    "Example: zenwoq info model.gguf\n"
    "JSON keys: version, arithmetic_version, packed_version, cpu {vendor, brand, uarch, family, model, stepping,\n"
    "avx2_fma, avx512bf16, l1d_bytes, l2_bytes, l3_bytes, cache_source, threads, tuning, isa (the tier that runs:\n"
    "\"avx512bf16\", \"avx2\" or \"reference\"), isa_reason (why no higher tier runs, or empty), tiers {NAME: why\n"
    "it cannot run, or empty}, code_memory}.\n"
    "With FILEs: version, files [{file, layers [{name, format, quantization, experts, n, k, bias, weights, packed_bytes,\n"
    "source_bytes, bits_per_weight, source_bits_per_weight}], left_alone [{reason, tensors, values, bytes, names}],\n"
    "total {weights, packed_bytes, source_bytes, bits_per_weight, source_bits_per_weight}, parameters {total, layers,\n"
    "biases, dense}}].\n"
    "The environment variable ZENWOQ_TIER (reference, avx2, avx512bf16) caps the tier.";

std::string kibibytes(std::uint64_t bytes) { return fmt::format("{} KiB", bytes / 1024); }

void print_text(const CpuInfo& cpu) {
  const zenwoq_cpu_info& info = cpu.info;
  const auto line = [](const char* name, const std::string& value) { fmt::print("{:<13}{}\n", name, value); };
  line("cpu", fmt::format("{} ({})", info.brand, info.vendor));
  line("uarch", fmt::format("{}, family {} model {} stepping {}", info.uarch, info.family, info.model, info.stepping));
  line("features",
       fmt::format("AVX2: {}, AVX-512 BF16: {}", info.avx2 != 0 ? "yes" : "no", info.avx512bf16 != 0 ? "yes" : "no"));
  line("tier", zenwoq_tier_name(info.tier));
  for (const TierState& tier : cpu.tiers) {
    if (!tier.why_not.empty()) line("", fmt::format("not {}: {}", tier.name, tier.why_not));
  }
  line("tuning", info.tuning);
  line("caches", fmt::format("L1d {}, L2 {}, L3 {} (from {})", kibibytes(info.l1d_bytes), kibibytes(info.l2_bytes),
                             kibibytes(info.l3_bytes), info.cache_source));
  line("code memory", info.code_memory);
  line("threads", fmt::format("{}", info.threads));
  line("versions", fmt::format("zenwoq {}, arithmetic {}, packed weights {}", zenwoq_version(),
                               ZENWOQ_ARITHMETIC_VERSION, ZENWOQ_PACKED_VERSION));
}

void run_info(bool json) {
  const CpuInfo cpu = read_cpu_info(make_context({}).get());
  if (!json) return print_text(cpu);
  print_json({{"version", zenwoq_version()},
              {"arithmetic_version", ZENWOQ_ARITHMETIC_VERSION},
              {"packed_version", ZENWOQ_PACKED_VERSION},
              {"cpu", cpu_json(cpu)}});
}

void run_file_info(const std::vector<std::string>& files, bool json) {
  std::vector<FileInfo> infos;
  for (const std::string& file : files) infos.push_back(read_file_info(file));
  if (!json) {
    for (const FileInfo& info : infos) print_file_info(info);
    return;
  }
  Json list = Json::array();
  for (const FileInfo& info : infos) list.push_back(file_info_json(info));
  print_json({{"version", zenwoq_version()}, {"files", std::move(list)}});
}

}  // namespace

void add_info_command(CLI::App& app, int& exit_code) {
  CLI::App* command = app.add_subcommand("info", "What this CPU is, which tier runs and why; or what checkpoints hold");
  command->footer(kFooter);
  const auto files = std::make_shared<std::vector<std::string>>();
  const auto json = std::make_shared<bool>(false);
  command->add_option("FILE", *files, "checkpoints to look into: files or folders");
  command->add_flag("--json", *json, "print JSON");
  command->callback([files, json, &exit_code] {
    files->empty() ? run_info(*json) : run_file_info(*files, *json);
    exit_code = kPassed;
  });
}

}  // namespace zenwoq::tools
