// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// Packed weights back to codes, scales and zeros as they came, or to f32 values.
#include <algorithm>
#include <cmath>
#include <cstring>

#include "weight/convert.h"
#include "weight/packed.h"

namespace zenwoq {
namespace {

unsigned code_at(const PackedView& view, std::size_t n, std::size_t k) {
  std::uint32_t lane;
  const std::size_t column = n % kPanelColumns;
  std::memcpy(&lane, view.panel(n / kPanelColumns) + view.header.layout().step(k / kStepK) + column * 4, 4);
  const unsigned pair = (k % kStepK) / 2;
  return (lane >> (16 * (k % 2) + 4 * pair)) & 15u;
}

const std::uint8_t* scale_at(const PackedView& view, std::size_t n, std::size_t g) {
  return view.panel(n / kPanelColumns) + view.header.layout().scales(g) + n % kPanelColumns * view.header.scale_bytes();
}

const std::uint8_t* zero_at(const PackedView& view, std::size_t n, std::size_t g) {
  return view.panel(n / kPanelColumns) + view.header.layout().zeros(g) + n % kPanelColumns * view.header.zero_bytes();
}

int integer_zero(const PackedView& view, std::size_t n, std::size_t g) {
  return 8 - static_cast<std::int8_t>(*zero_at(view, n, g));
}

}  // namespace

void unpack(const PackedView& view, std::uint8_t* codes, std::uint8_t* scales, std::uint8_t* zeros) {
  const PackedHeader& header = view.header;
  const std::size_t row_bytes = (header.k + 1) / 2;
  const std::size_t size = header.scale_bytes();
  for (std::size_t n = 0; n < header.n; ++n) {
    for (std::size_t k = 0; codes != nullptr && k < header.k; k += 2) {
      const unsigned high = k + 1 < header.k ? code_at(view, n, k + 1) : 0;
      codes[n * row_bytes + k / 2] = static_cast<std::uint8_t>(code_at(view, n, k) | (high << 4));
    }
    for (std::size_t g = 0; g < header.groups(); ++g) {
      const std::size_t to = n * header.groups() + g;
      if (scales != nullptr) std::memcpy(scales + to * size, scale_at(view, n, g), size);
      if (zeros == nullptr || header.zero() == ZENWOQ_ZERO_NONE) continue;
      if (header.zero() == ZENWOQ_ZERO_INTEGER) {
        zeros[to] = static_cast<std::uint8_t>(integer_zero(view, n, g));
      } else {
        std::memcpy(zeros + to * size, zero_at(view, n, g), size);
      }
    }
  }
}

void dequantize(const PackedView& view, std::size_t n_begin, std::size_t n_end, float* values) {
  const PackedHeader& header = view.header;
  for (std::size_t n = n_begin; n < n_end; ++n) {
    for (std::size_t g = 0; g < header.groups(); ++g) {
      const float scale = load_as_f32(header.scale(), scale_at(view, n, g), 0);
      float by_code[16];
      for (unsigned code = 0; code < 16; ++code) {
        const float t = header.table[code];
        switch (header.zero()) {
          case ZENWOQ_ZERO_NONE: by_code[code] = scale * t; break;
          case ZENWOQ_ZERO_INTEGER: by_code[code] = scale * (t + static_cast<float>(8 - integer_zero(view, n, g))); break;
          case ZENWOQ_ZERO_OFFSET:
            by_code[code] = std::fma(scale, t, load_as_f32(header.scale(), zero_at(view, n, g), 0));
            break;
        }
      }
      const std::size_t end = std::min<std::size_t>(header.k, (g + 1) * header.group());
      for (std::size_t k = g * header.group(); k < end; ++k) {
        std::memcpy(values + (n - n_begin) * header.k + k, &by_code[code_at(view, n, k)], sizeof(float));  // any alignment
      }
    }
  }
}

}  // namespace zenwoq
