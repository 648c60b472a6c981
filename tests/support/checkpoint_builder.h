// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// Builds checkpoint files in memory, valid and invalid ones, for the tests of formats.
#pragma once

#include <gtest/gtest.h>

#include <cstdint>
#include <cstring>
#include <functional>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "formats/checkpoint.h"
#include "tools/api_handles.h"
#include "tools/layer.h"

namespace zenwoq::formats::testing {

using Bytes = std::vector<std::uint8_t>;
using Shape = std::vector<std::uint64_t>;

inline ByteView view(const Bytes& bytes) { return {bytes.data(), bytes.size()}; }

template <typename T>
void append(Bytes& bytes, T value) {
  const std::size_t at = bytes.size();
  bytes.resize(at + sizeof value);
  std::memcpy(bytes.data() + at, &value, sizeof value);
}

inline void append(Bytes& bytes, const Bytes& more) { bytes.insert(bytes.end(), more.begin(), more.end()); }

// The little-endian bytes of the values as elements of type T.
template <typename T>
Bytes bytes_of(const std::vector<T>& values) {
  Bytes bytes;
  for (const T value : values) append(bytes, value);
  return bytes;
}

// A safetensors file with exactly this header text.
inline Bytes safetensors_of(const std::string& header, const Bytes& data = {}) {
  Bytes file;
  append(file, static_cast<std::uint64_t>(header.size()));
  file.insert(file.end(), header.begin(), header.end());
  append(file, data);
  return file;
}

class SafetensorsBuilder {
 public:
  SafetensorsBuilder& tensor(const std::string& name, const std::string& dtype, const Shape& shape, const Bytes& data) {
    header_[name] = {{"dtype", dtype}, {"shape", shape}, {"data_offsets", {data_.size(), data_.size() + data.size()}}};
    append(data_, data);
    return *this;
  }
  SafetensorsBuilder& metadata(const std::string& key, const nlohmann::json& value) {
    header_["__metadata__"][key] = value.is_string() ? value.get<std::string>() : value.dump();
    return *this;
  }
  Bytes build() const { return safetensors_of(header_.dump(), data_); }

 private:
  nlohmann::json header_ = nlohmann::json::object();
  Bytes data_;
};

class GgufBuilder {
 public:
  std::uint32_t version = 3;
  std::uint64_t alignment = 32;  // of the data; the file says so only through pair()

  // value: the bytes after the value type.
  GgufBuilder& pair(const std::string& key, std::uint32_t value_type, const Bytes& value) {
    append(pairs_, string_bytes(key));
    append(pairs_, value_type);
    append(pairs_, value);
    ++pair_count_;
    return *this;
  }
  GgufBuilder& tensor(const std::string& name, const Shape& dimensions, std::uint32_t type, const Bytes& data) {
    data_.resize((data_.size() + alignment - 1) / alignment * alignment);
    tensor_at(name, dimensions, type, data_.size());
    append(data_, data);
    return *this;
  }
  // Adds an entry to the tensor table, but no data.
  GgufBuilder& tensor_at(const std::string& name, const Shape& dimensions, std::uint32_t type, std::uint64_t offset) {
    append(infos_, string_bytes(name));
    append(infos_, static_cast<std::uint32_t>(dimensions.size()));
    append(infos_, bytes_of(dimensions));
    append(infos_, type);
    append(infos_, offset);
    ++tensor_count_;
    return *this;
  }
  Bytes build() const {
    Bytes file = {'G', 'G', 'U', 'F'};
    append(file, version);
    append(file, tensor_count_);
    append(file, pair_count_);
    append(file, pairs_);
    append(file, infos_);
    file.resize((file.size() + alignment - 1) / alignment * alignment);
    append(file, data_);
    return file;
  }

  static Bytes string_bytes(const std::string& text) {
    Bytes bytes;
    append(bytes, static_cast<std::uint64_t>(text.size()));
    bytes.insert(bytes.end(), text.begin(), text.end());
    return bytes;
  }

 private:
  std::uint64_t tensor_count_ = 0;
  std::uint64_t pair_count_ = 0;
  Bytes pairs_;
  Bytes infos_;
  Bytes data_;
};

// A directory's files: name -> bytes.
using FileMap = std::map<std::string, Bytes>;

// Files in memory, which must outlive the checkpoint.
class MemoryFiles final : public Files {
 public:
  explicit MemoryFiles(const FileMap& files) : files_(files) {}

