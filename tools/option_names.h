// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// Values of options that several commands take, by name.
#pragma once

#include <fmt/format.h>

#include <CLI/CLI.hpp>

#include <array>
#include <iterator>
#include <map>
#include <string>
#include <type_traits>
#include <vector>

#include "jit/number.h"
#include "src/plan/tuning.h"
#include "tools/planned_kernels.h"
#include "zenwoq/zenwoq.h"

namespace zenwoq::tools {

// The words that an option takes for these values.
template <typename Values, typename Name>
auto values_by_name(const Values& values, const Name& name) {
  std::map<std::string, std::decay_t<decltype(*std::begin(values))>> words;
  for (const auto value : values) words.emplace(name(value), value);
  return words;
}

inline std::map<std::string, zenwoq_dtype> scale_types_by_name() { return values_by_name(kScaleTypes, dtype_name); }

inline std::map<std::string, zenwoq_zero_kind> zero_kinds_by_name() {
  return values_by_name(kZeroKinds, zero_kind_name);
}

inline CLI::Option* add_output_option(CLI::App& command, zenwoq_dtype& output_type) {
  const auto types = values_by_name(std::array{ZENWOQ_F32, ZENWOQ_BF16}, dtype_name);
  return command.add_option("--output", output_type, "type of the result: f32 (default), bf16")
      ->transform(CLI::CheckedTransformer(types));
}

inline CLI::Option* add_m_option(CLI::App& command, std::vector<std::size_t>& m) {
  constexpr std::size_t kMost = std::size_t{1} << 40;
  return command.add_option("--m", m, "rows of activations, separated by commas")
      ->delimiter(',')
      ->allow_extra_args(false)
      ->check(CLI::Range(std::size_t{1}, kMost));
}

// --activation, --gated, --mul and --add: words of kernel names.
inline std::array<CLI::Option*, 4> add_epilogue_options(CLI::App& command, EpilogueChoice& choice) {
  CLI::Option* activation = command.add_option("--activation", choice.activation,
                                               "of sums, or of gate's: none (default), relu, silu, gelu, gelutanh; "
                                               "swigluoai with --gated");
  activation->transform(CLI::CheckedTransformer(values_by_name(kAllActivations, activation_name)));
  CLI::Option* gated = command.add_flag("--gated", choice.gated, "a pair: the layer is gate, and up is like it");
  CLI::Option* factor = command.add_flag("--mul", choice.factor, "then times a matrix");
  CLI::Option* residuals = command.add_option("--add", choice.residuals, "then plus so many matrices: 0 to 2");
  residuals->check(CLI::Range(0, 2));
  return {activation, gated, factor, residuals};
}

// --tuning and --tier.
inline std::array<CLI::Option*, 2> add_tuning_options(CLI::App& command, TuningChoice& choice) {
  CLI::Option* tuning = command.add_option("--tuning", choice.cpu,
                                           fmt::format("tiles of which CPU: {} (default: this CPU's)", tuning_names()));
  tuning->check([](const std::string& name) {
    return is_tuning(name) ? "" : fmt::format("\"{}\": must be {}", name, tuning_names());
  });
  CLI::Option* tier = command.add_option(
      "--tier", choice.tier, "avx2 or avx512bf16 (default: the highest of --tuning's CPU, or that this machine runs)");
  tier->transform(
      CLI::CheckedTransformer(values_by_name(std::array{ZENWOQ_TIER_AVX2, ZENWOQ_TIER_AVX512BF16}, zenwoq_tier_name)));
  return {tuning, tier};
}

}  // namespace zenwoq::tools
