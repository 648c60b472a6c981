// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
#include "python/torch_ops/experts.h"

#include <list>
#include <string>

#include "python/torch_ops/context.h"

namespace zenwoq::torch_ops {

namespace {

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

}  // namespace

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

}  // namespace zenwoq::torch_ops
