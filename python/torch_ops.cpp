// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// torch operators over the C library, through libtorch's stable ABI: one binary for every torch from 2.10 on.
//
//   zenwoq::linear(Tensor x, Tensor packed, Tensor? bias, int n) -> Tensor       [..., K] -> [..., n] in x's dtype
//   zenwoq::linear_out(..., *, Tensor(a!) out) -> ()                             the same into out
//   zenwoq::linear_fused(..., int activation, Tensor? factor, Tensor[] residuals) -> Tensor
//       activation(x W^T + bias) * factor + residuals[0] + residuals[1], rounded once; matrices as the result, in x's
//       dtype
//   zenwoq::gated(Tensor x, Tensor gate, Tensor? up, Tensor? gate_bias, Tensor? up_bias, int n, int activation) ->
//   Tensor
//       activation(x Wgate^T + gate_bias) * (x Wup^T + up_bias), rounded once; without up, gate has n rows of each
//   zenwoq::linears(Tensor x, Tensor[] packed, Tensor?[] bias, int[] n) -> Tensor[]
//       one product for each weight, as if each were run alone
//   zenwoq::three_linears(Tensor x, Tensor a, Tensor? a_bias, int a_n, Tensor b, Tensor? b_bias, int b_n, Tensor c,
//   Tensor? c_bias, int c_n) -> (Tensor, Tensor, Tensor)
//       the same for three, without lists, which torch hands over slowly
//   zenwoq::experts(Tensor x, Tensor ids, Tensor router, Tensor gate, Tensor? up, Tensor down, Tensor? gate_bias,
//   Tensor? up_bias, Tensor? down_bias, int intermediate, int activation) -> Tensor
//       the experts of a mixture of experts (zenwoq_packed_experts_run): x [..., H], ids and router [..., slots];
//       packed weights [E, bytes], biases [E, n]; without up, gate has 2 * intermediate rows
//
// activation is a zenwoq_activation. packed is the self-describing packed weight as a uint8 tensor. Nothing about it is
// kept from call to call: each checks the header (zenwoq_packed_run), so tensors may be moved, mapped, shared,
// replaced. Fake kernels are in zenwoq/torch/_operator.py.
#define TORCH_TARGET_VERSION (((0ULL + 2) << 56) | ((0ULL + 10) << 48))

#include <pthread.h>
#include <torch/csrc/inductor/aoti_torch/c/shim.h>
#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>

#include <array>
#include <atomic>
#include <cstdint>
#include <list>
#include <optional>
#include <span>
#include <sstream>
#include <stdexcept>
#include <string>
#include <string_view>
#include <tuple>
#include <vector>

#include "zenwoq/zenwoq.h"

namespace {

using torch::stable::Tensor;

constexpr uint32_t kMaxThreads = 4096;
constexpr size_t kMaxResiduals = 2;

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

// Why an operator does not compute.
struct Refusal : std::runtime_error {
  using std::runtime_error::runtime_error;
};

// Like STD_TORCH_CHECK, but without the place in this file in front of the message.
template <typename... Parts>
void check(bool condition, const Parts&... parts) {
  if (condition) return;
  std::ostringstream text;
  (text << ... << parts);
  throw Refusal(text.str());
}

// What an operator does; refusals get its name in front.
template <typename Body>
auto in_operator(const char* name, const Body& body) {
  try {
    return body();
  } catch (const Refusal& refusal) {
    throw std::runtime_error(std::string("zenwoq::") + name + ": " + refusal.what());
  }
}

void require(zenwoq_status status) {
  check(status == ZENWOQ_OK, zenwoq_last_error(), " (", zenwoq_status_name(status), ")");
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
  int32_t int32 = aoti_torch_dtype_int32(), int64 = aoti_torch_dtype_int64();
};

const Types known_types;
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

// Any int; the library knows which of them are activations.
zenwoq_activation checked_activation(int64_t activation) {
  const auto known = static_cast<int>(activation);
  check(activation == known, "activation is ", activation, ", no value of zenwoq_activation");
  return static_cast<zenwoq_activation>(known);
}

size_t bytes_of(zenwoq_dtype type) { return type == ZENWOQ_F32 ? 4 : 2; }

void check_cpu(std::string_view name, const Tensor& tensor) {
  int32_t device;
  STABLE_TORCH_ERROR_CODE_CHECK(aoti_torch_get_device_type(tensor.get(), &device));
  check(device == types().cpu, name, " must be on the CPU");
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
  check(error == AOTI_TORCH_SUCCESS, "no memory for an output whose last dimension is n = ", n);
  return Tensor(handle);
}

bool has_shape_of_rows(const Tensor& tensor, const Tensor& x, int64_t n) {
  const int64_t dim = x.dim();
  bool fits = tensor.dim() == dim && tensor.size(dim - 1) == n;
  for (int64_t i = 0; fits && i + 1 < dim; ++i) fits = tensor.size(i) == x.size(i);
  return fits;
}

// A tensor as rows of its last dimension.
struct Rows {
  Tensor tensor;
  size_t m, columns, ld;

