// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// Blocks as gguf-py 0.19 (gguf/quants.py) dequantizes them, every f32 operation in its order. f16 values are multiples
// of 2^-24 and so is all that is made of them: no denormal f32, so that no mode of the FPU matters.
#include "formats/container/ggml_blocks.h"

#include <cstring>

#include "formats/container/floats.h"

namespace zenwoq::formats {
namespace {

float half_at(const std::uint8_t* bytes) { return float_at(ZENWOQ_F16, bytes, 0); }

// Bits `shift` and up of the value, as many as `bits`.
int field(unsigned value, unsigned shift, unsigned bits) {
  return static_cast<int>((value >> shift) & ((1u << bits) - 1u));
}

// Value i of blocks of 32 codes of 5 bits: the low four of codes i and i + 16 in byte i, the fifth in bit i of a word.
int code_of_5_bits(const std::uint8_t* high, const std::uint8_t* low, unsigned i) {
  return field(low[i % 16], i / 16 * 4, 4) | field(high[i / 8], i % 8, 1) << 4;
}

// f16 scale, 4 bytes of high bits, 16 of low bits.
void unpack_q5_0(const std::uint8_t* block, float* values) {
  const float scale = half_at(block);
  for (unsigned i = 0; i < 32; ++i) {
    values[i] = scale * static_cast<float>(code_of_5_bits(block + 2, block + 6, i) - 16);
  }
}

// f16 scale, f16 minimum, codes as above.
void unpack_q5_1(const std::uint8_t* block, float* values) {
  const float scale = half_at(block), minimum = half_at(block + 2);
  for (unsigned i = 0; i < 32; ++i) {
    const float product = scale * static_cast<float>(code_of_5_bits(block + 4, block + 8, i));
    values[i] = product + minimum;
  }
}

// f16 scale, 32 signed bytes.
void unpack_q8_0(const std::uint8_t* block, float* values) {
  const float scale = half_at(block);
  for (unsigned i = 0; i < 32; ++i) values[i] = static_cast<float>(static_cast<std::int8_t>(block[2 + i])) * scale;
}

// Element i of 256 fields of `bits` bits: each run of 32 bytes has 32 fields, then the 32 in the next bits, and so on.
int field_of_256(const std::uint8_t* bytes, unsigned i, unsigned bits) {
  const unsigned run = 32 * 8 / bits;
  return field(bytes[i / run * 32 + i % 32], i % run / 32 * bits, bits);
}

// 16 bytes of scale and minimum in 4 bits each, 64 of codes, f16 of the scales, f16 of the minima.
void unpack_q2_k(const std::uint8_t* block, float* values) {
  const float scale = half_at(block + 80), minimum = half_at(block + 82);
  for (unsigned i = 0; i < 256; ++i) {
    const std::uint8_t parameters = block[i / 16];
    const float product = scale * static_cast<float>(field(parameters, 0, 4));
    const float offset = minimum * static_cast<float>(field(parameters, 4, 4));
    const float value = product * static_cast<float>(field_of_256(block + 16, i, 2));
    values[i] = value - offset;
  }
}

// 32 bytes of high bits, 64 of low ones, 12 of scales in 6 bits, f16 of the scales. A high bit of 1 stands for 0.
void unpack_q3_k(const std::uint8_t* block, float* values) {
  const std::uint8_t* scales = block + 96;
  const float scale = half_at(block + 108);
  for (unsigned i = 0; i < 256; ++i) {
    const unsigned group = i / 16;
    const int step = field(scales[group % 8], group / 8 * 4, 4) | field(scales[8 + group % 4], group / 4 * 2, 2) << 4;
    const int code = field_of_256(block + 32, i, 2) - 4 * (1 - field_of_256(block, i, 1));
    const float product = scale * static_cast<float>(step - 32);
    values[i] = product * static_cast<float>(code);
  }
}

// 6-bit parameter of group `group`, whose first four are in 4 bytes, and the low bits of the other four in `rest`.
int six_bits(const std::uint8_t* first, const std::uint8_t* rest, unsigned rest_shift, unsigned group) {
  if (group < 4) return field(first[group], 0, 6);
  return field(rest[group - 4], rest_shift, 4) | field(first[group - 4], 6, 2) << 4;
}

// f16 of the scales, f16 of the minima, 12 bytes of both in 6 bits, 32 of high bits, 128 of low ones.
void unpack_q5_k(const std::uint8_t* block, float* values) {
  const float scale = half_at(block), minimum = half_at(block + 2);
  const std::uint8_t* parameters = block + 4;
  for (unsigned i = 0; i < 256; ++i) {
    const unsigned group = i / 32;
    const float product = scale * static_cast<float>(six_bits(parameters, parameters + 8, 0, group));
    const float offset = minimum * static_cast<float>(six_bits(parameters + 4, parameters + 8, 4, group));
    const int code = field_of_256(block + 48, i, 4) | field_of_256(block + 16, i, 1) << 4;
    const float value = product * static_cast<float>(code);
    values[i] = value - offset;
  }
}

// 128 bytes of low bits, of which each run of 64 has 128 codes, 64 of high bits, 16 signed scales, f16 of the scales.
void unpack_q6_k(const std::uint8_t* block, float* values) {
  const float scale = half_at(block + 208);
  for (unsigned i = 0; i < 256; ++i) {
    const int low = field(block[i / 128 * 64 + i % 64], i % 128 / 64 * 4, 4);
    const int code = low | field_of_256(block + 128, i, 2) << 4;
    const float product = scale * static_cast<float>(static_cast<std::int8_t>(block[192 + i / 16]));
    values[i] = product * static_cast<float>(code - 32);
  }
}

}  // namespace

UnpackBlock* find_unpack(std::uint32_t ggml_type) {
  switch (ggml_type) {
    case 6: return unpack_q5_0;
    case 7: return unpack_q5_1;
    case 8: return unpack_q8_0;
    case 10: return unpack_q2_k;
    case 11: return unpack_q3_k;
    case 13: return unpack_q5_k;
    case 14: return unpack_q6_k;
    default: return nullptr;
  }
}

}  // namespace zenwoq::formats
