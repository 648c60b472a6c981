// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
#include "python/torch_ops/tensors.h"

#include <vector>

namespace zenwoq::torch_ops {

namespace {

// Made when the library is loaded, before any operator can be called.
const Types known_types;

}  // namespace

const Types& types() { return known_types; }

int32_t dtype_of(const Tensor& tensor) {
  int32_t dtype;
  STABLE_TORCH_ERROR_CODE_CHECK(aoti_torch_get_dtype(tensor.get(), &dtype));
  return dtype;
}

zenwoq_dtype float_dtype(std::string_view name, const Tensor& tensor) {
  const int32_t dtype = dtype_of(tensor);
  if (dtype == types().bf16) return ZENWOQ_BF16;
  check(dtype == types().f32 || dtype == types().f16, name, " must be float32, float16 or bfloat16");
  return dtype == types().f32 ? ZENWOQ_F32 : ZENWOQ_F16;
}

zenwoq_activation checked_activation(int64_t activation) {
  const auto known = static_cast<int>(activation);
  check(activation == known, "activation is ", activation, ", no value of zenwoq_activation");
  return static_cast<zenwoq_activation>(known);
}

void check_cpu(std::string_view name, const Tensor& tensor) {
  int32_t device;
  STABLE_TORCH_ERROR_CODE_CHECK(aoti_torch_get_device_type(tensor.get(), &device));
  check(device == types().cpu, name, " must be on the CPU");
}

Tensor empty_rows(const Tensor& x, int64_t n, int32_t dtype) {
  const int64_t dim = x.dim();
  int64_t* x_sizes;
  STABLE_TORCH_ERROR_CODE_CHECK(aoti_torch_get_sizes(x.get(), &x_sizes));
  std::vector<int64_t> sizes(x_sizes, x_sizes + dim);
  std::vector<int64_t> strides(static_cast<size_t>(dim), 1);
  sizes.back() = n;
  for (int64_t i = dim - 2; i >= 0; --i) strides[i] = strides[i + 1] * (sizes[i + 1] > 0 ? sizes[i + 1] : 1);
  AtenTensorHandle handle;
  const AOTITorchError error =
      aoti_torch_empty_strided(dim, sizes.data(), strides.data(), dtype, types().cpu, 0, &handle);
  check(error == AOTI_TORCH_SUCCESS, "no memory for an output whose last dimension is n = ", n);
  return Tensor(handle);
}

bool has_shape_of_rows(const Tensor& tensor, const Tensor& x, int64_t n) {
  const int64_t dim = x.dim();
  bool fits = tensor.dim() == dim && tensor.size(dim - 1) == n;
  for (int64_t i = 0; fits && i + 1 < dim; ++i) fits = tensor.size(i) == x.size(i);
  return fits;
}

Rows as_rows(const Tensor& tensor) {
  const int64_t dim = tensor.dim();
  const auto columns = static_cast<size_t>(tensor.size(dim - 1));
  const size_t m = columns == 0 ? 0 : static_cast<size_t>(tensor.numel()) / columns;
  if (tensor.is_contiguous()) return {tensor, m, columns, columns};
  if (dim == 2 && tensor.stride(1) == 1 && tensor.stride(0) >= static_cast<int64_t>(columns)) {
    return {tensor, m, columns, static_cast<size_t>(tensor.stride(0))};
  }
  return {torch::stable::contiguous(tensor), m, columns, columns};
}

Rows checked_x(const Tensor& x) {
  check_cpu("x", x);
  (void)float_dtype("x", x);
  check(x.dim() >= 1, "x must have at least one dimension");
  return as_rows(x);
}

Tensor dense(const Tensor& tensor) { return tensor.is_contiguous() ? tensor : torch::stable::contiguous(tensor); }

}  // namespace zenwoq::torch_ops
