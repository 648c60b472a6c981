// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
#include "src/api/checks.h"

#include <cstring>

#include "jit/number.h"

namespace zenwoq {
Status matrix_bytes(const char* name, std::size_t rows, std::size_t columns, std::size_t ld, std::size_t element_bytes,
                    std::size_t* bytes) {
  if (ld < columns) return invalid("ld{} is {}, a row has {} elements", name, ld, columns);
  const bool overflow = __builtin_mul_overflow(rows - 1, ld, bytes) || __builtin_add_overflow(*bytes, columns, bytes) ||
                        __builtin_mul_overflow(*bytes, element_bytes, bytes) || *bytes > PTRDIFF_MAX;
  if (overflow) return {ZENWOQ_ERROR_OVERFLOW, formatted("{}: {} rows of ld{} = {} overflow", name, rows, name, ld)};
  return {};
}

Status check_buffer(const char* name, const void* data, std::size_t bytes, std::size_t needed) {
  if (data == nullptr) return invalid("{} is NULL, {} bytes are needed", name, needed);
  if (bytes < needed) {
    return {ZENWOQ_ERROR_BUFFER_TOO_SMALL, formatted("{}_bytes is {}, {} are needed", name, bytes, needed)};
  }
  return {};
}

Status check_packed_output(const void* packed, std::size_t bytes, const PackedHeader& header) {
  if (packed == nullptr) return invalid("packed is NULL");
  if (reinterpret_cast<std::uintptr_t>(packed) % ZENWOQ_PACKED_ALIGNMENT != 0) {
    return invalid("packed at {}: must be 64-byte aligned", packed);
  }
  return check_buffer("packed", packed, bytes, header.total_bytes);
}

bool overlap(const void* a, std::size_t a_bytes, const void* b, std::size_t b_bytes) {
  const auto a0 = reinterpret_cast<std::uintptr_t>(a);
  const auto b0 = reinterpret_cast<std::uintptr_t>(b);
  return a_bytes != 0 && b_bytes != 0 && a0 < b0 + b_bytes && b0 < a0 + a_bytes;
}

Status check_y_apart(const void* y, std::size_t y_bytes, const char* name, const void* data, std::size_t bytes) {
  if (data == nullptr || !overlap(y, y_bytes, data, bytes)) return {};
  return invalid("y at {} overlaps {} at {}", y, name, data);
}

Status check_float_type(const char* what, zenwoq_dtype type) {
  if (is_dtype(type)) return {};
  return invalid("{} {}: must be ZENWOQ_F32 (1), ZENWOQ_F16 (2) or ZENWOQ_BF16 (3)", what, static_cast<int>(type));
}

Status check_bias(const char* name, const void* bias, std::size_t bytes, zenwoq_dtype type, std::size_t count) {
  if (bias == nullptr) return {};
  if (Status status = check_float_type("bias_type", type); !status.ok()) return status;
  std::size_t needed = 0;
  if (__builtin_mul_overflow(count, dtype_bytes(type), &needed)) {
    return {ZENWOQ_ERROR_OVERFLOW, formatted("{} of {} values overflows", name, count)};
  }
  return check_buffer(name, bias, bytes, needed);
}

Status check_pair(const PackedView& gate, const PackedView& up) {
  const PackedHeader &g = gate.header, &u = up.header;
  if (g.n != u.n || g.k != u.k) return invalid("gate is [{}, {}], up [{}, {}]: must be equal", g.n, g.k, u.n, u.k);
  if (!quantized_alike(g, u)) return invalid("gate is {}, up {}: must be quantized alike", g.text(), u.text());
  if (!same_array(gate.permutation(), up.permutation(), g.k * sizeof(std::uint32_t))) {
    return invalid("gate and up: columns must be permuted alike");
  }
  if (!same_array(gate.x_scale(), up.x_scale(), g.k * sizeof(float))) {
    return invalid("gate and up: must have the same factors of columns");
  }
  return {};
}

Status check_halves(const PackedHeader& weight) {
  if (weight.n % (2 * kPanelColumns) == 0) return {};
  return invalid("halves of a weight with n = {}: must be a multiple of {}", weight.n, 2 * kPanelColumns);
}

void add_up(const PackedView& up, Layer* layer) {
  layer->up.panels = up.panel(0);
  layer->up.tensor_scale = up.header.tensor_scale;
}

void add_lower_half(Layer* layer) {
  layer->n /= 2;
  layer->up.panels = layer->weight.panel(layer->n / kPanelColumns);
  layer->up.tensor_scale = layer->weight.header.tensor_scale;
}

}  // namespace zenwoq
