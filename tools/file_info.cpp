// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// Lists the entries of a checkpoint with their bytes and bits a weight.
#include "tools/file_info.h"

#include <fmt/format.h>

#include <array>
#include <map>
#include <nlohmann/json.hpp>
#include <string>

#include "formats/checkpoint.h"
#include "tools/api_handles.h"
#include "tools/json_output.h"
#include "tools/table.h"

namespace zenwoq::tools {
namespace {

using formats::Checkpoint;
using formats::LayerSource;
using formats::LeftAlone;
using Align = Table::Align;

struct Totals {
  std::uint64_t weights = 0, source_bytes = 0, packed_bytes = 0;
  std::size_t dense = 0, other = 0;
  std::uint64_t dense_bytes = 0, other_bytes = 0;
};

std::uint64_t weights_of(const LayerSource& layer) { return layer.experts * layer.desc.n * layer.desc.k; }

std::uint64_t packed_bytes_of(const LayerSource& layer) {
  std::size_t bytes = 0;
  require(zenwoq_weight_packed_bytes(&layer.desc, &bytes));
  return bytes * layer.experts;
}

std::string quantization_of(const LayerSource& layer) {
  std::array<char, 160> text{};
  require(zenwoq_weight_desc_text(&layer.desc, text.data(), text.size()));
  return text.data();
}

double bits_a_weight(std::uint64_t bytes, std::uint64_t weights) {
  return weights == 0 ? 0.0 : 8.0 * static_cast<double>(bytes) / static_cast<double>(weights);
}

double megabytes(std::uint64_t bytes) { return static_cast<double>(bytes) * 1e-6; }

Totals totals_of(const Checkpoint& checkpoint) {
  Totals totals;
  for (const auto& layer : checkpoint.layers()) {
    totals.weights += weights_of(*layer);
    totals.source_bytes += layer->bytes;
    totals.packed_bytes += packed_bytes_of(*layer);
  }
  for (const LeftAlone& left : checkpoint.left_alone()) {
    (left.dense() ? totals.dense : totals.other) += 1;
    (left.dense() ? totals.dense_bytes : totals.other_bytes) += left.tensor.data.size();
  }
  return totals;
}

void print_layers(const Checkpoint& checkpoint) {
  Table table({{"layer", Align::left},
               {"N x K", Align::right},
               {"format", Align::left},
               {"quantization", Align::left},
               {"bits in file", Align::right},
               {"packed", Align::right},
               {"MB", Align::right}});
  for (const auto& layer : checkpoint.layers()) {
    const std::string experts = layer->experts == 1 ? std::string() : fmt::format("{} x ", layer->experts);
    const std::uint64_t packed = packed_bytes_of(*layer);
    table.add({layer->name, fmt::format("{}{} x {}", experts, layer->desc.n, layer->desc.k), layer->format,
               quantization_of(*layer), fmt::format("{:.2f}", bits_a_weight(layer->bytes, weights_of(*layer))),
               fmt::format("{:.2f}", bits_a_weight(packed, weights_of(*layer))),
               fmt::format("{:.2f}", megabytes(packed))});
  }
  if (!table.empty()) fmt::print("{}\n", table.text());
}

// Tensors that are left alone for the same reason share a line.
void print_tensors(const Checkpoint& checkpoint) {
  struct Group {
    std::size_t tensors = 0;
    std::uint64_t bytes = 0;
    std::string first;
  };
  std::map<std::string, Group> by_reason;
  for (const LeftAlone& left : checkpoint.left_alone()) {
    Group& group = by_reason[left.reason];
    if (group.tensors++ == 0) group.first = left.name;
    group.bytes += left.tensor.data.size();
  }
  Table table(
      {{"tensors beside layers", Align::left}, {"", Align::right}, {"MB", Align::right}, {"first", Align::left}});
  for (const auto& [reason, group] : by_reason) {
    table.add({reason, fmt::format("{}", group.tensors), fmt::format("{:.2f}", megabytes(group.bytes)), group.first});
  }
  if (!table.empty()) fmt::print("{}\n", table.text());
}

void print_text(const Checkpoint& checkpoint) {
  print_layers(checkpoint);
  print_tensors(checkpoint);
  const Totals totals = totals_of(checkpoint);
  fmt::print(
      "{} layers of {:.2f} million weights: {:.2f} bits each in the file ({:.2f} MB), {:.2f} packed ({:.2f} MB)\n"
      "{} dense tensors ({:.2f} MB), {} others ({:.2f} MB)\n",
      checkpoint.layers().size(), static_cast<double>(totals.weights) * 1e-6,
      bits_a_weight(totals.source_bytes, totals.weights), megabytes(totals.source_bytes),
      bits_a_weight(totals.packed_bytes, totals.weights), megabytes(totals.packed_bytes), totals.dense,
      megabytes(totals.dense_bytes), totals.other, megabytes(totals.other_bytes));
}

Json layer_json(const LayerSource& layer) {
  const std::uint64_t packed = packed_bytes_of(layer);
  return {{"name", layer.name},
          {"format", layer.format},
          {"quantization", quantization_of(layer)},
          {"n", layer.desc.n},
          {"k", layer.desc.k},
          {"experts", layer.experts},
          {"bias", layer.has_bias()},
          {"source_bytes", layer.bytes},
          {"packed_bytes", packed},
          {"source_bits", bits_a_weight(layer.bytes, weights_of(layer))},
          {"packed_bits", bits_a_weight(packed, weights_of(layer))}};
}

Json file_json(const std::string& path, const Checkpoint& checkpoint) {
  const Totals totals = totals_of(checkpoint);
  Json json = {{"file", path},
               {"layers", Json::array()},
               {"tensors", Json::array()},
               {"weights", totals.weights},
               {"source_bytes", totals.source_bytes},
               {"packed_bytes", totals.packed_bytes},
               {"source_bits", bits_a_weight(totals.source_bytes, totals.weights)},
               {"packed_bits", bits_a_weight(totals.packed_bytes, totals.weights)},
               {"dense_bytes", totals.dense_bytes},
               {"other_bytes", totals.other_bytes}};
  for (const auto& layer : checkpoint.layers()) json["layers"].push_back(layer_json(*layer));
  for (const LeftAlone& left : checkpoint.left_alone()) {
    json["tensors"].push_back({{"name", left.name},
                               {"dense", left.dense()},
                               {"type", left.tensor.type},
                               {"shape", left.tensor.shape},
                               {"bytes", left.tensor.data.size()},
                               {"reason", left.reason}});
  }
  return json;
}

}  // namespace

void print_file_info(const std::string& path, const formats::ReadOptions& options, bool json) {
  const std::unique_ptr<Checkpoint> checkpoint = formats::open_checkpoint(path, options);
  if (json) {
    print_json(file_json(path, *checkpoint));
  } else {
    print_text(*checkpoint);
  }
}

}  // namespace zenwoq::tools
