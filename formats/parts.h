// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// What formats share: the parts of one weight, checked for type and shape, its groups, and the layer's bias.
#pragma once

#include <string>
#include <vector>

#include "formats/container/tensor_set.h"
#include "formats/layer.h"

namespace zenwoq::formats {

// The part with this name ("qdata"); throws ReadError if it is missing.
const Tensor& require_part(const TensorMap& parts, const std::string& part, const std::string& where);

// Throws ReadError unless the part has this shape.
void require_shape(const Tensor& tensor, const std::string& part, const std::vector<std::uint64_t>& shape,
                   const std::string& where);

// Throws ReadError unless the part has this dtype.
void require_dtype(const Tensor& tensor, const std::string& part, const std::string& dtype, const std::string& where);

// Why a layer with this bias cannot be imported, namely its type; empty if it can, or if there is no such tensor.
std::string bias_reason(const TensorSet& set, const std::string& bias_name);

// Takes the bias, if there is one, out of the set and gives it to the layer. Throws ReadError unless it is [N].
void take_bias(TensorSet& set, const std::string& bias_name, LayerSource& layer);

// Why weights in groups of this size cannot be imported; empty if they can.
std::string group_reason(std::uint64_t group, std::uint64_t k);

// The group size in zenwoq's terms: 0 if a group is a whole row.
inline std::size_t group_size_or_channel(std::size_t group, std::size_t k) { return group == k ? 0 : group; }

}  // namespace zenwoq::formats
