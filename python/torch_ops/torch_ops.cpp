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
#include "python/torch_ops/experts.h"
#include "python/torch_ops/linears.h"

#include <torch/csrc/stable/library.h>

using namespace zenwoq::torch_ops;

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