  size_t bytes(zenwoq_dtype type) const { return m == 0 ? 0 : ((m - 1) * ld + columns) * bytes_of(type); }
};

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

// Checks what must be right before an output is made; the library checks the rest. n is only what the caller says, but
// each column has more than a byte in packed.
void check_packed(const char* name, const Tensor& packed, int64_t n) {
  check_cpu(name, packed);
  check(dtype_of(packed) == types().uint8 && packed.dim() == 1 && packed.is_contiguous() && packed.numel() > 0, name,
        " must be a contiguous 1-D uint8 tensor, a packed weight");
  check(n >= 1, "n is ", n, ", must be at least 1");
  check(n <= packed.numel(), "n is ", n, ", ", name, " has ", packed.numel(), " bytes, too few for it");
}

// One product: the structs of a call of the library, and the tensors that they point into.
class Product {
 public:
  // y must be contiguous and not f16.
  Product(const Rows& x, const Tensor& packed, int64_t n, const Tensor& y) : x_(x), y_type_(float_dtype("out", y)) {
    zenwoq_packed_init(&packed_);
    fill(&packed_, packed, n);
    zenwoq_linear_desc_init(&desc_);
    desc_.output_type = y_type_;
    zenwoq_run_args_init(&args_);
    args_.m = x.m;
    args_.x_type = float_dtype("x", x.tensor);
    args_.ldx = x.ld;
    args_.threads = torch_threads();
    if (x.m == 0) return;
    args_.x = x.tensor.data_ptr();
    args_.x_bytes = x.bytes(args_.x_type);
    args_.y = y.data_ptr();
    args_.y_bytes = static_cast<size_t>(y.numel()) * bytes_of(y_type_);
  }
  Product(const Product&) = delete;
  Product& operator=(const Product&) = delete;

  void set_bias(const char* name, const std::optional<Tensor>& bias, int64_t n) {
    if (!bias.has_value()) return;
    desc_.bias = checked_bias(name, *bias, n, &desc_.bias_type);
    desc_.bias_bytes = static_cast<size_t>(n) * bytes_of(desc_.bias_type);
  }

  void set_activation(int64_t activation) { desc_.activation = checked_activation(activation); }

  void set_halves() { desc_.halves = 1; }

  void set_up(const Tensor& up, const std::optional<Tensor>& bias, int64_t n) {
    zenwoq_packed_init(&up_);
    fill(&up_, up, n);
    desc_.up_packed = &up_;
    if (!bias.has_value()) return;
    zenwoq_dtype type;
    desc_.up_bias = checked_bias("up_bias", *bias, n, &type);
    check(desc_.bias == nullptr || type == desc_.bias_type, "up_bias must have gate_bias's dtype");
    desc_.bias_type = type;
    desc_.up_bias_bytes = static_cast<size_t>(n) * bytes_of(type);
  }

  void set_factor(const Tensor& factor) {
    desc_.factors = 1;
    args_.factor = matrix(factor);
  }

  void add_residual(const Tensor& residual) { args_.residual[desc_.residuals++] = matrix(residual); }

  void run() { finish(zenwoq_packed_run(context(), &packed_, &desc_, &args_)); }

  static void run_all(const std::list<Product>& products) {
    if (products.empty()) return;
    std::vector<const zenwoq_packed*> packed;
    std::vector<const zenwoq_linear_desc*> descs;
    std::vector<const zenwoq_run_args*> args;
    for (const Product& product : products) {
      packed.push_back(&product.packed_);
      descs.push_back(&product.desc_);
      args.push_back(&product.args_);
    }
    products.front().finish(zenwoq_packed_runs(context(), packed.data(), descs.data(), args.data(), products.size()));
  }

 private:
  void fill(zenwoq_packed* weight, const Tensor& packed, int64_t n) const {
    weight->packed = packed.data_ptr();
    weight->packed_bytes = static_cast<size_t>(packed.numel());
    weight->n = static_cast<size_t>(n);
    weight->k = x_.columns;
  }

