// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// The kernel key: every fact that generated code depends on, nothing else; and the one grammar of kernel names.
//
//   gemm_bf16_t4_g128_k4096_sbf16_z0_m6x2_ybf16_bias_avx512bf16_df_xs_p4096e2t1
//        |    |  |    |     |     |  |    |     |    |          |  |  |
//        |    |  |    |     |     |  |    |     |    |          habits, none of which changes a bit of a result:
//        |    |  |    |     |     |  |    |     |    |            df: the strips are decoded first, then multiplied
//        |    |  |    |     |     |  |    |     |    |            xs: strips share one broadcast of x
//        |    |  |    |     |     |  |    |     |    |            p: bytes ahead that codes are prefetched,
//        |    |  |    |     |     |  |    |     |    |               e2: every second line, t1: into the L2 cache
//        |    |  |    |     |     |  |    |     |    tier
//        |    |  |    |     |     |  |    |     epilogue, in its order: ts times, td divided by a tensor scale;
//        |    |  |    |     |     |  |    |       bias; relu, silu, gelu, gelutanh, swigluoai; mul: a factor;
//        |    |  |    |     |     |  |    |       add, add2: residuals
//        |    |  |    |     |     |  |    output type: f32, bf16
//        |    |  |    |     |     |  tile: rows x strips of 16 columns; after it "sc": with scratch, "gu": of two
//        |    |  |    |     |     |    weights, gate and up
//        |    |  |    |     |     zeros: z0 none, zi integer, za additive offset, zff32, zff16, zfbf16 fractions
//        |    |  |    |     scale type: f32, f16, bf16, e8m0, e4m3; u8f16, s8f16 of two levels
//        |    |  |    K
//        |    |  group size, a multiple of 8 below K; or "pc", one scale a column
//        |    codes: t4 are indices of a table of 16 values, i4 integers
//        activations
//
// Epilogue and habits are left out where there are none. A name holds all that its bytes depend on, so it means the
// same bytes whatever a tuning table comes to say. A new field is a line of kFields in key.cpp.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "jit/parameters.h"
#include "zenwoq/zenwoq.h"

namespace zenwoq {

inline constexpr std::uint32_t kMaxTileRows = 12;  // what the addressing of rows reaches (Gemm::x_address)

enum class Activation : std::uint8_t { bf16 };

enum class Codes : std::uint8_t {
  table,   // indices of any 16 values
  integer  // of values that count up by one, two's complement or not (DecodeTable::integer): bits of a number
};

// Rows x strips that one pass of a kernel computes.
struct Tile {
  std::uint32_t rows = 1;
  std::uint32_t strips = 4;
  // Codes are decoded once to scratch memory and multiplied from there: by any number of rows, in tiles of this height
  // and of one row less.
  bool scratch = false;
  // Of two weights, gate and up: the same strips of both.
  bool gated = false;

  std::uint32_t columns() const { return strips * static_cast<std::uint32_t>(kStripColumns); }
  // 8 strips are two neighbouring panels.
  std::uint32_t panels() const { return strips > kPanelStrips ? 2 : 1; }
  // Strips of whose codes a step asks ahead. Units of two strips walk a panel twice: the first walk brings both halves,
  // the second finds its own in the L2 cache.
  std::uint32_t strips_fetched() const { return strips == 2 ? std::uint32_t{kPanelStrips} : strips; }
  bool operator==(const Tile&) const = default;
};

// The words of kernel names, options and JSON: "none", "relu", "silu", "gelu", "gelutanh", "swigluoai".
inline constexpr zenwoq_activation kAllActivations[] = {ZENWOQ_ACTIVATION_NONE,      ZENWOQ_ACTIVATION_RELU,
                                                        ZENWOQ_ACTIVATION_SILU,      ZENWOQ_ACTIVATION_GELU,
                                                        ZENWOQ_ACTIVATION_GELU_TANH, ZENWOQ_ACTIVATION_SWIGLU_OAI};
const char* activation_name(zenwoq_activation activation);

// What is done to a sum before it is stored.
struct Epilogue {
  zenwoq_tensor_scale_kind tensor_scale = ZENWOQ_TENSOR_SCALE_NONE;
  bool bias = false;
  zenwoq_activation activation = ZENWOQ_ACTIVATION_NONE;  // of gate, where the tile is gated
  bool factor = false;
  std::uint8_t residuals = 0;  // 0..2

  // More than the row's registers and a bias: totals go by way of memory.
  bool is_long() const { return activation != ZENWOQ_ACTIVATION_NONE || factor || residuals != 0; }
  bool operator==(const Epilogue&) const = default;
};

// Codes that a kernel asks for before it needs them. Never beyond what it saves: one too many costs bandwidth.
struct Prefetch {
  std::uint32_t bytes = 0;  // this far ahead, in whole groups where they are short; 0 = not at all
  std::uint32_t every = 1;  // every n-th cache line; the hardware fetches the others with it
  bool to_l2 = false;       // not into L1: the hardware's own prefetchers do that part
  bool operator==(const Prefetch&) const = default;
};

// How a kernel does its work where CPUs differ in what is fastest.
struct Habits {
  bool decode_first = false;  // all strips of a pair of k are decoded before the first is multiplied
  bool share_x = false;       // x goes to a register that all strips share, not into each product's operand
  Prefetch prefetch;
  bool operator==(const Habits&) const = default;
};

struct KernelKey {
  Activation activation = Activation::bf16;
  Codes codes = Codes::table;
  std::uint64_t group = 0;  // = k for per-channel
  std::uint64_t k = 0;
  zenwoq_dtype scale_type = ZENWOQ_BF16;
  zenwoq_zero_kind zero_kind = ZENWOQ_ZERO_NONE;
  zenwoq_dtype zero_type = ZENWOQ_BF16;  // where zeros are fractions; BF16 otherwise
  Tile tile;
  zenwoq_dtype output_type = ZENWOQ_F32;
  Epilogue epilogue;
  zenwoq_tier tier = ZENWOQ_TIER_AVX512BF16;
  Habits habits;

  bool operator==(const KernelKey&) const = default;
  bool per_channel() const { return group >= k; }
  bool long_epilogue() const { return epilogue.is_long() || tile.gated; }
  std::uint64_t groups() const { return (k + group - 1) / group; }
  ParameterFormat format() const { return {scale_type, zero_kind, zero_type}; }
  PanelLayout layout() const { return format().layout(k, group); }  // of the weights that the kernel reads
  std::string name() const;
};

// The inverse of name(); nothing but names that name() prints is taken.
std::optional<KernelKey> parse_kernel_name(std::string_view name);

std::uint64_t hash_value(const KernelKey& key);

}  // namespace zenwoq
