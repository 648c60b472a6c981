// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// Handles of the C API that free themselves, and its errors as exceptions.
#pragma once

#include <memory>
#include <stdexcept>

#include "zenwoq/zenwoq.h"

namespace zenwoq::bench {

struct Destroy {
  void operator()(zenwoq_context* context) const { zenwoq_context_destroy(context); }
  void operator()(zenwoq_weight* weight) const { zenwoq_weight_destroy(weight); }
  void operator()(zenwoq_linear* linear) const { zenwoq_linear_destroy(linear); }
};
using ContextHandle = std::unique_ptr<zenwoq_context, Destroy>;
using WeightHandle = std::unique_ptr<zenwoq_weight, Destroy>;
using LinearHandle = std::unique_ptr<zenwoq_linear, Destroy>;

inline void check(zenwoq_status status) {
  if (status != ZENWOQ_OK) throw std::runtime_error(zenwoq_last_error());
}

}  // namespace zenwoq::bench