  const void* checked_bias(const char* name, const Tensor& bias, int64_t n, zenwoq_dtype* type) {
    check_cpu(name, bias);
    check(bias.dim() == 1 && bias.size(0) == n, name, " must have shape [n], n is ", n);
    kept_.push_back(bias.is_contiguous() ? bias : torch::stable::contiguous(bias));
    *type = float_dtype(name, bias);
    return kept_.back().data_ptr();
  }

  // A matrix of the result's shape; converted if the result is computed in another type than x's.
  zenwoq_matrix matrix(const Tensor& tensor) {
    Rows rows = as_rows(tensor);
    if (float_dtype("", tensor) != y_type_) {
      const Tensor wide = empty_rows(tensor, static_cast<int64_t>(rows.columns), types().f32);
      STABLE_TORCH_ERROR_CODE_CHECK(aoti_torch_copy_(wide.get(), tensor.get(), 0));
      rows = as_rows(wide);
    }
    kept_.push_back(rows.tensor);
    return {rows.tensor.data_ptr(), rows.ld, rows.bytes(y_type_)};
  }

  void finish(zenwoq_status status) const {
    check(status == ZENWOQ_OK, zenwoq_last_error(), "; x has ", x_.m, " rows of k = ", x_.columns, " values (",
          zenwoq_status_name(status), ")");
  }

