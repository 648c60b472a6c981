// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
#include "src/api/experts_checks.h"

namespace zenwoq {
namespace {

constexpr std::size_t kMaxExperts = INT32_MAX;

CallersBias bias_of(const ExpertsBlock& block, const ExpertsBias& bias, std::size_t expert, std::size_t count) {
  const auto* data = static_cast<const std::uint8_t*>(bias.data);
  if (data != nullptr) data += expert * count * dtype_bytes(block.bias_type);
  return {data, block.bias_type, count};
}

Status check_size(const char* name, std::size_t value) {
  return value == 0 ? invalid("{} is 0: must be at least 1", name) : Status();
}

Status check_biases(const ExpertsBlock& block) {
  const auto check = [&](const char* name, const ExpertsBias& bias, std::size_t columns) -> Status {
    std::size_t count = 0;
    if (bias.data != nullptr && __builtin_mul_overflow(block.experts, columns, &count)) {
      return {ZENWOQ_ERROR_OVERFLOW,
              formatted("{} of {} experts of {} values overflows", name, block.experts, columns)};
    }
    return check_bias(name, bias.data, bias.bytes, block.bias_type, count);
  };
  if (block.halves && block.up_bias.data != nullptr) {
    return invalid("up_bias is given and up is NULL: gate_bias has the values of both");
  }
  if (Status status = check("gate_bias", block.gate_bias, block.gate_rows()); !status.ok()) return status;
  if (Status status = check("up_bias", block.up_bias, block.intermediate); !status.ok()) return status;
  return check("down_bias", block.down_bias, block.hidden);
}

Status check_shape(const char* name, const PackedView& view, std::size_t n, std::size_t k) {
  if (view.header.n == n && view.header.k == k) return {};
  return invalid("{} is [{}, {}]: must be [{}, {}]", name, view.header.n, view.header.k, n, k);
}

}  // namespace

ExpertBiases::ExpertBiases(const ExpertsBlock& block, std::size_t expert)
    : gate(bias_of(block, block.gate_bias, expert, block.gate_rows()),
           bias_of(block, block.up_bias, expert, block.halves ? 0 : block.intermediate)),
      down(bias_of(block, block.down_bias, expert, block.hidden), {}) {}

Status check_block(const ExpertsBlock& block) {
  if (Status status = check_size("experts", block.experts); !status.ok()) return status;
  if (block.experts > kMaxExperts) {
    return {ZENWOQ_ERROR_OVERFLOW, formatted("experts is {}: at most {} are possible", block.experts, kMaxExperts)};
  }
  if (Status status = check_size("hidden", block.hidden); !status.ok()) return status;
  if (Status status = check_size("intermediate", block.intermediate); !status.ok()) return status;
  // So that bytes of a row, of which a few are added up, are far from an overflow, also where no weight is looked at.
  constexpr std::size_t kMost = std::size_t{PTRDIFF_MAX} / 64;
  if (block.hidden > kMost || block.intermediate > kMost) {
    return {ZENWOQ_ERROR_OVERFLOW,
            formatted("hidden is {}, intermediate {}: rows of them overflow", block.hidden, block.intermediate)};
  }
  if (block.halves && block.intermediate % kPanelColumns != 0) {
    return invalid("intermediate is {} and up is NULL: must be a multiple of {}", block.intermediate, kPanelColumns);
  }
  if (block.activation <= ZENWOQ_ACTIVATION_NONE || block.activation > ZENWOQ_ACTIVATION_SWIGLU_OAI) {
    return invalid("activation {}: must be ZENWOQ_ACTIVATION_RELU (1) to ZENWOQ_ACTIVATION_SWIGLU_OAI (5)",
                   static_cast<int>(block.activation));
  }
  if (block.output_type != ZENWOQ_F32 && block.output_type != ZENWOQ_BF16) {
    return invalid("output_type {}: must be ZENWOQ_F32 (1) or ZENWOQ_BF16 (3)", static_cast<int>(block.output_type));
  }
  return check_biases(block);
}

Status of_expert(std::size_t expert, const Status& status) {
  return {status.code(), formatted("expert {}: {}", expert, status.text())};
}

Status check_expert(const ExpertsBlock& block, const ExpertViews& views) {
  if (Status status = check_shape("gate", views.gate, block.gate_rows(), block.hidden); !status.ok()) return status;
  if (Status status = check_shape("down", views.down, block.hidden, block.intermediate); !status.ok()) return status;
  return block.halves ? check_halves(views.gate.header) : check_pair(views.gate, views.up);
}

ExpertLayers make_layers(const ExpertsBlock& block, const ExpertViews& views) {
  ExpertLayers made{Layer(views.gate, ZENWOQ_BF16, nullptr, nullptr), Layer(views.down, ZENWOQ_F32, nullptr, nullptr)};
  made.gate.activation = block.activation;
  block.halves ? add_lower_half(&made.gate) : add_up(views.up, &made.gate);
  return made;
}

KernelKey expert_key(const Context& context, const Layer& layer) {
  Tile tile;
  tile.gated = layer.gated();
  return kernel_key(layer.weight.header, layer.table.integer, layer.output_type, layer.epilogue(), tile,
                    context.tuning());
}

Status check_experts_args(const Context& context, const Experts& experts, const zenwoq_experts_args& args,
                          ExpertsArguments* run) {
  if (Status status = check_threads(args.threads, args.reserved, args.parallel_for); !status.ok()) return status;
  if (Status status = check_float_type("x_type", args.x_type); !status.ok()) return status;
  if (Status status = check_float_type("router_type", args.router_type); !status.ok()) return status;
  if (args.id_bytes != 4 && args.id_bytes != 8) return invalid("id_bytes is {}: must be 4 or 8", args.id_bytes);
  if (args.tokens == 0) return {};
  const std::size_t ldx = args.ldx == 0 ? experts.hidden : args.ldx;
  const std::size_t ldy = args.ldy == 0 ? experts.hidden : args.ldy;
  const std::size_t x_size = dtype_bytes(args.x_type), y_size = dtype_bytes(experts.output_type);
  std::size_t x_bytes = 0, y_bytes = 0, entries = 0, ids_bytes = 0;
  if (Status status = matrix_bytes("x", args.tokens, experts.hidden, ldx, x_size, &x_bytes); !status.ok()) {
    return status;
  }
  if (Status status = matrix_bytes("y", args.tokens, experts.hidden, ldy, y_size, &y_bytes); !status.ok()) {
    return status;
  }
  if (args.slots > UINT32_MAX / 2 || __builtin_mul_overflow(args.tokens, args.slots, &entries) ||
      __builtin_mul_overflow(entries, args.id_bytes, &ids_bytes)) {
    return {ZENWOQ_ERROR_OVERFLOW, formatted("{} tokens of {} slots overflow", args.tokens, args.slots)};
  }
  const std::size_t router_bytes = entries * dtype_bytes(args.router_type);
  if (Status status = check_buffer("x", args.x, args.x_bytes, x_bytes); !status.ok()) return status;
  if (Status status = check_buffer("y", args.y, args.y_bytes, y_bytes); !status.ok()) return status;
  if (entries != 0) {
    if (Status status = check_buffer("ids", args.ids, args.ids_bytes, ids_bytes); !status.ok()) return status;
    if (Status status = check_buffer("router", args.router, args.router_bytes, router_bytes); !status.ok())
      return status;
  }
  const auto apart = [&](const char* name, const void* data, std::size_t bytes) {
    return check_y_apart(args.y, y_bytes, name, data, bytes);
  };
  if (Status status = apart("x", args.x, x_bytes); !status.ok()) return status;
  if (Status status = apart("ids", args.ids, ids_bytes); !status.ok()) return status;
  if (Status status = apart("router", args.router, router_bytes); !status.ok()) return status;
  *run = {args.tokens,
          args.slots,
          args.x_type,
          static_cast<const std::uint8_t*>(args.x),
          ldx * x_size,
          static_cast<const std::uint8_t*>(args.ids),
          args.id_bytes,
          args.router_type,
          static_cast<const std::uint8_t*>(args.router),
          static_cast<std::uint8_t*>(args.y),
          ldy * y_size,
          threads_of_run(context, args.threads, args.parallel_for),
          {args.parallel_for, args.parallel_for_user}};
  return {};
}

Status run_experts(Context& context, const Experts& experts, const ExpertsArguments& args) {
  const auto bytes = scratch_bytes(context, experts, args);
  if (!bytes) {
    return {ZENWOQ_ERROR_OVERFLOW, formatted("scratch of {} tokens of {} slots overflows", args.tokens, args.slots)};
  }
  with_workspace<kStackArrays>(context, *bytes, nullptr,
                               [&](std::uint8_t* memory) { run(context, experts, args, memory); });
  return {};
}

}  // namespace zenwoq
