// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// A quantized matrix that tests write in one format after another, and compare with what comes back.
#pragma once

#include <functional>

#include "tests/support/checkpoint_builder.h"

namespace zenwoq::formats::testing {

// W[n,k] = scale * (code - zero).
struct Quantized {
  std::size_t n, k, group;
  std::vector<unsigned> codes;        // [N,K]
  std::vector<unsigned> zeros;        // [N,G], all 8 of a symmetric one
  std::vector<std::uint16_t> scales;  // [N,G], finite as f16 and as bf16

  Quantized(std::size_t rows, std::size_t columns, std::size_t group_size, bool symmetric = false)
      : n(rows), k(columns), group(group_size) {
    for (std::size_t i = 0; i < n * k; ++i) codes.push_back(mixed(i) & 15u);
    for (std::size_t i = 0; i < n * groups(); ++i) {
      zeros.push_back(symmetric ? 8u : mixed(i + 1000) & 15u);
      scales.push_back(static_cast<std::uint16_t>(0x2000 + (mixed(i + 2000) & 0xFFFu)));
    }
  }
  std::size_t groups() const { return (k + group - 1) / group; }
  unsigned code(std::size_t row, std::size_t column) const {
    return row < n && column < k ? codes[row * k + column] : 0;
  }
  unsigned zero(std::size_t row, std::size_t g) const {
    return row < n && g < groups() ? zeros[row * groups() + g] : 0;
  }
  // As [G,N].
  Bytes scales_by_group() const {
    std::vector<std::uint16_t> values;
    for (std::size_t g = 0; g < groups(); ++g) {
      for (std::size_t row = 0; row < n; ++row) values.push_back(scales[row * groups() + g]);
    }
    return bytes_of(values);
  }

 private:
  static unsigned mixed(std::size_t i) { return static_cast<unsigned>(i * 2654435761u >> 11); }
};

// [rows, columns] words of 32 bits, half byte i of each from at(row, column, i).
inline Bytes words(std::size_t rows, std::size_t columns,
                   const std::function<unsigned(std::size_t, std::size_t, std::size_t)>& at) {
  std::vector<std::uint32_t> all;
  for (std::size_t r = 0; r < rows; ++r) {
    for (std::size_t c = 0; c < columns; ++c) {
      std::uint32_t word = 0;
      for (std::size_t i = 0; i < 8; ++i) word |= at(r, c, i) << (4 * i);
      all.push_back(word);
    }
  }
  return bytes_of(all);
}

inline void expect_equal(const tools::Layer& layer, const Quantized& expected) {
  ASSERT_EQ(layer.info.n, expected.n);
  ASSERT_EQ(layer.info.k, expected.k);
  EXPECT_EQ(layer.info.group(), expected.group);
  EXPECT_EQ(layer.scales, bytes_of(expected.scales));
  std::size_t differing = 0;
  for (std::size_t i = 0; i < expected.n * expected.k; ++i) {
    const std::size_t row = i / expected.k, column = i % expected.k;
    const std::size_t parameter = row * expected.groups() + column / expected.group;
    const int zero = layer.info.zero_kind == ZENWOQ_ZERO_NONE ? 8 : static_cast<int>(layer.zeros.at(parameter));
    const float value = layer.info.table[code_at(layer, row, column)] + 8.0f - static_cast<float>(zero);
    const int wanted = static_cast<int>(expected.codes[i]) - static_cast<int>(expected.zeros[parameter]);
    differing += value == static_cast<float>(wanted) ? 0 : 1;
  }
  EXPECT_EQ(differing, 0u);
}

// model.safetensors beside a config.json with this quantization_config (null: without the file).
inline FileMap model_files(const SafetensorsBuilder& tensors, const nlohmann::json& quantization) {
  FileMap files = {{"model.safetensors", tensors.build()}};
  if (quantization.is_null()) return files;
  const std::string text = nlohmann::json{{"quantization_config", quantization}}.dump();
  files["config.json"] = Bytes(text.begin(), text.end());
  return files;
}

// Why the one weight "m.q" of the model is left alone, or what opening it says; "" if it is a layer.
inline std::string refusal(const SafetensorsBuilder& tensors, const nlohmann::json& quantization) {
  const FileMap files = model_files(tensors, quantization);
  std::string reason;
  const std::string error =
      error_of([&] { reason = reason_for(*open_files(files, "model.safetensors"), "m.q.weight"); });
  return error.empty() ? reason : error;
}

// Opens and loads the model with each byte damaged, of its header and of the configuration: it is read or refused by a
// ReadError, nothing else (the sanitizer builds watch its memory).
inline void expect_damage_is_survived(const SafetensorsBuilder& tensors, const nlohmann::json& quantization) {
  FileMap files = model_files(tensors, quantization);
  const auto error = [&] {
    return error_of([&] {
      const auto checkpoint = open_files(files, "model.safetensors");
      for (std::size_t i = 0; i < checkpoint->layers().size(); ++i) load(*checkpoint, i);
    });
  };
  ASSERT_EQ(error(), "");
  std::size_t refused = 0;
  for (auto& [name, bytes] : files) {
    const std::size_t header = name == "config.json" ? bytes.size() : 8 + view(bytes).read_le<std::uint64_t>(0);
    for (std::size_t at = 0; at < header; ++at) {
      for (const unsigned mask : {0xFFu, 1u << at % 8, 1u << (at + 3) % 8}) {
        bytes[at] = static_cast<std::uint8_t>(bytes[at] ^ mask);
        refused += error().empty() ? 0 : 1;
        bytes[at] = static_cast<std::uint8_t>(bytes[at] ^ mask);
      }
    }
  }
  EXPECT_GT(refused, 100u);
}

}  // namespace zenwoq::formats::testing
