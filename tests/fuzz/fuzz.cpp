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

void check_runs(const zenwoq_weight* weight, std::size_t m, Input input) {
  zenwoq_weight_desc desc;
  zenwoq_weight_desc_init(&desc);
  ZENWOQ_PROMISE(zenwoq_weight_describe(weight, &desc) == ZENWOQ_OK);
  const std::vector<std::uint8_t> x = input.bytes(m * desc.k * 2);
  std::vector<std::vector<float>> results;
  for (zenwoq_context* context : contexts()) {
    zenwoq_linear* linear = nullptr;
    ZENWOQ_PROMISE(zenwoq_linear_create(context, const_cast<zenwoq_weight*>(weight), nullptr, &linear) == ZENWOQ_OK);
    std::vector<float> y(m * desc.n);
    zenwoq_run_args args;
    zenwoq_run_args_init(&args);
    args.m = m, args.x = x.data(), args.x_bytes = x.size(), args.y = y.data(), args.y_bytes = y.size() * 4;
    ZENWOQ_PROMISE(zenwoq_linear_run(linear, &args) == ZENWOQ_OK);
    zenwoq_linear_destroy(linear);
    results.push_back(std::move(y));
  }
  for (const std::vector<float>& y : results) {
    for (std::size_t i = 0; i < y.size(); ++i) {
      const bool both_nan = std::isnan(y[i]) && std::isnan(results[0][i]);
      ZENWOQ_PROMISE(both_nan || std::memcmp(&y[i], &results[0][i], 4) == 0);
    }
  }
}

}  // namespace zenwoq::fuzz
