// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
#include "python/torch_ops/tensors.h"

#include <pthread.h>

#include <atomic>
#include <vector>

namespace zenwoq::torch_ops {

namespace {

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

void require(zenwoq_status status) {
  check(status == ZENWOQ_OK, zenwoq_last_error(), " (", zenwoq_status_name(status), ")");
}

const Types known_types;

}  // namespace

uint32_t torch_threads() {
  uint32_t threads = 1;
  STABLE_TORCH_ERROR_CODE_CHECK(torch_get_num_threads(&threads));
  return threads;
}

// Made at the first call, without a lock that a fork could leave locked: of several threads that make it, one wins. It
// is never destroyed, because threads may still compute while the process ends.
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