  const Rows& x_;
  zenwoq_dtype y_type_;
  zenwoq_packed packed_, up_;
  zenwoq_linear_desc desc_;
  zenwoq_run_args args_;
  std::vector<Tensor> kept_;
};

// Calls compute(where) with a tensor to compute into, y or, as the library does not write f16, one in f32 for it. y
// must be contiguous.
template <typename Compute>
void into(const Tensor& y, const Compute& compute) {
  if (float_dtype("out", y) != ZENWOQ_F16) return compute(y);
  const Tensor wide = empty_rows(y, y.size(y.dim() - 1), types().f32);
  compute(wide);
  STABLE_TORCH_ERROR_CODE_CHECK(aoti_torch_copy_(y.get(), wide.get(), 0));
}

void linear_into(const Rows& x, const Tensor& packed, const std::optional<Tensor>& bias, int64_t n, const Tensor& y) {
  into(y, [&](const Tensor& where) {
    Product product(x, packed, n, where);
    product.set_bias("bias", bias, n);
    product.run();
  });
}

Tensor linear(const Tensor& x, const Tensor& packed, const std::optional<Tensor>& bias, int64_t n) {
  return in_operator("linear", [&] {
    const Rows rows = checked_x(x);
    check_packed("packed", packed, n);
    Tensor y = empty_rows(x, n, dtype_of(x));
    linear_into(rows, packed, bias, n, y);
    return y;
  });
}

void linear_out(const Tensor& x, const Tensor& packed, const std::optional<Tensor>& bias, int64_t n,
                const Tensor& out) {
  in_operator("linear_out", [&] {
    const Rows rows = checked_x(x);
    check_packed("packed", packed, n);
    check_cpu("out", out);
    check(has_shape_of_rows(out, x, n), "out must have x's shape with n = ", n, " as its last dimension");
    for (int64_t i = 0; i < x.dim(); ++i) {
      check(out.stride(i) != 0 || out.size(i) <= 1, "out is expanded along dimension ", i,
            ", its elements must have memory of their own");
    }
    if (out.is_contiguous()) return linear_into(rows, packed, bias, n, out);
    const Tensor y = empty_rows(x, n, dtype_of(out));
    linear_into(rows, packed, bias, n, y);
    STABLE_TORCH_ERROR_CODE_CHECK(aoti_torch_copy_(out.get(), y.get(), 0));
  });
}

void check_matrix(const char* name, const Tensor& matrix, const Tensor& x, int64_t n) {
  check_cpu(name, matrix);
  check(dtype_of(matrix) == dtype_of(x), name, " must have x's dtype");
  check(has_shape_of_rows(matrix, x, n), name, " must have x's shape with n = ", n, " as its last dimension");
}

Tensor linear_fused(const Tensor& x, const Tensor& packed, const std::optional<Tensor>& bias, int64_t n,
                    int64_t activation, const std::optional<Tensor>& factor, const std::vector<Tensor>& residuals) {
  return in_operator("linear_fused", [&] {
    const Rows rows = checked_x(x);
    check_packed("packed", packed, n);
    if (factor.has_value()) check_matrix("factor", *factor, x, n);
    check(residuals.size() <= kMaxResiduals, "there are ", residuals.size(), " residuals, at most ", kMaxResiduals,
          " can be added");
    for (const Tensor& residual : residuals) check_matrix("a residual", residual, x, n);
    Tensor y = empty_rows(x, n, dtype_of(x));
    into(y, [&](const Tensor& where) {
      Product product(rows, packed, n, where);
      product.set_bias("bias", bias, n);
      product.set_activation(activation);
      if (factor.has_value()) product.set_factor(*factor);
      for (const Tensor& residual : residuals) product.add_residual(residual);
      product.run();
    });
    return y;
  });
}

Tensor gated(const Tensor& x, const Tensor& gate, const std::optional<Tensor>& up,
             const std::optional<Tensor>& gate_bias, const std::optional<Tensor>& up_bias, int64_t n,
             int64_t activation) {
  return in_operator("gated", [&] {
    const Rows rows = checked_x(x);
    check_packed("gate", gate, n);
    if (up.has_value()) check_packed("up", *up, n);
    check(up.has_value() || !up_bias.has_value(), "up_bias without up: gate_bias is of both");
    check(activation != ZENWOQ_ACTIVATION_NONE, "activation is 0, a gated product must have one");
    const int64_t packed_n = up.has_value() ? n : 2 * n;  // n is at most the bytes of gate
    Tensor y = empty_rows(x, n, dtype_of(x));
    into(y, [&](const Tensor& where) {
      Product product(rows, gate, packed_n, where);
      product.set_bias("gate_bias", gate_bias, packed_n);
      product.set_activation(activation);
      if (up.has_value()) {
        product.set_up(*up, up_bias, n);
      } else {
        product.set_halves();
      }
      product.run();
    });
    return y;
  });
}

// One of several linears, borrowed.
struct Layer {
  const Tensor& packed;
  const std::optional<Tensor>& bias;
  int64_t n;
};

std::vector<Tensor> products(const Tensor& x, std::span<const Layer> layers) {
  const Rows rows = checked_x(x);
  for (const Layer& layer : layers) check_packed("packed", layer.packed, layer.n);
  const bool is_f16 = float_dtype("x", x) == ZENWOQ_F16;
  std::vector<Tensor> results, wide;  // the library does not write f16
  results.reserve(layers.size());
  for (const Layer& layer : layers) results.push_back(empty_rows(x, layer.n, dtype_of(x)));
  for (size_t i = 0; is_f16 && i < layers.size(); ++i) wide.push_back(empty_rows(x, layers[i].n, types().f32));
  const std::vector<Tensor>& into = is_f16 ? wide : results;
  std::list<Product> calls;
  for (size_t i = 0; i < layers.size(); ++i) {
    calls.emplace_back(rows, layers[i].packed, layers[i].n, into[i]).set_bias("bias", layers[i].bias, layers[i].n);
  }
  Product::run_all(calls);
  for (size_t i = 0; i < wide.size(); ++i) {
    STABLE_TORCH_ERROR_CODE_CHECK(aoti_torch_copy_(results[i].get(), wide[i].get(), 0));
  }
  return results;
}

std::vector<Tensor> linears(const Tensor& x, const std::vector<Tensor>& packed,
                            const std::vector<std::optional<Tensor>>& bias, const std::vector<int64_t>& n) {
  return in_operator("linears", [&] {
    check(bias.size() == packed.size() && n.size() == packed.size(), "there are ", packed.size(), " packed weights, ",
          bias.size(), " entries of bias and ", n.size(), " of n; must be as many");
    std::vector<Layer> layers;
    for (size_t i = 0; i < n.size(); ++i) layers.push_back({packed[i], bias[i], n[i]});
    return products(x, layers);
  });
}

std::tuple<Tensor, Tensor, Tensor> three_linears(const Tensor& x, const Tensor& a, const std::optional<Tensor>& a_bias,
                                                 int64_t a_n, const Tensor& b, const std::optional<Tensor>& b_bias,
                                                 int64_t b_n, const Tensor& c, const std::optional<Tensor>& c_bias,
                                                 int64_t c_n) {
  return in_operator("three_linears", [&] {
    const std::array<Layer, 3> layers{{{a, a_bias, a_n}, {b, b_bias, b_n}, {c, c_bias, c_n}}};
    const std::vector<Tensor> results = products(x, layers);
    return std::tuple(results[0], results[1], results[2]);
  });
}

// A tensor without gaps.
Tensor dense(const Tensor& tensor) { return tensor.is_contiguous() ? tensor : torch::stable::contiguous(tensor); }

// The packed weights of experts, one row each.
void check_stack(const std::string& name, const Tensor& packed, const Tensor& gate) {
  check_cpu(name, packed);
  check(dtype_of(packed) == types().uint8 && packed.dim() == 2 && packed.is_contiguous() && packed.numel() > 0, name,
        " must be a contiguous 2-D uint8 tensor, the packed weights of experts");
  check(packed.size(0) == gate.size(0), name, " is of ", packed.size(0), " experts, gate of ", gate.size(0));
}

// A tensor [..., slots] beside x [..., H].
void check_slots(const std::string& name, const Tensor& tensor, const Tensor& x, int64_t slots) {
  check_cpu(name, tensor);
  check(has_shape_of_rows(tensor, x, slots), name, " must have x's shape with the number of slots as its last ",
        "dimension, and ids and router the same one");
}

// A run of experts: the structs of a call of the library, and the tensors that they point into.
class ExpertsRun {
 public:
  // What is checked already: ids, router and the packed weights. y must be contiguous and not f16.
  ExpertsRun(const Rows& x, const Tensor& ids, const Tensor& router, int64_t intermediate, int64_t activation,
             const Tensor& y)
      : x_(x) {
    zenwoq_packed_experts_init(&experts_);
    experts_.hidden = x.columns;
    experts_.intermediate = static_cast<size_t>(intermediate);
    experts_.activation = checked_activation(activation);
    experts_.output_type = float_dtype("out", y);
    zenwoq_experts_args_init(&args_);
    args_.tokens = x.m;
    args_.slots = static_cast<size_t>(ids.size(ids.dim() - 1));
    args_.x_type = float_dtype("x", x.tensor);
    args_.ldx = x.ld;
    args_.threads = torch_threads();
    if (x.m == 0) return;
    args_.x = x.tensor.data_ptr();
    args_.x_bytes = x.bytes(args_.x_type);
    args_.id_bytes = dtype_of(ids) == types().int64 ? 8 : 4;
    args_.ids = keep(ids).data_ptr();
    args_.ids_bytes = static_cast<size_t>(ids.numel()) * args_.id_bytes;
    args_.router_type = float_dtype("router", router);
    args_.router = keep(router).data_ptr();
    args_.router_bytes = static_cast<size_t>(router.numel()) * bytes_of(args_.router_type);
    args_.y = y.data_ptr();
    args_.y_bytes = static_cast<size_t>(y.numel()) * bytes_of(experts_.output_type);
  }
  ExpertsRun(const ExpertsRun&) = delete;
  ExpertsRun& operator=(const ExpertsRun&) = delete;

