// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
#include "python/torch_ops/linears.h"

#include <array>
#include <list>
#include <span>

#include "python/torch_ops/context.h"

namespace zenwoq::torch_ops {

namespace {

constexpr size_t kMaxResiduals = 2;

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

void linear_into(const Rows& x, const Tensor& packed, const std::optional<Tensor>& bias, int64_t n, const Tensor& y) {
  into(y, [&](const Tensor& where) {
    Product product(x, packed, n, where);
    product.set_bias("bias", bias, n);
    product.run();
  });
}

void check_matrix(const char* name, const Tensor& matrix, const Tensor& x, int64_t n) {
  check_cpu(name, matrix);
  check(dtype_of(matrix) == dtype_of(x), name, " must have x's dtype");
  check(has_shape_of_rows(matrix, x, n), name, " must have x's shape with n = ", n, " as its last dimension");
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

}  // namespace

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

}  // namespace zenwoq::torch_ops
