// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// zenwoq info: what this CPU is, which tier runs and why not a higher one; or what a checkpoint holds.
#include <fmt/format.h>

#include <memory>
#include <nlohmann/json.hpp>
#include <string>

#include "tools/api_handles.h"
#include "tools/commands.h"
#include "tools/cpu_info.h"
#include "tools/file_info.h"
#include "tools/opaque_option.h"

namespace zenwoq::tools {
namespace {

constexpr const char* kFooter =
    "With a FILE (docs/formats.md), its layers and tensors, bytes and bits a weight, and what is left alone, and why;\n"
    "otherwise this CPU.\n"
    "Example: zenwoq info model.zwq\n"
    "JSON keys of a file: file, layers [{name, format, quantization, n, k, experts, bias, source_bytes, packed_bytes,\n"
    "source_bits, packed_bits}], tensors [{name, dense, type, shape, bytes, reason}], and of all layers weights,\n"
    "source_bytes, packed_bytes, source_bits, packed_bits, of all tensors dense_bytes, other_bytes.\n"
    "JSON keys of the CPU: version, arithmetic_version, packed_version, cpu {vendor, brand, uarch, family, model, stepping,\n"
    "avx2_fma, avx512bf16, l1d_bytes, l2_bytes, l3_bytes, cache_source, threads, tuning, isa (the tier that runs:\n"
    "\"avx512bf16\", \"avx2\" or \"reference\"), isa_reason (why no higher tier runs, or empty), tiers {NAME: why\n"
    "it cannot run, or empty}, code_memory}.\n"
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

}  // namespace

void add_info_command(CLI::App& app, int& exit_code) {
  CLI::App* command = app.add_subcommand(
      "info", "What this CPU is, which tier runs and why not a higher one; or what a checkpoint holds");
  command->footer(kFooter);
  struct InfoOptions {
    std::string file;
    formats::ReadOptions read;
    bool json = false;
  };
  const auto options = std::make_shared<InfoOptions>();
  command->add_option("FILE", options->file, "a checkpoint: a file or a folder");
  add_opaque_layout_option(*command, options->read);
  command->add_flag("--json", options->json, "print JSON");
  command->callback([options, &exit_code] {
    if (options->file.empty()) {
      run_info(options->json);
    } else {
      print_file_info(options->file, options->read, options->json);
    }
    exit_code = kPassed;
  });
}

}  // namespace zenwoq::tools
