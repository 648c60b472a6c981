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

// Plain data. Making one on borrowed bytes allocates nothing: zenwoq_packed_run does it at each call.
struct Layer {
  Layer(const PackedView& packed, zenwoq_dtype output, const float* padded_bias, KernelSlots* kernels);

  PackedView weight;
  zenwoq_dtype output_type;
  const float* bias;   // whole panels of f32, or NULL
  KernelSlots* slots;  // NULL: the registry is asked at each run
  DecodeTable table;

  Epilogue epilogue() const { return {weight.header.tensor_scale_kind, bias != nullptr}; }
};

// A run that has passed the C boundary.
struct RunArguments {
  ActivationSource x;
  void* y;
  std::uint64_t ldy_bytes;
  unsigned threads;  // at least 1
  CallersLoop loop;  // NULL: the context's
};

Plan plan_of(const Context& context, const Layer& layer, std::uint64_t m, unsigned threads);

// The kernel of a tile, generated if need be; NULL where the reference runs, and then why (if asked for). Throws
// bad_alloc.
const Kernel* find_kernel(Context& context, const Layer& layer, const Tile& tile, std::string* reason = nullptr);

// workspace: activation_bytes of any alignment; may be NULL for 0. Allocates nothing once the kernels exist.
void run(Context& context, const Layer& layer, const RunArguments& args, std::uint8_t* workspace);

}  // namespace zenwoq