  void set_weights(const Tensor& gate, const std::optional<Tensor>& up, const Tensor& down) {
    experts_.experts = static_cast<size_t>(gate.size(0));
    point_to(gate, &experts_.gate, &experts_.gate_stride, &experts_.gate_bytes);
    if (up.has_value()) point_to(*up, &experts_.up, &experts_.up_stride, &experts_.up_bytes);
    point_to(down, &experts_.down, &experts_.down_stride, &experts_.down_bytes);
  }

  void set_biases(const std::optional<Tensor>& gate, const std::optional<Tensor>& up,
                  const std::optional<Tensor>& down) {
    const auto intermediate = static_cast<int64_t>(experts_.intermediate);
    const int64_t gate_rows = experts_.up == nullptr ? 2 * intermediate : intermediate;
    point_to_bias("gate_bias", gate, gate_rows, &experts_.gate_bias, &experts_.gate_bias_bytes);
    point_to_bias("up_bias", up, intermediate, &experts_.up_bias, &experts_.up_bias_bytes);
    point_to_bias("down_bias", down, static_cast<int64_t>(experts_.hidden), &experts_.down_bias,
                  &experts_.down_bias_bytes);
  }

  void run() const {
    const zenwoq_status status = zenwoq_packed_experts_run(context(), &experts_, &args_);
    check(status == ZENWOQ_OK, zenwoq_last_error(), "; x has ", x_.m, " rows of ", x_.columns, " values (",
          zenwoq_status_name(status), ")");
  }

 private:
  const Tensor& keep(const Tensor& tensor) {
    kept_.push_back(dense(tensor));
    return kept_.back();
  }

  static void point_to(const Tensor& packed, const void** data, size_t* stride, size_t* bytes) {
    *data = packed.data_ptr();
    *stride = static_cast<size_t>(packed.size(1));
    *bytes = static_cast<size_t>(packed.numel());
  }

