// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// Mixtures of experts at the C boundary, of packed bytes without handles.
#include <optional>

#include "src/api/experts_checks.h"

using namespace zenwoq;

namespace {

// One of the three tensors of packed experts.
struct Tensor {
  const char* name;
  const void* data;
  std::size_t stride, bytes;

  Status check(std::size_t experts) const {
    if (Status status = check_pointer(name, data); !status.ok()) return status;
    std::size_t last = 0;
    if (__builtin_mul_overflow(experts - 1, stride, &last)) {
      return {ZENWOQ_ERROR_OVERFLOW, formatted("{}: {} experts of {} bytes overflow", name, experts, stride)};
    }
    if (last < bytes) return {};
    return {ZENWOQ_ERROR_BUFFER_TOO_SMALL,
            formatted("{0}_bytes is {1}, the last of {2} experts begins at {3} bytes", name, bytes, experts, last)};
  }
  Status open(std::size_t expert, std::size_t experts, PackedView* view) const {
    const std::size_t left = bytes - expert * stride;
    const Status status = open_packed(static_cast<const std::uint8_t*>(data) + expert * stride,
                                      expert + 1 == experts ? left : std::min(left, stride), view);
    if (status.ok()) return {};
    return {status.code(), formatted("{}: {}", name, status.text())};
  }
};

// Packed experts of one call: those that a token chose are opened.
class OpenedExperts {
 public:
  OpenedExperts(Arena& arena, const ExpertsBlock& block, std::size_t most)
      : pointers_(arena.take<const ExpertLayers*>(block.experts)), layers_(arena.take<ExpertLayers>(most)) {
    std::size_t floats = 0;
    biases_ =
        arena.take<float>(__builtin_mul_overflow(ExpertBiases(block, 0).floats(), most, &floats) ? SIZE_MAX : floats);
  }

  // Errors: those of an expert, which the text names.
  Status open(const Context& context, const zenwoq_packed_experts& packed, const ExpertsBlock& block,
              const ExpertsArguments& args, Experts* experts) {
    std::fill_n(pointers_, block.experts, nullptr);
    experts->layers = {pointers_, block.experts};
    for (std::size_t i = 0; i < args.tokens * args.slots; ++i) {
      const auto expert = expert_at(args, i, block.experts);
      if (!expert || pointers_[*expert] != nullptr) continue;
      if (Status status = open_one(context, packed, block, *expert, experts); !status.ok()) {
        return of_expert(*expert, status);
      }
    }
    return {};
  }

 private:
  Status open_one(const Context& context, const zenwoq_packed_experts& packed, const ExpertsBlock& block,
                  std::size_t expert, Experts* experts) {
    ExpertViews views{};
    const Tensor gate{"gate", packed.gate, packed.gate_stride, packed.gate_bytes};
    const Tensor up{"up", packed.up, packed.up_stride, packed.up_bytes};
    const Tensor down{"down", packed.down, packed.down_stride, packed.down_bytes};
    if (Status status = gate.open(expert, block.experts, &views.gate); !status.ok()) return status;
    if (Status status = down.open(expert, block.experts, &views.down); !status.ok()) return status;
    if (!block.halves) {
      if (Status status = up.open(expert, block.experts, &views.up); !status.ok()) return status;
    }
    if (Status status = check_expert(block, views); !status.ok()) return status;
    ExpertLayers& layers = *new (&layers_[count_++]) ExpertLayers(make_layers(block, views));
    biases_ = ExpertBiases(block, expert).load(true, biases_, &layers);
    layers.gate.slots = slots_of(&gate_kernels_, context, layers.gate);
    layers.down.slots = slots_of(&down_kernels_, context, layers.down);
    pointers_[expert] = &layers;
    experts->note(layers);
    return {};
  }

  // Experts are nearly always alike: those that are as the first one ask the registry once.
  static KernelSlots* slots_of(std::optional<FoundKernels>* first, const Context& context, const Layer& layer) {
    const KernelKey key = expert_key(context, layer);
    if (!*first) first->emplace(key);
    return (*first)->key == key ? &(*first)->slots : nullptr;
  }

  const ExpertLayers** pointers_;
  ExpertLayers* layers_;
  float* biases_;
  std::size_t count_ = 0;
  std::optional<FoundKernels> gate_kernels_, down_kernels_;
};

// y against all that is borrowed of the experts.
Status check_apart(const zenwoq_packed_experts& packed, const ExpertsBlock& block, const ExpertsArguments& args) {
  const std::size_t y_bytes = (args.tokens - 1) * args.ldy_bytes + block.hidden * dtype_bytes(block.output_type);
  const auto apart = [&](const char* name, const void* data, std::size_t bytes) {
    return check_y_apart(args.y, y_bytes, name, data, bytes);
  };
  if (Status status = apart("gate", packed.gate, packed.gate_bytes); !status.ok()) return status;
  if (Status status = apart("up", packed.up, packed.up_bytes); !status.ok()) return status;
  if (Status status = apart("down", packed.down, packed.down_bytes); !status.ok()) return status;
  if (Status status = apart("gate_bias", packed.gate_bias, packed.gate_bias_bytes); !status.ok()) return status;
  if (Status status = apart("up_bias", packed.up_bias, packed.up_bias_bytes); !status.ok()) return status;
  return apart("down_bias", packed.down_bias, packed.down_bias_bytes);
}

Status run_packed(Context& context, const zenwoq_packed_experts& packed, const zenwoq_experts_args& args) {
  const ExpertsBlock block(packed);
  if (Status status = check_block(block); !status.ok()) return status;
  for (const Tensor& tensor : {Tensor{"gate", packed.gate, packed.gate_stride, packed.gate_bytes},
                               Tensor{"down", packed.down, packed.down_stride, packed.down_bytes}}) {
    if (Status status = tensor.check(block.experts); !status.ok()) return status;
  }
  if (!block.halves) {
    const Tensor up{"up", packed.up, packed.up_stride, packed.up_bytes};
    if (Status status = up.check(block.experts); !status.ok()) return status;
  }
  Experts experts;
  experts.hidden = block.hidden, experts.intermediate = block.intermediate, experts.output_type = block.output_type;
  ExpertsArguments run_args;
  if (Status status = check_experts_args(context, experts, args, &run_args); !status.ok()) return status;
  if (args.tokens == 0) return {};
  if (Status status = check_apart(packed, block, run_args); !status.ok()) return status;
  const std::size_t most = std::min(block.experts, args.tokens * args.slots);
  Arena measured;
  (void)OpenedExperts(measured, block, most);
  if (!measured.bytes()) return too_much();
  Status status;
  with_workspace<kStackArrays>(context, *measured.bytes(), nullptr, [&](std::uint8_t* memory) {
    Arena arena(memory);
    OpenedExperts opened(arena, block, most);
    status = opened.open(context, packed, block, run_args, &experts);
    if (status.ok()) status = run_experts(context, experts, run_args);
  });
  return status;
}

}  // namespace

zenwoq_status zenwoq_packed_experts_run(zenwoq_context* context, const zenwoq_packed_experts* experts,
                                        const zenwoq_experts_args* args) {
  return at_boundary(context_of(context), [&]() -> Status {
    if (Status status = check_pointer("context", context); !status.ok()) return status;
    zenwoq_packed_experts p;
    zenwoq_experts_args a;
    if (Status status = read_struct(experts, &p); !status.ok()) return status;
    if (Status status = read_struct(args, &a); !status.ok()) return status;
    return run_packed(*context->context, p, a);
  });
}
