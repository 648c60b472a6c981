// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// The kernel key: every fact that generated code depends on, nothing else; and the one grammar of kernel names.
//
//   gemm_bf16_t4_g128_k4096_sbf16_z0_m6x2_ybf16_bias_avx512bf16_zen5
//        |    |  |    |     |     |  |    |     |    |          tuning: zen4, zen5, generic
//        |    |  |    |     |     |  |    |     |    instruction set
//        |    |  |    |     |     |  |    |     present if a bias is added
//        |    |  |    |     |     |  |    output type: f32, bf16
//        |    |  |    |     |     |  tile: rows x strips of 16 columns
//        |    |  |    |     |     zeros: z0 none, zi integer, za additive offset
//        |    |  |    |     scale type: f32, f16, bf16
//        |    |  |    K
//        |    |  group size, a multiple of 8 below K; or "pc", one scale a column
//        |    codes are 4-bit indices of a table of 16 values
//        activation type
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "jit/panel_layout.h"
#include "zenwoq/zenwoq.h"

namespace zenwoq {

enum class Tuning : std::uint8_t { generic, zen4, zen5 };
const char* tuning_name(Tuning tuning);
std::optional<Tuning> parse_tuning(std::string_view name);

// Rows x strips that one pass of a kernel computes. 8 strips are two neighbouring panels.
struct Tile {
  std::uint32_t rows = 1;
  std::uint32_t strips = 4;
  bool operator==(const Tile&) const = default;
};

struct KernelKey {
  std::uint64_t k = 0;
  std::uint64_t group = 0;  // = k for per-channel
  zenwoq_dtype scale_type = ZENWOQ_BF16;
  zenwoq_zero_kind zero_kind = ZENWOQ_ZERO_NONE;
  Tile tile;
  zenwoq_dtype output_type = ZENWOQ_F32;
  bool bias = false;
  Tuning tuning = Tuning::generic;

  bool operator==(const KernelKey&) const = default;
  bool per_channel() const { return group >= k; }
  std::uint64_t groups() const { return (k + group - 1) / group; }
  PanelLayout layout() const;  // of the weights that the kernel reads
  std::string name() const;
};

// The inverse of name(); nothing but names that name() prints is taken.
std::optional<KernelKey> parse_kernel_name(std::string_view name);

std::uint64_t hash_value(const KernelKey& key);

}  // namespace zenwoq
