// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// One layer, all of it borrowed, and a run of it: plan, activations, kernels.
#pragma once

#include <array>
#include <atomic>
#include <string>

#include "src/activations/activations.h"
#include "src/plan/plan.h"
#include "src/run/context.h"
#include "src/weight/packed.h"

namespace zenwoq {

// Kernels that a layer has found: the registry is asked once a tile. Of one context.
class KernelSlots {
 public:
  std::atomic<const Kernel*>& at(const Tile& tile) { return slots_[tile.rows][tile.scratch ? 2 : tile.panels() - 1]; }

 private:
  std::array<std::array<std::atomic<const Kernel*>, 3>, kMaxTileRows + 1> slots_{};
};

// The second weight of a gated product: the same columns of it, packed alike. panels: NULL where there is none.
struct UpWeight {
  const std::uint8_t* panels = nullptr;
  float tensor_scale = 1.0f;
  const float* bias = nullptr;  // whole panels of f32, exactly where the first weight has one
};

// Plain data. Making one on borrowed bytes allocates nothing: zenwoq_packed_run does it at each call.
struct Layer {
  Layer(const PackedView& packed, zenwoq_dtype output, const float* padded_bias, KernelSlots* kernels);

  PackedView weight;
  zenwoq_dtype output_type;
  const float* bias;   // whole panels of f32, or NULL
  KernelSlots* slots;  // NULL: the registry is asked at each run
  DecodeTable table;
  std::uint64_t n;  // columns of y: the weight's rows, or half of them where it holds gate and up
  UpWeight up;
  zenwoq_activation activation = ZENWOQ_ACTIVATION_NONE;
  bool factor = false;
  std::uint8_t residuals = 0;

  bool gated() const { return up.panels != nullptr; }
  Epilogue epilogue() const {
    return {weight.header.tensor_scale_kind, bias != nullptr, activation, factor, residuals};
  }
};

// A matrix of the shape and type of y that an epilogue reads.
struct Operand {
  const std::uint8_t* data = nullptr;
  std::uint64_t ld_bytes = 0;
};

// A run that has passed the C boundary.
struct RunArguments {
  ActivationSource x;
  void* y;
  std::uint64_t ldy_bytes;
  Operand factor, residual[2];  // as many as the layer has
  unsigned threads;             // at least 1
  CallersLoop loop;             // NULL: the context's
};

inline Problem problem_of(const Layer& layer, std::uint64_t m) {
  return {m, layer.n, layer.weight.header.k, layer.gated()};
}

Plan plan_of(const Context& context, const Layer& layer, std::uint64_t m, unsigned threads);

// The kernel of a tile, generated if need be; NULL where the reference runs, and then why (if asked for). Throws
// bad_alloc.
const Kernel* find_kernel(Context& context, const Layer& layer, const Tile& tile, std::string* reason = nullptr);

// workspace: activation_bytes of any alignment; may be NULL for 0. Allocates nothing once the kernels exist.
void run(Context& context, const Layer& layer, const RunArguments& args, std::uint8_t* workspace);

}  // namespace zenwoq
