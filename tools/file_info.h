// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// What a checkpoint holds: its layers with their bits per weight, and what is left in other types and why.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "tools/json_output.h"
#include "tools/layer.h"

namespace zenwoq::tools {

// Weights, and the bytes that they take.
struct WeightBytes {
  std::uint64_t weights = 0;       // numbers, of all experts
  std::uint64_t source_bytes = 0;  // in the file, biases not counted
  std::uint64_t packed_bytes = 0;

  double source_bits() const { return bits(source_bytes); }
  double packed_bits() const { return bits(packed_bytes); }
  void add(const WeightBytes& more);

 private:
  double bits(std::uint64_t bytes) const;  // a weight
};

struct LayerSize {
  LayerInfo info;
  std::string quantization;
  std::size_t experts = 1;
  WeightBytes bytes;
  std::uint64_t biases = 0;  // numbers
};

// Tensors that are left alone for the same reason.
struct LeftAloneSize {
  std::vector<std::string> names;
  std::uint64_t values = 0;  // elements, where the file says how many; a weight of several tensors says nothing
  std::uint64_t bytes = 0;
};

struct FileInfo {
  std::string file;
  std::vector<LayerSize> layers;
  WeightBytes total;                                // of all layers
  std::map<std::string, LeftAloneSize> left_alone;  // by reason
  std::uint64_t biases = 0;                         // numbers, of layers
  std::uint64_t dense_values = 0;                   // numbers in tensors that are left alone as plain numbers

  std::uint64_t parameters() const { return total.weights + biases + dense_values; }
};

// Throws ReadError if the file cannot be opened.
FileInfo read_file_info(const std::string& path);

void print_file_info(const FileInfo& info);
Json file_info_json(const FileInfo& info);

}  // namespace zenwoq::tools
