// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// torch operators over the C library, through libtorch's stable ABI: one binary for every torch from 2.10 on.
//
//   zenwoq::linear(Tensor x, Tensor packed, Tensor? bias, int n) -> Tensor       [..., K] -> [..., n] in x's dtype
//   zenwoq::linear_out(..., *, Tensor(a!) out) -> ()                             the same into out
//
// packed is the self-describing packed weight as a uint8 tensor. Nothing about it is kept from call to call: each
// checks the header (zenwoq_packed_run), so tensors may be moved, mapped, shared, replaced. Fake kernels are in
// zenwoq/torch/_operator.py.
#define TORCH_TARGET_VERSION (((0ULL + 2) << 56) | ((0ULL + 10) << 48))

#include <pthread.h>
#include <torch/csrc/inductor/aoti_torch/c/shim.h>
#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>

#include <atomic>
#include <cstdint>
#include <optional>
#include <sstream>
#include <stdexcept>
#include <vector>

#include "zenwoq/zenwoq.h"

namespace {

using torch::stable::Tensor;

constexpr uint32_t kMaxThreads = 4096;

// libgomp's threads, which torch computes on, are gone in a forked child, and a parallel loop waits for them forever:
// a child computes on the library's own pool, which starts anew there. The handler is registered when this library is
// loaded, because the first call may be the child's.
std::atomic<bool> forked{false};
[[maybe_unused]] const int fork_is_seen = pthread_atfork(nullptr, nullptr, [] { forked = true; });

// zenwoq_parallel_for_fn on torch's intra-op threads.
void run_on_torch_threads(void*, size_t n, void (*task)(void* arg, size_t i), void* arg) {
  struct Loop {
    void (*task)(void* arg, size_t i);
    void* arg;
  } loop{task, arg};
  const auto body = [](int64_t begin, int64_t end, void* context) {
    const Loop& l = *static_cast<const Loop*>(context);
    for (int64_t i = begin; i < end; ++i) l.task(l.arg, static_cast<size_t>(i));
  };
  STABLE_TORCH_ERROR_CODE_CHECK(torch_parallel_for(0, static_cast<int64_t>(n), 1, body, &loop));
}

// Like STD_TORCH_CHECK, but without the place in this file in front of the message.
template <typename... Parts>
void check(bool condition, const Parts&... parts) {
  if (condition) return;
  std::ostringstream text;
  (text << ... << parts);
  throw std::runtime_error(text.str());
}

void require(zenwoq_status status) {
  check(status == ZENWOQ_OK, "zenwoq::linear: ", zenwoq_last_error(), " (", zenwoq_status_name(status), ")");
}

uint32_t torch_threads() {
  uint32_t threads = 1;
  STABLE_TORCH_ERROR_CODE_CHECK(torch_get_num_threads(&threads));
  return threads;
}

// The process's context: one on torch's threads, another one in forked children. Made at the first call, without a lock
// that a fork could leave locked: of several threads that make it, one wins. It is never destroyed, because threads may
// still compute while the process ends.
zenwoq_context* context() {
  static constinit std::atomic<zenwoq_context*> on_torch{nullptr}, on_its_own{nullptr};
  const bool own = forked.load(std::memory_order_relaxed);
  std::atomic<zenwoq_context*>& slot = own ? on_its_own : on_torch;
  zenwoq_context* shared = slot.load(std::memory_order_acquire);
  if (shared != nullptr) return shared;
  zenwoq_context_options options;
  zenwoq_context_options_init(&options);
  options.threads = own ? 0 : kMaxThreads;  // all that the child may use, or torch's: each run says how many
  if (!own) options.parallel_for = run_on_torch_threads;
  zenwoq_context* made = nullptr;
  require(zenwoq_context_create(&options, &made));
  if (slot.compare_exchange_strong(shared, made, std::memory_order_acq_rel)) return made;
  zenwoq_context_destroy(made);
  return shared;
}

// The numbers that the running torch gives to types.
struct Types {
  int32_t f32 = aoti_torch_dtype_float32(), f16 = aoti_torch_dtype_float16(), bf16 = aoti_torch_dtype_bfloat16();
  int32_t uint8 = aoti_torch_dtype_uint8(), cpu = aoti_torch_device_type_cpu();
};

const Types known_types;
const Types& types() { return known_types; }

int32_t dtype_of(const Tensor& tensor) {
  int32_t dtype;
  STABLE_TORCH_ERROR_CODE_CHECK(aoti_torch_get_dtype(tensor.get(), &dtype));
  return dtype;
}

zenwoq_dtype float_dtype(const char* name, const Tensor& tensor) {
  const int32_t dtype = dtype_of(tensor);
  if (dtype == types().bf16) return ZENWOQ_BF16;
  check(dtype == types().f32 || dtype == types().f16, "zenwoq::linear: ", name,
        " must be float32, float16 or bfloat16");
  return dtype == types().f32 ? ZENWOQ_F32 : ZENWOQ_F16;
}

size_t bytes_of(zenwoq_dtype type) { return type == ZENWOQ_F32 ? 4 : 2; }

void check_cpu(const char* name, const Tensor& tensor) {
  int32_t device;
  STABLE_TORCH_ERROR_CODE_CHECK(aoti_torch_get_device_type(tensor.get(), &device));
  check(device == types().cpu, "zenwoq::linear: ", name, " must be on the CPU");
}

// A contiguous uninitialized CPU tensor with x's shape except for the last dimension.
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
  check(error == AOTI_TORCH_SUCCESS, "zenwoq::linear: no memory for an output whose last dimension is n = ", n);
  return Tensor(handle);
}

