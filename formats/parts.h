// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// What formats share: the parts of one weight, checked for type and shape, its groups, and the layer's bias.
#pragma once

#include <cstring>
#include <initializer_list>
#include <string>
#include <string_view>
#include <vector>

#include "formats/container/tensor_set.h"
#include "formats/layer.h"

namespace zenwoq::formats {

// The part with this name ("qdata"); throws ReadError if it is missing.
const Tensor& require_part(const TensorMap& parts, const std::string& part, const std::string& where);

// The names P of all tensors P + suffix, in order.
std::vector<std::string> names_before(const TensorSet& set, std::string_view suffix);

// Takes the tensors that are called layer.PART out of the set, keyed by PART; those that are not there are left out.
TensorMap take_parts(TensorSet& set, const std::string& layer, std::initializer_list<const char*> parts);

// Whether part has this shape; for parts whose shape tells formats apart.
inline bool is_matrix(const Tensor& tensor, std::uint64_t rows, std::uint64_t columns) {
  return tensor.shape == std::vector<std::uint64_t>{rows, columns};
}

// Element [row, column] of a matrix of 32-bit words; there must be one.
inline std::uint32_t word_at(const Tensor& words, std::size_t row, std::size_t column) {
  std::uint32_t word;
  std::memcpy(&word, words.data.data() + 4 * (row * words.shape[1] + column), sizeof word);
  return word;
}

// Codes in words of 32 bits: how many a word has, words for so many, and the code of half byte i.
inline constexpr std::size_t word_codes = 8;
inline std::uint64_t words_for(std::uint64_t codes) { return codes / word_codes + (codes % word_codes != 0 ? 1 : 0); }
inline std::uint8_t half_byte(std::uint32_t word, std::size_t i) {
  return static_cast<std::uint8_t>((word >> (4 * i)) & 15u);
}

// [rows, columns] elements of so many bytes each -> [columns, rows].
std::vector<std::uint8_t> transposed(ByteView matrix, std::size_t rows, std::size_t columns, std::size_t element_bytes);

// Throws ReadError unless the part has this shape.
void require_shape(const Tensor& tensor, const std::string& part, const std::vector<std::uint64_t>& shape,
                   const std::string& where);

// Throws ReadError unless the part has this dtype.
void require_dtype(const Tensor& tensor, const std::string& part, const std::string& dtype, const std::string& where);

// Columns in the order of their groups. Of columns that lie so already it is empty.
struct ColumnOrder {
  std::vector<std::uint32_t> permutation;
  std::string reason;  // why g_idx says no order: groups out of range, or of unequal length
};

// g_idx: I32 [k], the group of each column. Throws ReadError for another type or shape.
ColumnOrder read_order(const Tensor& g_idx, std::uint64_t k, std::uint64_t group, const std::string& part,
                       const std::string& where);

// Why codes [N, K/2], two a byte, with scales "weight_scale" of groups of this size cannot be imported; empty if they
// can. part: what the tensor of codes is called.
std::string fp4_reason(const Tensor& codes, const char* part, const Tensor& scales, std::uint64_t group);

// A layer of E2M1 codes: mxfp4 has scales in E8M0 of groups of 32, nvfp4 in E4M3 of groups of 16. What both are for the
// shape is the caller's to check.
std::unique_ptr<PlainLayer> make_fp4(const Tensor& codes, const Tensor& scales, zenwoq_dtype scale_type,
                                     const std::string& where);

// Gives the layer one number by which all scales are multiplied or divided. Throws ReadError unless it is one.
void set_tensor_scale(const Tensor& tensor_scale, zenwoq_tensor_scale_kind kind, LayerSource& layer);

// Why a layer with this bias cannot be imported, namely its type; empty if it can, or if there is no such tensor.
std::string bias_reason(const TensorSet& set, const std::string& bias_name);

// Takes the bias, if there is one, out of the set and gives it to the layer. Throws ReadError unless it is [N].
void take_bias(TensorSet& set, const std::string& bias_name, LayerSource& layer);

// Why weights in groups of this size cannot be imported; empty if they can.
std::string group_reason(std::uint64_t group, std::uint64_t k);

// Puts the layer into found, with its bias, or why it is left alone. make() gives it or throws ReadError; it is called
// if there is no reason yet.
template <typename Make>
void add_layer(TensorSet& set, const std::string& name, std::string reason, Make make, FoundLayers& found) {
  const std::string bias_name = name + ".bias";
  std::unique_ptr<LayerSource> layer;
  if (reason.empty()) reason = bias_reason(set, bias_name);
  if (reason.empty()) {
    layer = make();
    reason = group_reason(group_of(layer->desc), layer->desc.k);
  }
  if (!reason.empty()) {
    found.left_alone.push_back({name + ".weight", std::move(reason)});
    return;
  }
  layer->name = name;
  take_bias(set, bias_name, *layer);
  found.layers.push_back(std::move(layer));
}

// The group size in zenwoq's terms: 0 if a group is a whole row.
inline std::size_t group_size_or_channel(std::size_t group, std::size_t k) { return group == k ? 0 : group; }

}  // namespace zenwoq::formats
