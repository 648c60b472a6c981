// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// The C API as the tool and the benchmarks use it: handles that free themselves, statuses as exceptions.
#pragma once

#include <memory>
#include <stdexcept>
#include <string>

#include "zenwoq/zenwoq.h"

namespace zenwoq::tools {

// Something that the user asked for cannot be done. what() is one line for stderr; the exit code is 2.
class ToolError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

inline void require(zenwoq_status status) {
  if (status != ZENWOQ_OK) throw ToolError(zenwoq_last_error());
}

struct HandleDeleter {
  void operator()(zenwoq_context* context) const { zenwoq_context_destroy(context); }
  void operator()(zenwoq_weight* weight) const { zenwoq_weight_destroy(weight); }
  void operator()(zenwoq_linear* linear) const { zenwoq_linear_destroy(linear); }
  void operator()(zenwoq_experts* experts) const { zenwoq_experts_destroy(experts); }
};
using ContextHandle = std::unique_ptr<zenwoq_context, HandleDeleter>;
using WeightHandle = std::unique_ptr<zenwoq_weight, HandleDeleter>;
using LinearHandle = std::unique_ptr<zenwoq_linear, HandleDeleter>;
using ExpertsHandle = std::unique_ptr<zenwoq_experts, HandleDeleter>;

struct ContextChoice {
  unsigned threads = 0;  // 0 = what the process may use
  zenwoq_tier max_tier = ZENWOQ_TIER_BEST;
  std::string tuning;  // empty = this CPU's
};

inline ContextHandle make_context_from(const zenwoq_context_options& options) {
  zenwoq_context* context = nullptr;
  require(zenwoq_context_create(&options, &context));
  return ContextHandle(context);
}

inline ContextHandle make_context(const ContextChoice& choice) {
  zenwoq_context_options options;
  zenwoq_context_options_init(&options);
  options.threads = choice.threads;
  options.max_tier = choice.max_tier;
  options.tuning = choice.tuning.empty() ? nullptr : choice.tuning.c_str();
  return make_context_from(options);
}

inline WeightHandle make_weight(zenwoq_context* context, const zenwoq_weight_desc& desc,
                                const zenwoq_weight_source& source) {
  zenwoq_weight* weight = nullptr;
  require(zenwoq_weight_create(context, &desc, &source, &weight));
  return WeightHandle(weight);
}

// desc: NULL is f32 without a bias.
inline LinearHandle make_linear(zenwoq_context* context, zenwoq_weight* weight,
                                const zenwoq_linear_desc* desc = nullptr) {
  zenwoq_linear* linear = nullptr;
  require(zenwoq_linear_create(context, weight, desc, &linear));
  return LinearHandle(linear);
}

inline ExpertsHandle make_experts(zenwoq_context* context, const zenwoq_experts_desc& desc) {
  zenwoq_experts* experts = nullptr;
  require(zenwoq_experts_create(context, &desc, &experts));
  return ExpertsHandle(experts);
}

}  // namespace zenwoq::tools