// A tensor as rows of its last dimension.
struct Rows {
  Tensor tensor;
  size_t m, columns, ld;
};

Rows as_rows(const char* name, const Tensor& tensor) {
  const int64_t dim = tensor.dim();
  check(dim >= 1, "zenwoq::linear: ", name, " must have at least one dimension");
  const auto columns = static_cast<size_t>(tensor.size(dim - 1));
  const size_t m = columns == 0 ? 0 : static_cast<size_t>(tensor.numel()) / columns;
  if (tensor.is_contiguous()) return {tensor, m, columns, columns};
  if (dim == 2 && tensor.stride(1) == 1 && tensor.stride(0) >= static_cast<int64_t>(columns)) {
    return {tensor, m, columns, static_cast<size_t>(tensor.stride(0))};
  }
  return {torch::stable::contiguous(tensor), m, columns, columns};
}

void run(const Rows& x, const Tensor& packed, const std::optional<Tensor>& bias, int64_t n, const Tensor& y,
         zenwoq_dtype y_type) {
  zenwoq_packed weight;
  zenwoq_packed_init(&weight);
  weight.packed = packed.data_ptr();
  weight.packed_bytes = static_cast<size_t>(packed.numel());
  weight.n = static_cast<size_t>(n);
  weight.k = x.columns;

  zenwoq_linear_desc desc;
  zenwoq_linear_desc_init(&desc);
  desc.output_type = y_type;
  std::optional<Tensor> kept;
  if (bias.has_value()) {
    check_cpu("bias", *bias);
    check(bias->dim() == 1 && bias->size(0) == n, "zenwoq::linear: bias must have shape [n], n is ", n);
    kept = bias->is_contiguous() ? *bias : torch::stable::contiguous(*bias);
    desc.bias_type = float_dtype("bias", *kept);
    desc.bias = kept->data_ptr();
    desc.bias_bytes = static_cast<size_t>(n) * bytes_of(desc.bias_type);
  }

  zenwoq_run_args args;
  zenwoq_run_args_init(&args);
  args.m = x.m;
  args.x_type = float_dtype("x", x.tensor);
  args.ldx = x.ld;
  args.threads = torch_threads();
  if (x.m != 0) {
    args.x = x.tensor.data_ptr();
    args.x_bytes = ((x.m - 1) * x.ld + x.columns) * bytes_of(args.x_type);
    args.y = y.data_ptr();
    args.y_bytes = x.m * static_cast<size_t>(n) * bytes_of(y_type);
  }
  const zenwoq_status status = zenwoq_packed_run(context(), &weight, &desc, &args);
  check(status == ZENWOQ_OK, "zenwoq::linear: ", zenwoq_last_error(), "; x has ", x.m, " rows of k = ", x.columns,
        " values (", zenwoq_status_name(status), ")");
}

