// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// What the JSON files of a checkpoint say of its quantization.
#pragma once

#include <cstdint>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "formats/container/files.h"

namespace zenwoq::formats {

// Fields of one JSON object, each with the type that it must have.
class JsonFields {
 public:
  JsonFields() = default;
  JsonFields(nlohmann::json object, std::string where)
      : object_(std::make_shared<const nlohmann::json>(std::move(object))), where_(std::move(where)) {}

  // The file and the object in it, as messages name them.
  const std::string& where() const { return where_; }

  bool empty() const { return object_ == nullptr || object_->empty(); }
  bool has(const char* key) const { return find(key) != nullptr; }

  // Empty where there is no such field, or null. Throw ReadError for a value of another type.
  std::optional<std::string> text(const char* key) const;
  std::optional<std::int64_t> integer(const char* key) const;
  std::optional<bool> flag(const char* key) const;

  // Without fields where there is no such field, or null.
  JsonFields object(const char* key) const;

  // All fields, which must be objects, whatever their names are.
  std::vector<JsonFields> objects() const;

 private:
  const nlohmann::json* find(const char* key) const;  // nullptr also for null

  // An object within this one, which shares it.
  JsonFields part(const nlohmann::json& object, const std::string& key) const;

  std::shared_ptr<const nlohmann::json> object_;  // nullptr: without fields
  std::string where_;
};

// "quantization_config" of config.json (older: "compression_config"; of MLX: "quantization"); where there is none
// quantize_config.json, then "quantization" of hf_quant_config.json. Without fields if there is nothing of these.
// Throws ReadError for a file that is not a JSON object.
JsonFields read_quantization_config(Files& files);

}  // namespace zenwoq::formats
