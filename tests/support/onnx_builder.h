// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// Builds ONNX files field by field, valid and invalid ones, for the tests of formats.
#pragma once

#include <bit>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "tests/support/checkpoint_builder.h"

namespace zenwoq::formats::testing {

// A protobuf message.
class Message {
 public:
  Message& integer(std::uint32_t field, std::uint64_t value) {
    varint(std::uint64_t{field} << 3);
    return varint(value);
  }
  Message& f32(std::uint32_t field, float value) {
    varint(std::uint64_t{field} << 3 | 5);
    append(bytes_, std::bit_cast<std::uint32_t>(value));
    return *this;
  }
  Message& bytes(std::uint32_t field, const Bytes& value) {
    varint(std::uint64_t{field} << 3 | 2);
    varint(value.size());
    append(bytes_, value);
    return *this;
  }
  Message& text(std::uint32_t field, const std::string& value) {
    return bytes(field, Bytes(value.begin(), value.end()));
  }
  Message& message(std::uint32_t field, const Message& value) { return bytes(field, value.build()); }
  Message& varint(std::uint64_t value) {
    for (; value >= 0x80; value >>= 7) bytes_.push_back(static_cast<std::uint8_t>(value | 0x80));
    bytes_.push_back(static_cast<std::uint8_t>(value));
    return *this;
  }
  const Bytes& build() const { return bytes_; }

 private:
  Bytes bytes_;
};

// Numbers of onnx.proto.
enum OnnxTypeNumber : std::uint64_t {
  onnx_f32 = 1,
  onnx_u8 = 2,
  onnx_i32 = 6,
  onnx_i64 = 7,
  onnx_string = 8,
  onnx_f16 = 10,
  onnx_u4 = 21,
  onnx_i4 = 22
};

inline Message onnx_shape(const std::string& name, const Shape& shape, std::uint64_t type) {
  Message tensor;
  for (const std::uint64_t dimension : shape) tensor.integer(1, dimension);
  return tensor.integer(2, type).text(8, name);
}

inline Message onnx_tensor(const std::string& name, const Shape& shape, std::uint64_t type, const Bytes& raw) {
  return onnx_shape(name, shape, type).bytes(9, raw);
}

inline Message onnx_external(const std::string& name, const Shape& shape, std::uint64_t type,
                             const std::vector<std::pair<std::string, std::string>>& place) {
  Message tensor = onnx_shape(name, shape, type);
  for (const auto& [key, value] : place) tensor.message(13, Message().text(1, key).text(2, value));
  return tensor.integer(14, 1);
}

class OnnxNodeBuilder {
 public:
  OnnxNodeBuilder(const std::string& op, const std::vector<std::string>& inputs,
                  const std::vector<std::string>& outputs, const std::string& name = "",
                  const std::string& domain = "") {
    for (const std::string& input : inputs) node_.text(1, input);
    for (const std::string& output : outputs) node_.text(2, output);
    node_.text(3, name).text(4, op).text(7, domain);
  }
  OnnxNodeBuilder& integer(const std::string& name, std::int64_t value) {
    node_.message(5, Message().text(1, name).integer(3, static_cast<std::uint64_t>(value)));
    return *this;
  }
  OnnxNodeBuilder& number(const std::string& name, float value) {
    node_.message(5, Message().text(1, name).f32(2, value));
    return *this;
  }
  OnnxNodeBuilder& integers(const std::string& name, const std::vector<std::uint64_t>& values) {
    Message attribute;
    attribute.text(1, name);
    for (const std::uint64_t value : values) attribute.integer(8, value);
    node_.message(5, attribute);
    return *this;
  }
  const Message& build() const { return node_; }

 private:
  Message node_;
};

class OnnxBuilder {
 public:
  OnnxBuilder& node(const OnnxNodeBuilder& node) {
    graph_.message(1, node.build());
    return *this;
  }
  OnnxBuilder& tensor(const Message& tensor) {
    graph_.message(5, tensor);
    return *this;
  }
  OnnxBuilder& tensor(const std::string& name, const Shape& shape, std::uint64_t type, const Bytes& raw) {
    return tensor(onnx_tensor(name, shape, type, raw));
  }
  Bytes build() const { return Message().integer(1, 10).message(7, graph_).build(); }

 private:
  Message graph_;
};

}  // namespace zenwoq::formats::testing
