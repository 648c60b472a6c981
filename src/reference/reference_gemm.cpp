// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// The contract, panel by panel: codes of a few steps become 64 columns of f32, then every row of a block multiplies
// them. Compiled twice (ZENWOQ_REFERENCE_NAME); only local functions, so that no AVX2 code leaks into the portable
// object.
#include <bit>
#include <cstring>
#include <type_traits>

#include "jit/mxcsr.h"
#include "jit/number.h"
#include "src/reference/activation.h"
#include "src/reference/reference.h"

namespace zenwoq {
namespace {

constexpr std::uint64_t kColumns = kPanelColumns;
constexpr std::uint64_t kBlockRows = 8;
constexpr std::uint64_t kBlockSteps = 8;

struct Decoded {
  alignas(64) float t[kBlockSteps * kStepK][kColumns];
};

struct Tile64 {
  alignas(64) float value[kBlockRows][kColumns];
};

inline std::uint64_t smaller(std::uint64_t a, std::uint64_t b) { return a < b ? a : b; }

// What codes mean. A table that counts is computed, which compilers vectorise: table[code] = (code ^ flip) + first.
struct Values {
  float table[16];
  bool counts;
  std::uint32_t flip;
  float first;
};

Values read_values(const DecodeTable& table) {
  Values values;
  for (unsigned i = 0; i < 16; ++i) values.table[i] = bf16_to_f32(table.values[i]);
  values.counts = table.integer;
  values.flip = table.integer ? table.flip[0] ^ std::bit_cast<std::uint32_t>(kMagic[0]) : 0;
  values.first = values.table[values.flip];
  return values;
}

// t[8 s + i][column] = value(code i of step s)
template <typename Value>
void decode_steps(const std::uint8_t* codes, std::uint64_t steps, Value value, Decoded* decoded) {
  for (std::uint64_t s = 0; s < steps; ++s) {
    std::uint32_t lanes[kColumns];
    std::memcpy(lanes, codes + s * kStepBytes, kStepBytes);
    for (unsigned pair = 0; pair < 4; ++pair) {
      float* even = decoded->t[s * kStepK + 2 * pair];
      float* odd = decoded->t[s * kStepK + 2 * pair + 1];
      for (std::uint64_t c = 0; c < kColumns; ++c) {
        even[c] = value((lanes[c] >> (4 * pair)) & 15u);
        odd[c] = value((lanes[c] >> (16 + 4 * pair)) & 15u);
      }
    }
  }
}

void decode_steps(const std::uint8_t* codes, std::uint64_t steps, const Values& values, Decoded* decoded) {
  if (values.counts) {
    const auto count = [flip = values.flip, first = values.first](std::uint32_t code) {
      return static_cast<float>(static_cast<std::int32_t>(code ^ flip)) + first;
    };
    return decode_steps(codes, steps, count, decoded);
  }
  decode_steps(
      codes, steps, [&](std::uint32_t code) { return values.table[code]; }, decoded);
}

// acc = fma(x[k+1], t[k+1], acc), then fma(x[k], t[k], acc), for each pair in ascending order; x past the row is +0.
void multiply(const unsigned char* x, std::uint64_t valid, std::uint64_t count, const Decoded& decoded, float* acc) {
  float xs[kBlockSteps * kStepK];
  for (std::uint64_t k = 0; k < count; ++k) xs[k] = k < valid ? load_as_f32(ZENWOQ_BF16, x, k) : 0.0f;
  constexpr std::uint64_t kLanes = 64;  // few enough accumulators to stay in registers over all k
  for (std::uint64_t c = 0; c < kColumns; c += kLanes) {
    float sum[kLanes];
    for (std::uint64_t j = 0; j < kLanes; ++j) sum[j] = acc[c + j];
    for (std::uint64_t k = 0; k < count; k += 2) {
      const float* even = decoded.t[k] + c;
      const float* odd = decoded.t[k + 1] + c;
      for (std::uint64_t j = 0; j < kLanes; ++j) sum[j] = __builtin_fmaf(xs[k + 1], odd[j], sum[j]);
      for (std::uint64_t j = 0; j < kLanes; ++j) sum[j] = __builtin_fmaf(xs[k], even[j], sum[j]);
    }
    for (std::uint64_t j = 0; j < kLanes; ++j) acc[c + j] = sum[j];
  }
}

// 64 scales or offsets of a group of one type, widened; of two levels their products, which are exact. As in products
// of kernels a 2^-127, which is a denormal, is 0.
void load_parameters(zenwoq_dtype type, const std::uint8_t* values, const std::uint8_t* supers, float* out) {
  for (std::uint64_t c = 0; c < kColumns; ++c) {
    out[c] = load_as_f32(type, values, c);
    if (is_two_level(type)) out[c] *= load_as_f32(ZENWOQ_F16, supers, c);
  }
}

// total = fma(scale, acc [+ (8 - zero) * xsum], total), then fma(offset, xsum, total)
void flush(const KernelKey& key, const PanelLayout& layout, const std::uint8_t* panel, std::uint64_t g, float xsum,
           float* acc, float* total) {
  const std::uint8_t* zeros = panel + layout.zeros(g);
  const std::uint64_t super = g / PanelLayout::kSuperGroups;
  float values[kColumns];
  if (key.zero_kind == ZENWOQ_ZERO_INTEGER) {
    for (std::uint64_t c = 0; c < kColumns; ++c) {
      acc[c] = __builtin_fmaf(static_cast<float>(static_cast<std::int8_t>(zeros[c])), xsum, acc[c]);
    }
  } else if (key.zero_kind == ZENWOQ_ZERO_FLOAT) {
    load_parameters(key.zero_type, zeros, nullptr, values);
    for (std::uint64_t c = 0; c < kColumns; ++c) acc[c] = __builtin_fmaf(-values[c], xsum, acc[c]);
  }
  load_parameters(key.scale_type, panel + layout.scales(g), panel + layout.super_scales(super), values);
  for (std::uint64_t c = 0; c < kColumns; ++c) total[c] = __builtin_fmaf(values[c], acc[c], total[c]);
  if (key.zero_kind == ZENWOQ_ZERO_OFFSET) {
    load_parameters(key.scale_type, zeros, panel + layout.super_offsets(super), values);
    for (std::uint64_t c = 0; c < kColumns; ++c) total[c] = __builtin_fmaf(values[c], xsum, total[c]);
  }
}

// A value of a matrix that has the type of y.
float load_operand(const KernelKey& key, const void* rows, std::uint64_t row_bytes, std::uint64_t row,
                   std::uint64_t column) {
  return load_as_f32(key.output_type, static_cast<const unsigned char*>(rows) + row * row_bytes, column);
}

float with_tensor_scale(const KernelKey& key, float tensor_scale, float total) {
  switch (key.epilogue.tensor_scale) {
    case ZENWOQ_TENSOR_SCALE_TIMES: return total * tensor_scale;
    case ZENWOQ_TENSOR_SCALE_BY: return total / tensor_scale;
    default: return total;
  }
}

// Tensor scale and bias of a row's totals.
void finish_product(const KernelKey& key, float tensor_scale, const float* bias, std::uint64_t columns, float* values) {
  for (std::uint64_t c = 0; c < columns; ++c) values[c] = with_tensor_scale(key, tensor_scale, values[c]);
  if (!key.epilogue.bias) return;
  for (std::uint64_t c = 0; c < columns; ++c) values[c] += bias[c];
}

// A loop for each: with the function a constant, compilers vectorise it.
void activate_all(zenwoq_activation activation, std::uint64_t columns, float* values) {
  const auto each = [&](auto constant) {
    for (std::uint64_t c = 0; c < columns; ++c) values[c] = activate(decltype(constant)::value, values[c]);
  };
  switch (activation) {
    case ZENWOQ_ACTIVATION_RELU: return each(std::integral_constant<zenwoq_activation, ZENWOQ_ACTIVATION_RELU>());
    case ZENWOQ_ACTIVATION_SILU: return each(std::integral_constant<zenwoq_activation, ZENWOQ_ACTIVATION_SILU>());
    case ZENWOQ_ACTIVATION_GELU: return each(std::integral_constant<zenwoq_activation, ZENWOQ_ACTIVATION_GELU>());
    case ZENWOQ_ACTIVATION_GELU_TANH:
      return each(std::integral_constant<zenwoq_activation, ZENWOQ_ACTIVATION_GELU_TANH>());
    default: return;
  }
}

// values = activation(values) * up
void gate(zenwoq_activation activation, std::uint64_t columns, const float* up, float* values) {
  if (activation == ZENWOQ_ACTIVATION_SWIGLU_OAI) {
    for (std::uint64_t c = 0; c < columns; ++c) values[c] = swiglu_oai(values[c], up[c]);
    return;
  }
  activate_all(activation, columns, values);
  for (std::uint64_t c = 0; c < columns; ++c) values[c] *= up[c];
}

// Columns [begin, begin + columns) of a row, from the panel's totals, which are overwritten.
void store(const KernelKey& key, const GemmArgs& args, std::uint64_t row, std::uint64_t begin, std::uint64_t columns,
           float* totals, float* up_totals) {
  const Epilogue& epilogue = key.epilogue;
  const auto bias_at = [begin](const float* bias) { return bias == nullptr ? nullptr : bias + begin; };
  finish_product(key, args.tensor_scale, bias_at(args.bias), columns, totals);
  if (key.tile.gated) {
    finish_product(key, args.up_tensor_scale, bias_at(args.up_bias), columns, up_totals);
    gate(epilogue.activation, columns, up_totals, totals);
  } else {
    activate_all(epilogue.activation, columns, totals);
  }
  for (std::uint64_t c = 0; epilogue.factor && c < columns; ++c) {
    totals[c] *= load_operand(key, args.factor, args.factor_bytes, row, begin + c);
  }
  for (std::uint64_t i = 0; i < epilogue.residuals; ++i) {
    for (std::uint64_t c = 0; c < columns; ++c) {
      totals[c] += load_operand(key, args.residual[i], args.residual_bytes[i], row, begin + c);
    }
  }
  unsigned char* y = static_cast<unsigned char*>(args.y) + row * args.ldy_bytes;
  for (std::uint64_t c = 0; c < columns; ++c) {
    if (key.output_type == ZENWOQ_F32) {
      std::memcpy(y + (begin + c) * 4, &totals[c], 4);
    } else {
      const std::uint16_t rounded = f32_to_bf16(totals[c]);
      std::memcpy(y + (begin + c) * 2, &rounded, 2);
    }
  }
}

// One panel times one block of rows.
void panel_block(const KernelKey& key, std::uint64_t rows, const GemmArgs& args, const Values& values, Tile64* totals) {
  Decoded decoded;
  Tile64 acc;
  std::memset(totals, 0, sizeof *totals);
  const PanelLayout layout = key.layout();
  for (std::uint64_t g = 0; g < key.groups(); ++g) {
    const std::uint64_t end = smaller((g + 1) * key.group, key.k);
    std::memset(&acc, 0, sizeof acc);
    for (std::uint64_t k = g * key.group; k < end; k += kBlockSteps * kStepK) {
      const std::uint64_t valid = smaller(end - k, kBlockSteps * kStepK);
      const std::uint64_t steps = (valid + kStepK - 1) / kStepK;
      decode_steps(args.panels + layout.step(k / kStepK), steps, values, &decoded);
      for (std::uint64_t r = 0; r < rows; ++r) {
        const auto* x = static_cast<const unsigned char*>(args.x) + r * args.ldx_bytes + k * 2;
        multiply(x, valid, steps * kStepK, decoded, acc.value[r]);
      }
    }
    for (std::uint64_t r = 0; r < rows; ++r) {
      float xsum = 0.0f;
      if (key.zero_kind != ZENWOQ_ZERO_NONE) {
        std::memcpy(&xsum, reinterpret_cast<const unsigned char*>(args.xsum) + g * args.xsum_bytes + r * 4, 4);
      }
      flush(key, layout, args.panels, g, xsum, acc.value[r], totals->value[r]);
    }
  }
}

__attribute__((noinline))  // keeps every FP operation inside the MXCSR scope of the caller
void all_panels(const KernelKey& key, std::uint64_t rows, const GemmArgs& args) {
  const Values values = read_values(*args.table);
  const std::uint64_t panel_bytes = key.layout().bytes();
  Tile64 totals, up_totals;
  for (std::uint64_t panel = 0; panel * kColumns < args.columns; ++panel) {
    const std::uint64_t begin = panel * kColumns;
    for (std::uint64_t row = 0; row < rows; row += kBlockRows) {
      const std::uint64_t block = smaller(kBlockRows, rows - row);
      GemmArgs part = args;
      if (key.zero_kind != ZENWOQ_ZERO_NONE) {
        part.xsum = reinterpret_cast<const float*>(reinterpret_cast<const unsigned char*>(args.xsum) + row * 4);
      }
      part.x = static_cast<const unsigned char*>(args.x) + row * args.ldx_bytes;
      part.panels = args.panels + panel * panel_bytes;
      panel_block(key, block, part, values, &totals);
      if (key.tile.gated) {
        part.panels = args.up_panels + panel * panel_bytes;
        panel_block(key, block, part, values, &up_totals);
      }
      for (std::uint64_t r = 0; r < block; ++r) {
        store(key, args, row + r, begin, smaller(kColumns, args.columns - begin), totals.value[r], up_totals.value[r]);
      }
    }
  }
}

}  // namespace

void ZENWOQ_REFERENCE_NAME(const KernelKey& key, std::uint64_t rows, const GemmArgs& args) {
  const MxcsrScope contract(MxcsrScope::kContract);
  all_panels(key, rows, args);
}

}  // namespace zenwoq
