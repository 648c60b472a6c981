// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// The operators of linears; torch_ops.cpp says what each computes.
#pragma once

#include <cstdint>
#include <optional>
#include <tuple>
#include <vector>

#include "python/torch_ops/tensors.h"

namespace zenwoq::torch_ops {

Tensor linear(const Tensor& x, const Tensor& packed, const std::optional<Tensor>& bias, int64_t n);

void linear_out(const Tensor& x, const Tensor& packed, const std::optional<Tensor>& bias, int64_t n, const Tensor& out);

Tensor linear_fused(const Tensor& x, const Tensor& packed, const std::optional<Tensor>& bias, int64_t n,
                    int64_t activation, const std::optional<Tensor>& factor, const std::vector<Tensor>& residuals);

Tensor gated(const Tensor& x, const Tensor& gate, const std::optional<Tensor>& up,
             const std::optional<Tensor>& gate_bias, const std::optional<Tensor>& up_bias, int64_t n,
             int64_t activation);

std::vector<Tensor> linears(const Tensor& x, const std::vector<Tensor>& packed,
                            const std::vector<std::optional<Tensor>>& bias, const std::vector<int64_t>& n);

std::tuple<Tensor, Tensor, Tensor> three_linears(const Tensor& x, const Tensor& a, const std::optional<Tensor>& a_bias,
                                                 int64_t a_n, const Tensor& b, const std::optional<Tensor>& b_bias,
                                                 int64_t b_n, const Tensor& c, const std::optional<Tensor>& c_bias,
                                                 int64_t c_n);

}  // namespace zenwoq::torch_ops
