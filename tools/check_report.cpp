// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// Totals over the layers of a check, and the verdict that follows from them.
#include "tools/check_report.h"

#include <fmt/format.h>

#include <algorithm>
#include <cfloat>
#include <nlohmann/json.hpp>

#include "tools/cpu_info.h"

namespace zenwoq::tools {
namespace {

// JSON has no infinity.
double finite(double value) { return std::min(value, DBL_MAX); }

double gb_per_s(std::size_t bytes, double seconds) {
  return seconds > 0 ? static_cast<double>(bytes) * 1e-9 / seconds : 0.0;
}

Json optional_json(std::optional<bool> value) { return value ? Json(*value) : Json(nullptr); }

Json layer_json(const LayerCheck& layer) {
  Json json = {{"file", layer.file}, {"name", layer.info.name}, {"format", layer.info.format},
               {"n", layer.info.n},  {"k", layer.info.k},       {"error", layer.error}};
  if (!layer.error.empty()) return json;
  json["quantization"] = layer.quantization;
  json["experts"] = layer.experts;
  json["experts_checked"] = layer.experts_checked;
  json["bias"] = layer.info.has_bias;
  json["unpacks_exactly"] = layer.unpacks_exactly;
  json["bits_equal"] = optional_json(layer.bits_equal);
  json["difference"] = layer.difference;
  json["max_error_over_bound"] = finite(layer.max_error_over_bound);
  json["kernels"] = Json::array();
  for (const KernelUse& kernel : layer.kernels) json["kernels"].push_back(kernel.name);
  json["packed_bytes"] = layer.packed_bytes;
  json["pack_gb_per_s"] = gb_per_s(layer.packed_bytes, layer.pack_seconds);
  json["m1_us"] = layer.run_seconds * 1e6;
  json["m1_gb_per_s"] = gb_per_s(layer.packed_bytes, layer.run_seconds);
  return json;
}

// "blk.0.attn_q: ... (and 3 more)"; empty if no layer is of that kind.
template <typename Kind, typename Text>
std::string first_of(const CheckReport& report, Kind kind, Text text) {
  const auto first = std::find_if(report.layers.begin(), report.layers.end(), kind);
  if (first == report.layers.end()) return {};
  const auto count = std::count_if(report.layers.begin(), report.layers.end(), kind);
  return fmt::format("{}: {}{}", first->info.name, text(*first),
                     count > 1 ? fmt::format(" (and {} more)", count - 1) : "");
}

std::string failure_of(const LayerCheck& layer) {
  if (!layer.unpacks_exactly) return "codes, scales or zeros do not come back from the packed weight as they were";
  if (!layer.difference.empty()) return layer.difference;
  return fmt::format("error {:.3g} of its bound", layer.max_error_over_bound);
}

std::string why_no_kernels(const LayerCheck& layer) {
  for (const KernelUse& kernel : layer.kernels) {
    if (!kernel.reason.empty()) return kernel.reason;
  }
  return "no kernel was generated";
}

}  // namespace

std::optional<bool> CheckReport::bits_equal() const {
  bool all_known = !layers.empty();
  for (const LayerCheck& layer : layers) {
    if (layer.bits_equal == false) return false;
    all_known = all_known && layer.bits_equal.has_value();
  }
  return all_known ? std::optional<bool>(true) : std::nullopt;
}

double CheckReport::max_error_over_bound() const {
  double worst = 0;
  for (const LayerCheck& layer : layers) worst = std::max(worst, layer.max_error_over_bound);
  return worst;
}

double CheckReport::pack_gb_per_s() const {
  std::size_t bytes = 0;
  double seconds_packing = 0;
  for (const LayerCheck& layer : layers) {
    bytes += layer.packed_bytes;
    seconds_packing += layer.pack_seconds;
  }
  return gb_per_s(bytes, seconds_packing);
}

std::map<std::string, KernelUse> CheckReport::kernels() const {
  std::map<std::string, KernelUse> all;
  for (const LayerCheck& layer : layers) {
    for (const KernelUse& kernel : layer.kernels) all.emplace(kernel.name, kernel);
  }
  return all;
}

Verdict verdict(const CheckReport& report, bool allow_reference) {
  const auto unreadable = [](const LayerCheck& layer) { return !layer.error.empty(); };
  const auto wrong = [](const LayerCheck& layer) { return layer.error.empty() && !layer.right(); };
  const auto by_reference = [](const LayerCheck& layer) { return layer.error.empty() && !layer.bits_equal; };
  if (std::string text = first_of(report, unreadable, [](const LayerCheck& l) { return l.error; }); !text.empty()) {
    return {kBadInput, std::move(text)};
  }
  if (std::string text = first_of(report, wrong, failure_of); !text.empty())
    return {kFailed, "FAILED: " + std::move(text)};
  if (report.layers.empty()) return {kFailed, "FAILED: there is no 4-bit linear layer to check"};
  if (std::string text = first_of(report, by_reference, why_no_kernels); !text.empty()) {
    text = "the reference ran where generated kernels should: " + std::move(text);
    if (allow_reference) return {kPassed, "passed, but " + std::move(text)};
    return {kFailed, "FAILED: " + std::move(text) + "; --allow-reference accepts that"};
  }
  return {kPassed, "passed"};
}

Json report_json(const CheckReport& report, const Verdict& verdict) {
  Json json = {{"files", report.files},
               {"cpu", cpu_json(report.cpu)},
               {"passed", verdict.exit_code == kPassed},
               {"verdict", verdict.text},
               {"bits_equal", optional_json(report.bits_equal())},
               {"max_error_over_bound", finite(report.max_error_over_bound())},
               {"kernels_generated", report.kernels_generated},
               {"jit_us_total", report.jit_us_total},
               {"pack_gb_per_s", report.pack_gb_per_s()},
               {"seconds", report.seconds},
               {"layers", Json::array()},
               {"kernels", Json::array()},
               {"left_alone", Json::array()}};
  for (const LayerCheck& layer : report.layers) json["layers"].push_back(layer_json(layer));
  for (const auto& entry : report.kernels()) {
    json["kernels"].push_back({{"name", entry.second.name},
                               {"code_bytes", entry.second.code_bytes},
                               {"generation_us", entry.second.generation_us},
                               {"reason", entry.second.reason}});
  }
  for (const LeftAloneIn& left : report.left_alone) {
    json["left_alone"].push_back({{"file", left.file}, {"name", left.tensor.name}, {"reason", left.tensor.reason}});
  }
  return json;
}

}  // namespace zenwoq::tools
