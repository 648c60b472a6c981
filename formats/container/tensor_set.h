// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// The tensors of one safetensors file, or of all its shards, by name; formats take out what they
// understand.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "formats/container/byte_view.h"
#include "formats/container/stored_tensor.h"
#include "zenwoq/zenwoq.h"

namespace zenwoq::formats {

struct Tensor {
  std::string dtype;  // as the file spells it: "BF16"
  std::vector<std::uint64_t> shape;
  ByteView data;  // of the size that shape and dtype call for, if dtype is known
};

// Bits of one element; empty for an unknown dtype.
std::optional<std::uint64_t> element_bits(const std::string& dtype);

// The zenwoq type of a dtype, if it has one.
std::optional<zenwoq_dtype> float_type(const std::string& dtype);

// Whether a dimension is 0.
bool is_empty(const Tensor& tensor);

// Throws ReadError unless the tensor has as many bytes as its shape and dtype call for; any number will do for a dtype
// that is not known.
void check_size(const Tensor& tensor, const std::string& where);

// Whether its data are there: of ONNX some are in a form that is not read.
bool has_values(const Tensor& tensor);

// "shape [16, 0], no values": why a weight whose codes are empty is left alone.
std::string empty_reason(const Tensor& tensor);

// "2-D f32, not quantized": why a tensor that belongs to no 4-bit weight is left alone.
std::string plain_tensor_reason(const Tensor& tensor);

using TensorMap = std::map<std::string, Tensor>;

// Throws ReadError if so many entries (tensors, pairs of metadata) are more than files of so many bytes can sensibly
// have: what is kept of each takes hundreds of bytes, so that a file of nothing but short entries would take many times
// its size.
void check_entry_count(std::uint64_t entries, std::uint64_t bytes, const std::string& where);

// A tensor that becomes no layer, or a weight of several tensors that does not.
struct LeftAlone {
  std::string name;
  std::string reason;
  StoredTensor tensor = {};  // without a type where there are several

  // Plain numbers, as norms and embeddings are, not a weight in a format that is not read.
  bool dense() const { return tensor.values_type.has_value(); }
};

// The tensor as it lies in the file.
StoredTensor stored(const Tensor& tensor);

struct TensorSet {
  std::string where;  // the file, as messages name it
  TensorMap tensors;
  std::map<std::string, std::set<std::string>> metadata;  // shards may disagree: every value that a key has
  std::vector<LeftAlone> left_alone;                      // seen in a shard, but not part of the checkpoint

  // Whether any name starts with prefix.
  bool has_prefix(const std::string& prefix) const;

  // Takes out the tensors whose names start with prefix, keyed by the rest of their names.
  TensorMap take_prefix(const std::string& prefix);
};

}  // namespace zenwoq::formats
