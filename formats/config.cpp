// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// Finds the description of the quantization among the JSON files of a checkpoint.
#include "formats/config.h"

#include "formats/container/strict_json.h"
#include "formats/container/text.h"

namespace zenwoq::formats {
namespace {

using nlohmann::json;

// Configurations have some kilobytes; parsed, JSON takes many times its bytes.
constexpr std::size_t max_config_bytes = 1u << 20;

// The object in a file, or one of the fields of that; without fields if the file or the field is not there.
JsonFields fields_of(Files& files, const char* file_name, std::initializer_list<const char*> keys) {
  const std::optional<ByteView> bytes = files.find(file_name);
  if (!bytes) return {};
  if (bytes->size() > max_config_bytes) {
    fail("{}: has {} bytes, the limit is {}", file_name, bytes->size(), max_config_bytes);
  }
  json root = parse_strict_json(bytes->text(), file_name);
  if (!root.is_object()) fail("{}: is no JSON object", file_name);
  JsonFields whole(std::move(root), file_name);
  if (keys.size() == 0) return whole;
  for (const char* key : keys) {
    if (whole.has(key)) return whole.object(key);
  }
  return {};
}

}  // namespace

const json* JsonFields::find(const char* key) const {
  if (object_ == nullptr) return nullptr;
  const auto found = object_->find(key);
  return found == object_->end() || found->is_null() ? nullptr : &*found;
}

JsonFields JsonFields::part(const json& object, const std::string& key) const {
  JsonFields fields;
  fields.object_ = {object_, &object};
  fields.where_ = formatted("{}: {}", where_, key);
  return fields;
}

std::optional<std::string> JsonFields::text(const char* key) const {
  const json* value = find(key);
  if (value == nullptr) return std::nullopt;
  if (!value->is_string()) fail("{}: {} is no string", where_, key);
  return value->get<std::string>();
}

std::optional<std::int64_t> JsonFields::integer(const char* key) const {
  const json* value = find(key);
  if (value == nullptr) return std::nullopt;
  if (!value->is_number_integer() || (value->is_number_unsigned() && value->get<std::uint64_t>() > INT64_MAX)) {
    fail("{}: {} is no whole number", where_, key);
  }
  return value->get<std::int64_t>();
}

std::optional<bool> JsonFields::flag(const char* key) const {
  const json* value = find(key);
  if (value == nullptr) return std::nullopt;
  if (!value->is_boolean()) fail("{}: {} is neither true nor false", where_, key);
  return value->get<bool>();
}

JsonFields JsonFields::object(const char* key) const {
  const json* value = find(key);
  if (value == nullptr) return {};
  if (!value->is_object()) fail("{}: {} is no JSON object", where_, key);
  return part(*value, key);
}

std::vector<JsonFields> JsonFields::objects() const {
  std::vector<JsonFields> all;
  if (object_ == nullptr) return all;
  for (const auto& item : object_->items()) {
    if (!item.value().is_object()) fail("{}: {} is no JSON object", where_, shown(item.key()));
    all.push_back(part(item.value(), shown(item.key())));
  }
  return all;
}

JsonFields read_quantization_config(Files& files) {
  JsonFields config = fields_of(files, config_name, {"quantization_config", "compression_config", "quantization"});
  if (config.empty()) config = fields_of(files, "quantize_config.json", {});
  if (config.empty()) config = fields_of(files, "hf_quant_config.json", {"quantization"});
  return config;
}

}  // namespace zenwoq::formats
