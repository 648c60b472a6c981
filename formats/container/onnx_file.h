// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// An ONNX model: the initializers of its graph, and the nodes that 4-bit weights pass through. Source of the format:
// onnx/onnx.proto of onnx 1.23, IR version 13 and below.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "formats/container/byte_view.h"
#include "formats/container/files.h"
#include "formats/container/tensor_set.h"

namespace zenwoq::formats {

// All views lead into the file.
struct OnnxAttribute {
  std::string_view name;
  std::int64_t integer = 0;
  float number = 0;
  std::vector<std::int64_t> integers;
};

struct OnnxNode {
  std::string_view op, domain, name;
  std::vector<std::string_view> inputs, outputs;  // an input that is left out is empty
  std::vector<OnnxAttribute> attributes;

  bool is(std::string_view op_, std::string_view domain_) const { return op == op_ && domain == domain_; }
  std::string_view input(std::size_t i) const { return i < inputs.size() ? inputs[i] : std::string_view(); }
  const OnnxAttribute* attribute(std::string_view attribute_name) const;  // nullptr if there is none
  std::int64_t integer(std::string_view attribute_name, std::int64_t otherwise) const;
};

// Throws ReadError for a node that is none, or that has more parts than those of OnnxModel have.
OnnxNode read_onnx_node(ByteView message, const std::string& where);

struct OnnxModel {
  TensorMap tensors;  // dtype as safetensors spells it, or "I4", "U4", "C128", "STRING", the number of a new type
  std::vector<ByteView> nodes;  // MatMulNBits, DequantizeLinear, Transpose, MatMul and Gemm of the main graph, in order
  std::vector<std::vector<std::uint8_t>> owned;  // that tensors point into
};

// `where` names the file in messages; `files` has those that tensors lie in. Throws ReadError unless every size, offset
// and file name of the tensors is right.
OnnxModel parse_onnx(ByteView file, const std::string& where, Files& files);

}  // namespace zenwoq::formats
