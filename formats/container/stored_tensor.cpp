// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// Values of stored tensors: copied, widened or unpacked.
#include "formats/container/stored_tensor.h"

#include <cstring>
#include <utility>

#include "formats/container/floats.h"

namespace zenwoq::formats {

std::uint64_t StoredTensor::values() const {
  return unpack != nullptr ? data.size() / block_bytes * block_values : data.size() / float_bytes(*values_type);
}

StoredTensor stored_floats(std::string type, std::vector<std::uint64_t> shape, ByteView data,
                           std::optional<zenwoq_dtype> float_type) {
  StoredTensor tensor;
  tensor.type = std::move(type);
  tensor.shape = std::move(shape);
  tensor.data = data;
  if (tensor.shape.size() <= max_rank) tensor.values_type = float_type;
  return tensor;
}

void copy_floats(zenwoq_dtype from, const std::uint8_t* floats, std::size_t count, zenwoq_dtype to, std::uint8_t* out) {
  if (from == to) {
    if (count != 0) std::memcpy(out, floats, count * float_bytes(from));
    return;
  }
  for (std::size_t i = 0; i < count; ++i) {
    const float value = float_at(from, floats, i);
    std::memcpy(out + i * sizeof value, &value, sizeof value);
  }
}

void copy_values(const StoredTensor& tensor, zenwoq_dtype type, std::uint8_t* out) {
  if (tensor.unpack == nullptr) {
    copy_floats(*tensor.values_type, tensor.data.data(), tensor.values(), type, out);
    return;
  }
  float values[largest_block];
  const std::size_t blocks = tensor.data.size() / tensor.block_bytes;
  for (std::size_t block = 0; block < blocks; ++block) {
    tensor.unpack(tensor.data.data() + block * tensor.block_bytes, values);
    const std::size_t bytes = tensor.block_values * sizeof(float);
    std::memcpy(out + block * bytes, values, bytes);
  }
}

}  // namespace zenwoq::formats
