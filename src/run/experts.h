// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// A run of a mixture of experts: tokens are sorted by expert, each expert multiplies its rows, and each token adds up
// what its experts made of it.
#pragma once

#include <optional>
#include <span>

#include "src/run/layer.h"

namespace zenwoq {

struct ExpertLayers {
  Layer gate;  // [I,H], gated, y in bf16
  Layer down;  // [H,I], y in f32
};

// Who has them, a handle or a call, is none of the run's business.
struct Experts {
  std::span<const ExpertLayers* const> layers;  // NULL: no token chose it
  std::uint64_t hidden = 0, intermediate = 0;
  zenwoq_dtype output_type = ZENWOQ_F32;
  std::uint64_t gate_sums = 0, down_sums = 0;  // group sums of a row, the most that an expert needs
  bool arranges_down = false;                  // an expert permutes or multiplies columns of what down reads

  void note(const ExpertLayers& expert);  // for what is said of all
};

// A run that has passed the C boundary. All arrays have any alignment.
struct ExpertsArguments {
  std::uint64_t tokens, slots;
  zenwoq_dtype x_type;
  const std::uint8_t* x;
  std::uint64_t ldx_bytes;
  const std::uint8_t* ids;  // [tokens, slots] of id_bytes, 4 or 8
  std::size_t id_bytes;
  zenwoq_dtype router_type;
  const std::uint8_t* router;
  std::uint8_t* y;
  std::uint64_t ldy_bytes;
  unsigned threads;
  CallersLoop loop;
};

// The expert of entry i of ids; empty where the slot is skipped.
std::optional<std::size_t> expert_at(const ExpertsArguments& args, std::size_t i, std::size_t experts);

// Scratch of a run, of any alignment; empty if it overflows. It grows with tokens up to a few hundred MiB: more tokens
// run part by part.
std::optional<std::size_t> scratch_bytes(const Context& context, const Experts& experts, const ExpertsArguments& args);

// Allocates nothing once the kernels exist.
void run(Context& context, const Experts& experts, const ExpertsArguments& args, std::uint8_t* scratch);

}  // namespace zenwoq
