// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// The report of a check as tables and a summary line.
#include <fmt/format.h>

#include <algorithm>

#include "tools/check_report.h"
#include "tools/table.h"

namespace zenwoq::tools {
namespace {

using Align = Table::Align;

// "m1x4 m4x4": the tiles of the kernels, whose full names are in a separate table.
std::string tiles_of(const std::vector<KernelUse>& kernels) {
  std::string tiles;
  for (const KernelUse& kernel : kernels) {
    const std::size_t begin = kernel.name.find("_m") + 1;
    const std::size_t end = kernel.name.find('_', begin);
    tiles += (tiles.empty() ? "" : " ") + (begin == 0 ? kernel.name : kernel.name.substr(begin, end - begin));
  }
  return tiles;
}

std::string bits_of(const LayerCheck& layer) {
  if (!layer.unpacks_exactly) return "NOT UNPACKED";
  return !layer.bits_equal ? "-" : *layer.bits_equal ? "equal" : "DIFFERENT";
}

std::string experts_of(const LayerCheck& layer) {
  if (layer.experts == layer.experts_checked) return fmt::format("{}", layer.experts);
  return fmt::format("{} OF {}", layer.experts_checked, layer.experts);
}

// What was not looked at, because --experts says so; empty if everything was.
std::string unchecked_text(const CheckReport& report) {
  std::size_t unchecked = 0;
  for (const LayerCheck& layer : report.layers) unchecked += layer.experts - layer.experts_checked;
  return unchecked == 0 ? "" : fmt::format("{} experts were NOT checked (--experts)\n", unchecked);
}

void print_layers(const CheckReport& report) {
  Table table({{"layer", Align::left},
               {"N x K", Align::right},
               {"experts", Align::left},
               {"quantization", Align::left},
               {"kernels", Align::left},
               {"bits", Align::left},
               {"error/bound", Align::right},
               {"M=1 us", Align::right},
               {"GB/s", Align::right}});
  for (const LayerCheck& layer : report.layers) {
    const std::string shape = fmt::format("{} x {}", layer.info.n, layer.info.k);
    if (!layer.error.empty()) {
      table.add({layer.info.name, shape, "", "ERROR: " + layer.error, "", "", "", "", ""});
      continue;
    }
    const double gb_per_s = static_cast<double>(layer.packed_bytes) * 1e-9 / layer.run_seconds;
    table.add({layer.info.name, shape, experts_of(layer), layer.quantization, tiles_of(layer.kernels), bits_of(layer),
               fmt::format("{:.4f}", layer.max_error_over_bound), fmt::format("{:.1f}", layer.run_seconds * 1e6),
               fmt::format("{:.2f}", gb_per_s)});
  }
  if (!table.empty()) fmt::print("{}\n", table.text());
}

void print_kernels(const CheckReport& report) {
  Table table({{"kernel", Align::left}, {"bytes", Align::right}, {"us", Align::right}});
  for (const auto& entry : report.kernels()) {
    if (!entry.second.reason.empty()) continue;
    table.add(
        {entry.first, fmt::format("{}", entry.second.code_bytes), fmt::format("{:.1f}", entry.second.generation_us)});
  }
  if (!table.empty()) fmt::print("{}\n", table.text());
}

// Tensors that were left alone for the same reason share a line.
void print_left_alone(const CheckReport& report) {
  constexpr std::size_t kNamed = 3;
  std::map<std::string, std::vector<std::string>> by_reason;
  for (const LeftAloneIn& left : report.left_alone) by_reason[left.tensor.reason].push_back(left.tensor.name);
  if (by_reason.empty()) return;
  fmt::print("left alone:\n");
  for (const auto& entry : by_reason) {
    std::string names;
    for (std::size_t i = 0; i < std::min(kNamed, entry.second.size()); ++i)
      names += (i == 0 ? "" : ", ") + entry.second[i];
    if (entry.second.size() > kNamed) names += fmt::format(" and {} more", entry.second.size() - kNamed);
    fmt::print("  {}: {}\n", entry.first, names);
  }
  fmt::print("\n");
}

std::string bits_text(std::optional<bool> bits_equal) {
  return !bits_equal ? "bits not compared" : *bits_equal ? "all bits equal" : "BITS DIFFER";
}

}  // namespace

void print_report(const CheckReport& report, const Verdict& verdict) {
  print_layers(report);
  print_kernels(report);
  print_left_alone(report);
  double weights = 0;
  for (const LayerCheck& layer : report.layers)
    weights += static_cast<double>(layer.info.n * layer.experts_checked) * static_cast<double>(layer.info.k);
  fmt::print(
      "{} layers, {:.1f} million weights, {:.1f} s on {} threads of {}: {}, error at most {:.4f} of its bound, "
      "{} kernels in {:.0f} us, packed at {:.2f} GB/s\n{}{}\n",
      report.layers.size(), weights * 1e-6, report.seconds, report.cpu.info.threads, report.cpu.info.brand,
      bits_text(report.bits_equal()), report.max_error_over_bound(), report.kernels_generated, report.jit_us_total,
      report.pack_gb_per_s(), unchecked_text(report), verdict.text);
}

}  // namespace zenwoq::tools
