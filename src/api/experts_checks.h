// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// What mixtures of experts have in common at the C boundary, of handles and of packed bytes: descriptions, checks
// before any byte is written, layers.
#pragma once

#include "src/api/layer_biases.h"
#include "src/api/run_checks.h"
#include "src/run/experts.h"

namespace zenwoq {

// A bias of all experts.
struct ExpertsBias {
  const void* data;
  std::size_t bytes;
};

// What descriptions of handles and of packed bytes have in common.
struct ExpertsBlock {
  std::size_t experts, hidden, intermediate;
  bool halves;  // gate has up too
  zenwoq_activation activation;
  zenwoq_dtype output_type, bias_type;
  ExpertsBias gate_bias, up_bias, down_bias;

  template <typename Description>
  explicit ExpertsBlock(const Description& d)
      : experts(d.experts),
        hidden(d.hidden),
        intermediate(d.intermediate),
        halves(d.up == nullptr),
        activation(d.activation),
        output_type(d.output_type),
        bias_type(d.bias_type),
        gate_bias{d.gate_bias, d.gate_bias_bytes},
        up_bias{d.up_bias, d.up_bias_bytes},
        down_bias{d.down_bias, d.down_bias_bytes} {}

  std::size_t gate_rows() const { return halves ? 2 * intermediate : intermediate; }
};

// The views of an expert; up is without a base where gate has both.
struct ExpertViews {
  PackedView gate, up, down;
};

// Of one expert.
struct ExpertBiases {
  LayerBiases gate, down;

  ExpertBiases(const ExpertsBlock& block, std::size_t expert);

  // At least what load() takes of memory.
  std::size_t floats() const { return gate.floats(false) + down.floats(false); }
  // Gives the layers their biases, as LayerBiases does.
  float* load(bool borrow, float* memory, ExpertLayers* layers) const {
    return down.load(borrow, gate.load(borrow, memory, &layers->gate), &layers->down);
  }
};

// All but the weights. Errors: INVALID_ARGUMENT, BUFFER_TOO_SMALL, OVERFLOW.
Status check_block(const ExpertsBlock& block);

// Whether the weights of an expert have the block's shapes and go together. Errors: INVALID_ARGUMENT.
Status check_expert(const ExpertsBlock& block, const ExpertViews& views);

// An error of the expert, which the text names.
Status of_expert(std::size_t expert, const Status& status);

// Without biases and kernels.
ExpertLayers make_layers(const ExpertsBlock& block, const ExpertViews& views);

// All that tells a layer's kernels from those of another one, of the same tile.
KernelKey expert_key(const Context& context, const Layer& layer);

// The kernels that layers of one key have found.
struct FoundKernels {
  KernelKey key;
  KernelSlots slots;

  explicit FoundKernels(const KernelKey& of) : key(of) {}
};

// Checks a run whole before any byte is written.
Status check_experts_args(const Context& context, const Experts& experts, const zenwoq_experts_args& args,
                          ExpertsArguments* run);

// A run that has passed these checks. Errors: OVERFLOW.
Status run_experts(Context& context, const Experts& experts, const ExpertsArguments& args);

}  // namespace zenwoq
