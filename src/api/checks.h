// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// What calls that run something check alike before any byte is written: sizes of matrices, buffers, overlaps, biases,
// pairs of weights.
#pragma once

#include "src/api/boundary.h"

namespace zenwoq {

// Bytes of `rows` >= 1 rows of `columns` elements, `ld` elements apart. Errors: INVALID_ARGUMENT, OVERFLOW.
Status matrix_bytes(const char* name, std::size_t rows, std::size_t columns, std::size_t ld, std::size_t element_bytes,
                    std::size_t* bytes);

Status check_buffer(const char* name, const void* data, std::size_t bytes, std::size_t needed);
// Where a packed weight is written.
Status check_packed_output(const void* packed, std::size_t bytes, const PackedHeader& header);

bool overlap(const void* a, std::size_t a_bytes, const void* b, std::size_t b_bytes);
// What is written against something that is only read; data may be NULL.
Status check_y_apart(const void* y, std::size_t y_bytes, const char* name, const void* data, std::size_t bytes);

// f32, f16 or bf16. what: "x_type".
Status check_float_type(const char* what, zenwoq_dtype type);

// count values of a bias, where there is one.
Status check_bias(const char* name, const void* bias, std::size_t bytes, zenwoq_dtype type, std::size_t count);

// Whether two weights can be the gate and up of one product. Errors: INVALID_ARGUMENT.
Status check_pair(const PackedView& gate, const PackedView& up);
// Whether one weight holds both in its halves.
Status check_halves(const PackedHeader& weight);

// Makes the layer, which has the gate, a gated one.
void add_up(const PackedView& up, Layer* layer);
void add_lower_half(Layer* layer);

}  // namespace zenwoq
