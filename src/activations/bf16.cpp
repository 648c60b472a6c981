// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// Rows to bf16 or to what bf16 holds in f32, their columns as they are or arranged for a weight.
#include <algorithm>
#include <cstring>

#include "jit/mxcsr.h"
#include "jit/number.h"
#include "src/activations/activations.h"

namespace zenwoq {
namespace {

template <zenwoq_dtype kType, zenwoq_dtype kTo>  // constants for the loop, which the compiler then vectorises
void convert(const std::uint8_t* __restrict x, std::uint64_t count, std::uint8_t* __restrict out) {
  for (std::uint64_t i = 0; i < count; ++i) {
    const std::uint16_t bits = f32_to_bf16(load_as_f32(kType, x, i));
    if (kTo == ZENWOQ_F32) {
      const std::uint32_t wide = std::uint32_t{bits} << 16;
      std::memcpy(out + i * 4, &wide, 4);
    } else {
      std::memcpy(out + i * 2, &bits, 2);
    }
  }
}

template <typename T>
T load(const std::uint8_t* array, std::uint64_t i) {
  T value;
  std::memcpy(&value, array + i * sizeof value, sizeof value);
  return value;
}

// Bits of element i, rounded to bf16. One that is bf16 stays as it is.
template <zenwoq_dtype kType>
std::uint16_t bf16_at(const std::uint8_t* x, std::uint64_t i) {
  if constexpr (kType == ZENWOQ_BF16) return load<std::uint16_t>(x, i);
  return f32_to_bf16(load_as_f32(kType, x, i));
}

template <zenwoq_dtype kType, zenwoq_dtype kTo>
__attribute__((noinline))  // keeps the products inside the MXCSR scope of the caller
void arrange(const std::uint8_t* x, std::uint64_t count, const ColumnArrangement& columns, std::uint8_t* out) {
  for (std::uint64_t j = 0; j < count; ++j) {
    // The permutation may lie in a file that somebody changes: whatever it says, the row is not left.
    const std::uint64_t i = columns.permutation == nullptr
                                ? j
                                : std::min<std::uint64_t>(load<std::uint32_t>(columns.permutation, j), count - 1);
    std::uint16_t bits = bf16_at<kType>(x, i);
    if (columns.scale != nullptr) bits = f32_to_bf16(bf16_to_f32(bits) * load<float>(columns.scale, i));
    if (kTo == ZENWOQ_F32) {
      const std::uint32_t wide = std::uint32_t{bits} << 16;
      std::memcpy(out + j * 4, &wide, 4);
    } else {
      std::memcpy(out + j * 2, &bits, 2);
    }
  }
}

// bf16 to f32 is no rounding: NaN and all stay as they are.
void expand(const std::uint8_t* __restrict x, std::uint64_t count, std::uint8_t* __restrict out) {
  for (std::uint64_t i = 0; i < count; ++i) {
    std::uint16_t bits;
    std::memcpy(&bits, x + i * 2, 2);
    const std::uint32_t wide = std::uint32_t{bits} << 16;
    std::memcpy(out + i * 4, &wide, 4);
  }
}

// Rows in f32 end with a whole step.
void complete_row(std::uint64_t count, std::uint8_t* out) {
  std::memset(out + count * 4, 0, (kStepK - count % kStepK) % kStepK * 4);
}

}  // namespace

void convert_row(zenwoq_dtype x_type, const std::uint8_t* x, std::uint64_t count, zenwoq_dtype kernel_type,
                 std::uint8_t* out) {
  if (kernel_type == ZENWOQ_BF16) {
    x_type == ZENWOQ_F32 ? convert<ZENWOQ_F32, ZENWOQ_BF16>(x, count, out)
                         : convert<ZENWOQ_F16, ZENWOQ_BF16>(x, count, out);
    return;
  }
  x_type == ZENWOQ_F32   ? convert<ZENWOQ_F32, ZENWOQ_F32>(x, count, out)
  : x_type == ZENWOQ_F16 ? convert<ZENWOQ_F16, ZENWOQ_F32>(x, count, out)
                         : expand(x, count, out);
  complete_row(count, out);
}

void arrange_row(zenwoq_dtype x_type, const std::uint8_t* x, std::uint64_t count, const ColumnArrangement& columns,
                 zenwoq_dtype kernel_type, std::uint8_t* out) {
  const MxcsrScope contract(MxcsrScope::kContract);
  const auto arrange_as = [&]<zenwoq_dtype kTo>() {
    x_type == ZENWOQ_F32   ? arrange<ZENWOQ_F32, kTo>(x, count, columns, out)
    : x_type == ZENWOQ_F16 ? arrange<ZENWOQ_F16, kTo>(x, count, columns, out)
                           : arrange<ZENWOQ_BF16, kTo>(x, count, columns, out);
  };
  if (kernel_type == ZENWOQ_BF16) return arrange_as.template operator()<ZENWOQ_BF16>();
  arrange_as.template operator()<ZENWOQ_F32>();
  complete_row(count, out);
}

}  // namespace zenwoq
