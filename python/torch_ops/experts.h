// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// The operator of experts; torch_ops.cpp says what it computes.
#pragma once

#include <cstdint>
#include <optional>

#include "python/torch_ops/tensors.h"

namespace zenwoq::torch_ops {

Tensor experts(const Tensor& x, const Tensor& ids, const Tensor& router, const Tensor& gate,
               const std::optional<Tensor>& up, const Tensor& down, const std::optional<Tensor>& gate_bias,
               const std::optional<Tensor>& up_bias, const std::optional<Tensor>& down_bias, int64_t intermediate,
               int64_t activation);

}  // namespace zenwoq::torch_ops