  ByteView require(const std::string& name) override {
    const std::optional<ByteView> bytes = find(name);
    return bytes ? *bytes : throw ReadError(name + ": cannot be opened");
  }
  std::optional<ByteView> find(const std::string& name) override {
    const auto found = files_.find(name);
    return found == files_.end() ? std::nullopt : std::optional(view(found->second));
  }

 private:
  const FileMap& files_;
};

// One file whose bytes must outlive the checkpoint.
class OneFile final : public Files {
 public:
  explicit OneFile(const Bytes& bytes) : bytes_(bytes) {}
  ByteView require(const std::string&) override { return view(bytes_); }
  std::optional<ByteView> find(const std::string&) override { return std::nullopt; }

 private:
  const Bytes& bytes_;
};

inline std::unique_ptr<Checkpoint> open_files(const FileMap& files, const std::string& name,
                                              const ReadOptions& options = {}) {
  return open_checkpoint(std::make_unique<MemoryFiles>(files), name, name, options);
}

inline std::unique_ptr<Checkpoint> open_bytes(const Bytes& bytes, const ReadOptions& options = {}) {
  return open_checkpoint(std::make_unique<OneFile>(bytes), "test", "test", options);
}

// A context for packing, for as long as the tests run.
inline zenwoq_context* packing_context() {
  static const tools::ContextHandle context = tools::make_context({1, ZENWOQ_TIER_REFERENCE, {}});
  return context.get();
}

// A layer's values as they come back from a packed weight. Throws ReadError.
inline tools::Layer load(const Checkpoint& checkpoint, std::size_t index, std::size_t expert = 0) {
  const LayerSource& source = *checkpoint.layers().at(index);
  const Weight weight = pack(packing_context(), source, source.prepare(expert));
  tools::Layer layer;
  layer.info = tools::info_of(source);
  layer.codes.resize(layer.info.n * ((layer.info.k + 1) / 2));
  layer.scales.resize(layer.info.n * layer.info.groups() * layer.info.scale_bytes());
  layer.zeros.resize(layer.info.n * layer.info.groups() * layer.info.zero_bytes());
  tools::require(zenwoq_weight_unpack(weight.get(), layer.codes.data(), layer.codes.size(), layer.scales.data(),
                                      layer.scales.size(), layer.zeros.empty() ? nullptr : layer.zeros.data(),
                                      layer.zeros.size()));
  const ByteView bias = source.has_bias() ? source.bias_of(expert) : ByteView();
  layer.bias.assign(bias.begin(), bias.end());
  return layer;
}

// The message of the ReadError that action throws, which must be one line; "" if it throws none.
inline std::string error_of(const std::function<void()>& action) {
  try {
    action();
  } catch (const ReadError& error) {
    const std::string text = error.what();
    EXPECT_FALSE(text.empty());
    EXPECT_EQ(text.find('\n'), std::string::npos) << text;
    return text;
  }
  return "";
}

inline std::string open_error(const Bytes& bytes) {
  return error_of([&] { open_bytes(bytes); });
}

inline std::string load_error(const Bytes& bytes, const ReadOptions& options = {}) {
  const auto checkpoint = open_bytes(bytes, options);
  return error_of([&] {
    for (std::size_t i = 0; i < checkpoint->layers().size(); ++i) load(*checkpoint, i);
  });
}

// The reason why the tensor is left alone; "" if it is not.
inline std::string reason_for(const Checkpoint& checkpoint, const std::string& name) {
  for (const LeftAlone& left : checkpoint.left_alone()) {
    if (left.name == name) return left.reason;
  }
  return "";
}

inline unsigned code_at(const tools::Layer& layer, std::size_t n, std::size_t k) {
  const unsigned byte = layer.codes.at(n * ((layer.info.k + 1) / 2) + k / 2);
  return k % 2 == 0 ? byte & 15u : byte >> 4;
}

#define EXPECT_CONTAINS(text, part) EXPECT_NE((text).find(part), std::string::npos) << "in: " << (text)

}  // namespace zenwoq::formats::testing
