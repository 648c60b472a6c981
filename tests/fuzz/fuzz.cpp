// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// Contexts and runs of the fuzz targets.
#include "tests/fuzz/fuzz.h"

#include <cmath>
#include <cstdio>
#include <cstdlib>

namespace zenwoq::fuzz {

void broken(const char* file, int line, const char* promise) {
  std::fprintf(stderr, "%s:%d: broken: %s (last error: %s)\n", file, line, promise, zenwoq_last_error());
  std::abort();
}

const std::vector<zenwoq_context*>& contexts() {
  static const auto* const all = [] {  // never destroyed: the process ends with them
    auto* made = new std::vector<zenwoq_context*>;
    for (const zenwoq_tier tier : {ZENWOQ_TIER_REFERENCE, ZENWOQ_TIER_AVX2, ZENWOQ_TIER_AVX512BF16}) {
      zenwoq_context_options options;
      zenwoq_context_options_init(&options);
      options.threads = 1;
      options.max_tier = tier;
      zenwoq_context* context = nullptr;
      ZENWOQ_PROMISE(zenwoq_context_create(&options, &context) == ZENWOQ_OK);
      if (tier == ZENWOQ_TIER_REFERENCE || zenwoq_context_why_not(context, tier)[0] == '\0') {
        made->push_back(context);
      } else {
        zenwoq_context_destroy(context);
      }
    }
    return made;
  }();
  return *all;
}

namespace {

// A linear's epilogue, which may be one that there is none of; the second weight of a pair is the first one again.
zenwoq_linear_desc linear_of(std::uint8_t form, zenwoq_weight* weight) {
  zenwoq_linear_desc desc;
  zenwoq_linear_desc_init(&desc);
  const unsigned rest = form / 6;
  desc.activation = static_cast<zenwoq_activation>(form % 6);
  desc.factors = rest % 2;
  desc.residuals = rest / 2 % 3;
  if (rest / 6 % 3 == 1) desc.up = weight;
  if (rest / 6 % 3 == 2) desc.output_type = ZENWOQ_BF16;
  return desc;
}

bool exists(const zenwoq_linear_desc& desc) {
  if (desc.up != nullptr) return desc.factors == 0 && desc.residuals == 0;
  return desc.activation != ZENWOQ_ACTIVATION_SWIGLU_OAI;
}

float value_at(const std::vector<std::uint8_t>& y, std::size_t size, std::size_t i) {
  std::uint32_t bits = 0;  // the last bytes are the highest, of bf16 too
  std::memcpy(reinterpret_cast<std::uint8_t*>(&bits) + 4 - size, y.data() + i * size, size);
  float value;
  std::memcpy(&value, &bits, 4);
  return value;
}

}  // namespace

void check_runs(const zenwoq_weight* borrowed, std::size_t m, Input input) {
  auto* weight = const_cast<zenwoq_weight*>(borrowed);
  zenwoq_weight_desc desc;
  zenwoq_weight_desc_init(&desc);
  ZENWOQ_PROMISE(zenwoq_weight_describe(weight, &desc) == ZENWOQ_OK);
  const zenwoq_linear_desc epilogue = linear_of(input.take<std::uint8_t>(), weight);
  const std::size_t size = epilogue.output_type == ZENWOQ_F32 ? 4 : 2, count = m * desc.n;
  const std::vector<std::uint8_t> x = input.bytes(m * desc.k * 2), operand = input.bytes(count * size);
  std::vector<std::vector<std::uint8_t>> results;
  for (zenwoq_context* context : contexts()) {
    zenwoq_linear* linear = nullptr;
    const zenwoq_status status = zenwoq_linear_create(context, weight, &epilogue, &linear);
    ZENWOQ_PROMISE(status == (exists(epilogue) ? ZENWOQ_OK : ZENWOQ_ERROR_INVALID_ARGUMENT));
    if (linear == nullptr) return;
    std::vector<std::uint8_t> y = operand;  // the last residual is y itself
    zenwoq_run_args args;
    zenwoq_run_args_init(&args);
    args.m = m, args.x = x.data(), args.x_bytes = x.size(), args.y = y.data(), args.y_bytes = y.size();
    if (epilogue.factors != 0) args.factor = {operand.data(), 0, operand.size()};
    if (epilogue.residuals > 1) args.residual[0] = {operand.data(), 0, operand.size()};
    if (epilogue.residuals != 0) args.residual[epilogue.residuals - 1] = {y.data(), 0, y.size()};
    ZENWOQ_PROMISE(zenwoq_linear_run(linear, &args) == ZENWOQ_OK);
    zenwoq_linear_destroy(linear);
    results.push_back(std::move(y));
  }
  for (const std::vector<std::uint8_t>& y : results) {
    for (std::size_t i = 0; i < count; ++i) {
      const bool both_nan = std::isnan(value_at(y, size, i)) && std::isnan(value_at(results[0], size, i));
      ZENWOQ_PROMISE(both_nan || std::memcmp(&y[i * size], &results[0][i * size], size) == 0);
    }
  }
}

}  // namespace zenwoq::fuzz
