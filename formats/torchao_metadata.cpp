// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// Reads metadata entries, and finds which of the two dialects of tensor names a weight uses.
#include "formats/torchao_metadata.h"

#include <nlohmann/json.hpp>

#include "formats/container/strict_json.h"
#include "formats/container/text.h"

namespace zenwoq::formats {
namespace {

using nlohmann::json;

const json& field(const json& object, const char* key, const std::string& where) {
  if (!object.is_object()) fail("{}: what should hold {} is no JSON object", where, key);
  const auto found = object.find(key);
  if (found == object.end()) fail("{}: {} is missing", where, key);
  return *found;
}

std::string string_field(const json& object, const char* key, const std::string& where) {
  const json& value = field(object, key, where);
  if (!value.is_string()) fail("{}: {} is no string", where, key);
  return value.get<std::string>();
}

// {"_type": "torch.dtype", "_data": "int4"} -> "int4"
std::string dtype_field(const json& object, const char* key, const std::string& where) {
  return string_field(field(object, key, where), "_data", where);
}

std::vector<std::uint64_t> block_size_field(const json& object, const std::string& where) {
  const json& array = field(object, "block_size", where);
  if (!array.is_array()) fail("{}: block_size is no array", where);
  std::vector<std::uint64_t> sizes;
  for (const json& size : array) {
    if (!size.is_number_unsigned() || size == 0u) {
      fail("{}: block_size holds something else than sizes", where);
    }
    sizes.push_back(size.get<std::uint64_t>());
  }
  return sizes;
}

std::string activation_quantization_field(const json& object, const std::string& where) {
  const auto found = object.find("activation_quantization");
  if (found == object.end() || found->is_null()) return {};
  if (!found->is_string() || found->get_ref<const std::string&>().empty()) {
    fail("{}: activation_quantization is neither null nor a name", where);
  }
  return found->get<std::string>();
}

}  // namespace

std::optional<WeightNames> names_in_set(const TensorSet& set, const std::string& weight) {
  const std::size_t dot = weight.rfind('.');
  if (dot == std::string::npos) return std::nullopt;
  const std::string module = weight.substr(0, dot);
  const std::string parameter = weight.substr(dot + 1);
  const bool is_linear = parameter == "weight";
  const std::string layer = is_linear ? module : weight;
  const WeightNames current{layer, module + "._" + parameter + "_", is_linear ? module + ".bias" : ""};
  if (set.has_prefix(current.parts_prefix)) return current;
  const WeightNames dialect_of_0_14{layer, weight + ":", is_linear ? module + ".bias:_data" : ""};
  if (set.has_prefix(dialect_of_0_14.parts_prefix)) return dialect_of_0_14;
  return std::nullopt;
}

WeightMetadata parse_weight_metadata(const std::set<std::string>& values, const std::string& where) {
  if (values.size() != 1) fail("{}: {} shards have different metadata for it", where, values.size());
  const json entry = parse_strict_json(*values.begin(), where + ": metadata");
  WeightMetadata metadata;
  metadata.type = string_field(entry, "_type", where);
  if (!metadata.is_intx()) return metadata;
  const json& data = field(entry, "_data", where);
  metadata.target_dtype = dtype_field(data, "target_dtype", where);
  metadata.block_size = block_size_field(data, where);
  metadata.activation_quantization = activation_quantization_field(data, where);
  return metadata;
}

}  // namespace zenwoq::formats