  void point_to_bias(const std::string& name, const std::optional<Tensor>& bias, int64_t n, const void** data,
                     size_t* bytes) {
    if (!bias.has_value()) return;
    check_cpu(name, *bias);
    const auto experts = static_cast<int64_t>(experts_.experts);
    check(bias->dim() == 2 && bias->size(0) == experts && bias->size(1) == n, name, " must have shape [", experts, ", ",
          n, "]");
    const zenwoq_dtype type = float_dtype(name, *bias);
    check(!has_bias_ || type == experts_.bias_type, name, " must have the other biases' dtype");
    has_bias_ = true;
    experts_.bias_type = type;
    *data = keep(*bias).data_ptr();
    *bytes = static_cast<size_t>(bias->numel()) * bytes_of(type);
  }

  const Rows& x_;
  zenwoq_packed_experts experts_;
  zenwoq_experts_args args_;
  bool has_bias_ = false;
  std::list<Tensor> kept_;
};

Tensor experts(const Tensor& x, const Tensor& ids, const Tensor& router, const Tensor& gate,
               const std::optional<Tensor>& up, const Tensor& down, const std::optional<Tensor>& gate_bias,
               const std::optional<Tensor>& up_bias, const std::optional<Tensor>& down_bias, int64_t intermediate,
               int64_t activation) {
  return in_operator("experts", [&] {
    const Rows rows = checked_x(x);
    check(ids.dim() >= 1, "ids must have at least one dimension");
    const int64_t slots = ids.size(ids.dim() - 1);
    check_slots("ids", ids, x, slots);
    check(dtype_of(ids) == types().int64 || dtype_of(ids) == types().int32, "ids must be int64 or int32");
    check_slots("router", router, x, slots);
    (void)float_dtype("router", router);
    check_stack("gate", gate, gate);
    if (up.has_value()) check_stack("up", *up, gate);
    check_stack("down", down, gate);
    check(up.has_value() || !up_bias.has_value(), "up_bias without up: gate_bias is of both");
    check(intermediate >= 1, "intermediate is ", intermediate, ", must be at least 1");
    check(intermediate <= gate.size(1), "intermediate is ", intermediate, ", gate has ", gate.size(1),
          " bytes for each expert, too few for it");
    Tensor y = empty_rows(x, x.size(x.dim() - 1), dtype_of(x));
    into(y, [&](const Tensor& where) {
      ExpertsRun run(rows, ids, router, intermediate, activation, where);
      run.set_weights(gate, up, down);
      run.set_biases(gate_bias, up_bias, down_bias);
      run.run();
    });
    return y;
  });
}

}  // namespace

STABLE_TORCH_LIBRARY(zenwoq, m) {
  m.def("linear(Tensor x, Tensor packed, Tensor? bias, int n) -> Tensor");
  m.def("linear_out(Tensor x, Tensor packed, Tensor? bias, int n, *, Tensor(a!) out) -> ()");
  m.def(
      "linear_fused(Tensor x, Tensor packed, Tensor? bias, int n, int activation, Tensor? factor, Tensor[] residuals) "
      "-> Tensor");
  m.def(
      "gated(Tensor x, Tensor gate, Tensor? up, Tensor? gate_bias, Tensor? up_bias, int n, int activation) -> Tensor");
  m.def("linears(Tensor x, Tensor[] packed, Tensor?[] bias, int[] n) -> Tensor[]");
  m.def(
      "three_linears(Tensor x, Tensor a, Tensor? a_bias, int a_n, Tensor b, Tensor? b_bias, int b_n, Tensor c, "
      "Tensor? c_bias, int c_n) -> (Tensor, Tensor, Tensor)");
  m.def(
      "experts(Tensor x, Tensor ids, Tensor router, Tensor gate, Tensor? up, Tensor down, Tensor? gate_bias, "
      "Tensor? up_bias, Tensor? down_bias, int intermediate, int activation) -> Tensor");
}

STABLE_TORCH_LIBRARY_IMPL(zenwoq, CPU, m) {
  m.impl("linear", TORCH_BOX(&linear));
  m.impl("linear_out", TORCH_BOX(&linear_out));
  m.impl("linear_fused", TORCH_BOX(&linear_fused));
  m.impl("gated", TORCH_BOX(&gated));
  m.impl("linears", TORCH_BOX(&linears));
  m.impl("three_linears", TORCH_BOX(&three_linears));
  m.impl("experts", TORCH_BOX(&experts));
}
