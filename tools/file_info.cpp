// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// Adds up the layers and the other tensors of a checkpoint, without reading a value.
#include "tools/file_info.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>

#include "tools/api_handles.h"
#include "tools/table.h"

namespace zenwoq::tools {
namespace {

constexpr std::size_t kNamed = 3;  // tensors of a group that text names

LayerSize size_of(const LayerSource& layer) {
  std::array<char, 128> text{};
  std::size_t packed_bytes = 0;
  require(zenwoq_weight_desc_text(&layer.desc, text.data(), text.size()));
  require(zenwoq_weight_packed_bytes(&layer.desc, &packed_bytes));
  LayerSize size;
  size.info = info_of(layer);
  size.quantization = text.data();
  size.experts = layer.experts;
  size.bytes = {layer.desc.n * layer.desc.k * layer.experts, layer.bytes, packed_bytes * layer.experts};
  size.biases = layer.has_bias() ? layer.desc.n * layer.experts : 0;
  return size;
}

// Elements of a tensor whose type is known; 0 if there are more than can be.
std::uint64_t values_of(const formats::StoredTensor& tensor) {
  if (tensor.values_type) return tensor.values();
  if (tensor.data.size() == 0) return 0;
  std::optional<std::uint64_t> values = 1;
  for (const std::uint64_t size : tensor.shape) values = values ? formats::checked_product(*values, size) : values;
  return values.value_or(0);
}

std::string names_of(const LeftAloneSize& group) {
  std::string names;
  for (std::size_t i = 0; i < std::min(kNamed, group.names.size()); ++i) {
    names += (i == 0 ? "" : ", ") + group.names[i];
  }
  return group.names.size() > kNamed ? names + ", ..." : names;
}

std::string counted(std::uint64_t count, const char* unit) {
  return count < 1'000'000 ? fmt::format("{}{}", count, unit)
                           : fmt::format("{:.2f} million{}", static_cast<double>(count) * 1e-6, unit);
}

void print_layers(const FileInfo& info) {
  using Align = Table::Align;
  Table table({{"layer", Align::left},
               {"format", Align::left},
               {"experts", Align::right},
               {"N x K", Align::right},
               {"quantization", Align::left},
               {"bits", Align::right},
               {"in the file", Align::right},
               {"bytes", Align::right}});
  for (const LayerSize& layer : info.layers) {
    table.add({layer.info.name, layer.info.format, fmt::format("{}", layer.experts),
               fmt::format("{} x {}", layer.info.n, layer.info.k), layer.quantization,
               fmt::format("{:.3f}", layer.bytes.packed_bits()), fmt::format("{:.3f}", layer.bytes.source_bits()),
               fmt::format("{}", layer.bytes.packed_bytes)});
  }
  if (!table.empty()) fmt::print("{}\n", table.text());
}

void print_left_alone(const FileInfo& info) {
  using Align = Table::Align;
  Table table({{"left alone", Align::left},
               {"tensors", Align::right},
               {"values", Align::right},
               {"bytes", Align::right},
               {"which", Align::left}});
  for (const auto& [reason, group] : info.left_alone) {
    table.add({reason, fmt::format("{}", group.names.size()), fmt::format("{}", group.values),
               fmt::format("{}", group.bytes), names_of(group)});
  }
  if (!table.empty()) fmt::print("{}\n", table.text());
}

}  // namespace

void WeightBytes::add(const WeightBytes& more) {
  weights += more.weights;
  source_bytes += more.source_bytes;
  packed_bytes += more.packed_bytes;
}

double WeightBytes::bits(std::uint64_t bytes) const {
  return weights == 0 ? 0.0 : static_cast<double>(bytes) * 8.0 / static_cast<double>(weights);
}

FileInfo read_file_info(const std::string& path) {
  const auto checkpoint = open_checkpoint(path);
  FileInfo info;
  info.file = path;
  for (const auto& layer : checkpoint->layers()) {
    info.layers.push_back(size_of(*layer));
    info.total.add(info.layers.back().bytes);
    info.biases += info.layers.back().biases;
  }
  for (const LeftAlone& left : checkpoint->left_alone()) {
    LeftAloneSize& group = info.left_alone[left.reason];
    group.names.push_back(left.name);
    group.values += values_of(left.tensor);
    group.bytes += left.tensor.data.size();
    if (left.dense()) info.dense_values += values_of(left.tensor);
  }
  return info;
}

void print_file_info(const FileInfo& info) {
  print_layers(info);
  print_left_alone(info);
  fmt::print(
      "{}: {} layers, {}: {:.3f} bits a weight packed, {:.3f} in the file; {} packed, {} in the file\n"
      "{}: {} in layers, {} in their biases, {} in other tensors of plain numbers\n",
      info.file, info.layers.size(), counted(info.total.weights, " weights"), info.total.packed_bits(),
      info.total.source_bits(), counted(info.total.packed_bytes, " bytes"), counted(info.total.source_bytes, " bytes"),
      counted(info.parameters(), " parameters"), counted(info.total.weights, ""), counted(info.biases, ""),
      counted(info.dense_values, ""));
}

Json file_info_json(const FileInfo& info) {
  const auto add_bytes = [](Json& json, const WeightBytes& bytes) {
    json["weights"] = bytes.weights;
    json["packed_bytes"] = bytes.packed_bytes;
    json["source_bytes"] = bytes.source_bytes;
    json["bits_per_weight"] = bytes.packed_bits();
    json["source_bits_per_weight"] = bytes.source_bits();
  };
  Json layers = Json::array();
  for (const LayerSize& layer : info.layers) {
    Json json = {{"name", layer.info.name},    {"format", layer.info.format}, {"quantization", layer.quantization},
                 {"experts", layer.experts},   {"n", layer.info.n},           {"k", layer.info.k},
                 {"bias", layer.info.has_bias}};
    add_bytes(json, layer.bytes);
    layers.push_back(std::move(json));
  }
  Json left_alone = Json::array();
  for (const auto& [reason, group] : info.left_alone) {
    left_alone.push_back({{"reason", reason},
                          {"tensors", group.names.size()},
                          {"values", group.values},
                          {"bytes", group.bytes},
                          {"names", group.names}});
  }
  Json json = {{"file", info.file}, {"layers", std::move(layers)}, {"left_alone", std::move(left_alone)}};
  add_bytes(json["total"], info.total);
  json["parameters"] = {{"total", info.parameters()},
                        {"layers", info.total.weights},
                        {"biases", info.biases},
                        {"dense", info.dense_values}};
  return json;
}

}  // namespace zenwoq::tools
