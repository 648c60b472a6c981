// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// torch's tensors as the C library's arguments.
#pragma once

#include <torch/csrc/inductor/aoti_torch/c/shim.h>
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>

#include <cstddef>
#include <cstdint>
#include <string_view>

#include "python/torch_ops/refusal.h"
#include "zenwoq/zenwoq.h"

namespace zenwoq::torch_ops {

using torch::stable::Tensor;

// The numbers that the running torch gives to types.
struct Types {
  int32_t f32 = aoti_torch_dtype_float32(), f16 = aoti_torch_dtype_float16(), bf16 = aoti_torch_dtype_bfloat16();
  int32_t uint8 = aoti_torch_dtype_uint8(), cpu = aoti_torch_device_type_cpu();
  int32_t int32 = aoti_torch_dtype_int32(), int64 = aoti_torch_dtype_int64();
};

const Types& types();

int32_t dtype_of(const Tensor& tensor);

// Refuses all but float32, float16 and bfloat16.
zenwoq_dtype float_dtype(std::string_view name, const Tensor& tensor);

// Any int; the library knows which of them are activations.
zenwoq_activation checked_activation(int64_t activation);

inline size_t bytes_of(zenwoq_dtype type) { return type == ZENWOQ_F32 ? 4 : 2; }

void check_cpu(std::string_view name, const Tensor& tensor);

// A contiguous uninitialized CPU tensor with x's shape except for the last dimension.
Tensor empty_rows(const Tensor& x, int64_t n, int32_t dtype);

bool has_shape_of_rows(const Tensor& tensor, const Tensor& x, int64_t n);

// A tensor as rows of its last dimension.
struct Rows {
  Tensor tensor;
  size_t m, columns, ld;

  size_t bytes(zenwoq_dtype type) const { return m == 0 ? 0 : ((m - 1) * ld + columns) * bytes_of(type); }
};

Rows as_rows(const Tensor& tensor);

Rows checked_x(const Tensor& x);

// A tensor without gaps.
Tensor dense(const Tensor& tensor);

// Calls compute(where) with a tensor to compute into, y or, as the library does not write f16, one in f32 for it. y
// must be contiguous.
template <typename Compute>
void into(const Tensor& y, const Compute& compute) {
  if (float_dtype("out", y) != ZENWOQ_F16) return compute(y);
  const Tensor wide = empty_rows(y, y.size(y.dim() - 1), types().f32);
  compute(wide);
  STABLE_TORCH_ERROR_CODE_CHECK(aoti_torch_copy_(y.get(), wide.get(), 0));
}

}  // namespace zenwoq::torch_ops