// y must be contiguous. An f16 y is converted from f32, as the library does not write f16.
void run_into(const Rows& x, const Tensor& packed, const std::optional<Tensor>& bias, int64_t n, const Tensor& y) {
  const zenwoq_dtype type = float_dtype("out", y);
  if (type != ZENWOQ_F16) return run(x, packed, bias, n, y, type);
  const Tensor wide = empty_rows(y, n, types().f32);
  run(x, packed, bias, n, wide, ZENWOQ_F32);
  STABLE_TORCH_ERROR_CODE_CHECK(aoti_torch_copy_(y.get(), wide.get(), 0));
}

// Checks what must be right before an output is made; zenwoq_packed_run checks the rest. n is only what the caller
// says, but each column has more than a byte in packed.
Rows check_inputs(const Tensor& x, const Tensor& packed, int64_t n) {
  check_cpu("x", x);
  (void)float_dtype("x", x);
  check_cpu("packed", packed);
  check(dtype_of(packed) == types().uint8 && packed.dim() == 1 && packed.is_contiguous() && packed.numel() > 0,
        "zenwoq::linear: packed must be a contiguous 1-D uint8 tensor, a packed weight");
  check(n >= 1, "zenwoq::linear: n is ", n, ", must be at least 1");
  check(n <= packed.numel(), "zenwoq::linear: n is ", n, ", packed has ", packed.numel(), " bytes, too few for it");
  return as_rows("x", x);
}

Tensor linear(const Tensor& x, const Tensor& packed, const std::optional<Tensor>& bias, int64_t n) {
  const Rows rows = check_inputs(x, packed, n);
  Tensor y = empty_rows(x, n, dtype_of(x));
  run_into(rows, packed, bias, n, y);
  return y;
}

void linear_out(const Tensor& x, const Tensor& packed, const std::optional<Tensor>& bias, int64_t n,
                const Tensor& out) {
  const Rows rows = check_inputs(x, packed, n);
  check_cpu("out", out);
  const int64_t dim = x.dim();
  bool fits = out.dim() == dim && out.size(dim - 1) == n;
  for (int64_t i = 0; fits && i + 1 < dim; ++i) fits = out.size(i) == x.size(i);
  check(fits, "zenwoq::linear_out: out must have x's shape with n = ", n, " as its last dimension");
  for (int64_t i = 0; i < dim; ++i) {
    check(out.stride(i) != 0 || out.size(i) <= 1, "zenwoq::linear_out: out is expanded along dimension ", i,
          ", its elements must have memory of their own");
  }
  if (out.is_contiguous()) return run_into(rows, packed, bias, n, out);
  const Tensor y = empty_rows(x, n, dtype_of(out));
  run_into(rows, packed, bias, n, y);
  STABLE_TORCH_ERROR_CODE_CHECK(aoti_torch_copy_(out.get(), y.get(), 0));
}

}  // namespace

STABLE_TORCH_LIBRARY(zenwoq, m) {
  m.def("linear(Tensor x, Tensor packed, Tensor? bias, int n) -> Tensor");
  m.def("linear_out(Tensor x, Tensor packed, Tensor? bias, int n, *, Tensor(a!) out) -> ()");
}

STABLE_TORCH_LIBRARY_IMPL(zenwoq, CPU, m) {
  m.impl("linear", TORCH_BOX(&linear));
  m.impl("linear_out", TORCH_BOX(&linear_out));
}
