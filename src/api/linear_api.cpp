// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// Linears at the C boundary: create, prepare, run, and their kernels.
#include <optional>

#include "jit/jit.h"
#include "src/api/checks.h"

using namespace zenwoq;

namespace {

constexpr std::size_t kStackWorkspace = 8192;  // runs that need no more bring it themselves

Status check_epilogue(const zenwoq_linear_desc& desc) {
  if (desc.activation < ZENWOQ_ACTIVATION_NONE || desc.activation > ZENWOQ_ACTIVATION_SWIGLU_OAI) {
    return invalid("activation {}: must be ZENWOQ_ACTIVATION_NONE (0) to ZENWOQ_ACTIVATION_SWIGLU_OAI (5)",
                   static_cast<int>(desc.activation));
  }
  if (desc.factors > 1) return invalid("factors is {}: must be 0 or 1", desc.factors);
  if (desc.residuals > 2) return invalid("residuals is {}: must be 0, 1 or 2", desc.residuals);
  if (desc.halves > 1) return invalid("halves is {}: must be 0 or 1", desc.halves);
  const int ways = (desc.up != nullptr) + (desc.up_packed != nullptr) + (desc.halves != 0);
  if (ways > 1) return invalid("up, up_packed and halves: only one of them may be given");
  if (ways == 1 && (desc.factors != 0 || desc.residuals != 0)) {
    return invalid("factors is {} and residuals {}: must be 0 in a gated product", desc.factors, desc.residuals);
  }
  if (ways == 0 && desc.activation == ZENWOQ_ACTIVATION_SWIGLU_OAI) {
    return invalid(
        "activation ZENWOQ_ACTIVATION_SWIGLU_OAI is one of gated products: up, up_packed or halves is missing");
  }
  const bool has_up_bias = desc.up_bias != nullptr || desc.up_bias_bytes != 0;
  if (has_up_bias && (ways == 0 || desc.halves != 0)) {
    return invalid("up_bias is given, but there is no second weight{}",
                   desc.halves != 0 ? ": with halves, bias has the values of both" : "");
  }
  return {};
}

// The biases of a layer with this weight. Errors: INVALID_ARGUMENT, BUFFER_TOO_SMALL.
Status check_biases(const zenwoq_linear_desc& desc, const PackedHeader& header) {
  if (Status status = check_bias("bias", desc.bias, desc.bias_bytes, desc.bias_type, header.n); !status.ok()) {
    return status;
  }
  return check_bias("up_bias", desc.up_bias, desc.up_bias_bytes, desc.bias_type, header.n);
}

// What a layer does after its product, without the weights and biases.
void set_epilogue(const zenwoq_linear_desc& desc, Layer* layer) {
  layer->activation = desc.activation;
  layer->factor = desc.factors != 0;
  layer->residuals = static_cast<std::uint8_t>(desc.residuals);
}

// A bias as kernels read it, whole panels of f32: the caller's memory where it is that, else a copy. data may be NULL:
// zeroes, where the other weight of a gated product has one.
struct BiasReader {
  const void* data;
  zenwoq_dtype type;
  std::size_t count;

  bool as_it_is() const {
    return data != nullptr && type == ZENWOQ_F32 && count % kPanelColumns == 0 &&
           reinterpret_cast<std::uintptr_t>(data) % alignof(float) == 0;
  }
  std::size_t padded() const { return (count + kPanelColumns - 1) / kPanelColumns * kPanelColumns; }
  void load(float* to) const {
    if (data != nullptr) load_bias(data, type, count, to);
    std::fill(to + (data == nullptr ? 0 : count), to + padded(), 0.0f);
  }
};

// desc may be NULL (all defaults).
Status read_linear_desc(const zenwoq_linear_desc* desc, zenwoq_linear_desc* out) {
  zenwoq_linear_desc_init(out);
  if (desc != nullptr) {
    if (Status status = read_struct(desc, out); !status.ok()) return status;
  }
  if (out->output_type != ZENWOQ_F32 && out->output_type != ZENWOQ_BF16) {
    return invalid("output_type {}: must be ZENWOQ_F32 (1) or ZENWOQ_BF16 (3)", static_cast<int>(out->output_type));
  }
  return check_epilogue(*out);
}

Status needed_workspace(const Context& context, const Quantization& weight, std::size_t m, zenwoq_dtype x_type,
                        std::size_t* bytes) {
  if (Status status = check_float_type("x_type", x_type); !status.ok()) return status;
  const auto needed = activation_bytes(weight, m, x_type, context.x_type());
  if (!needed) return {ZENWOQ_ERROR_OVERFLOW, fmt::format("workspace of m = {} rows overflows", m)};
  *bytes = *needed <= kStackWorkspace ? 0 : *needed;
  return {};
}

// y of a run that has been checked so far.
struct Output {
  const void* data;
  std::size_t ld, bytes, m;
  const Layer& layer;
};

// A matrix that the epilogue reads, or none.
Status check_operand(const char* name, const zenwoq_matrix& matrix, bool wanted, const Output& y, Operand* operand) {
  if (!wanted) {
    if (matrix.data == nullptr && matrix.bytes == 0) return {};
    return invalid("{} at {} with {} bytes: the linear was made without it", name, fmt::ptr(matrix.data), matrix.bytes);
  }
  const std::size_t ld = matrix.ld == 0 ? y.layer.n : matrix.ld;
  const std::size_t element = dtype_bytes(y.layer.output_type);
  std::size_t bytes = 0;
  if (Status status = matrix_bytes(name, y.m, y.layer.n, ld, element, &bytes); !status.ok()) return status;
  if (Status status = check_buffer(name, matrix.data, matrix.bytes, bytes); !status.ok()) return status;
  const bool is_y = matrix.data == y.data && ld == y.ld;
  if (!is_y && overlap(matrix.data, bytes, y.data, y.bytes)) {
    return invalid("{} at {} overlaps y at {}: may only be y itself, with y's ld", name, fmt::ptr(matrix.data),
                   fmt::ptr(y.data));
  }
  *operand = {static_cast<const std::uint8_t*>(matrix.data), ld * element};
  return {};
}

// Checks a run whole before any byte is written. out: the run, and the workspace it needs.
Status check_run(const Context& context, const Layer& layer, const zenwoq_run_args& args, RunArguments* run,
                 std::size_t* workspace) {
  const PackedHeader& weight = layer.weight.header;
  if (Status status = needed_workspace(context, weight, args.m, args.x_type, workspace); !status.ok()) return status;
  if (args.reserved != 0) {
    return invalid("reserved is {}: must be 0, a later version may give it a meaning", args.reserved);
  }
  if (args.parallel_for != nullptr && args.threads == 0) {
    return invalid("parallel_for is given and threads is 0: must be how many tasks to cut, the caller's threads");
  }
  if (args.m == 0) return {};
  const std::size_t ldx = args.ldx == 0 ? weight.k : args.ldx;
  const std::size_t ldy = args.ldy == 0 ? layer.n : args.ldy;
  const std::size_t x_size = dtype_bytes(args.x_type);
  const std::size_t y_size = dtype_bytes(layer.output_type);
  std::size_t x_bytes = 0;
  std::size_t y_bytes = 0;
  if (Status status = matrix_bytes("x", args.m, weight.k, ldx, x_size, &x_bytes); !status.ok()) return status;
  if (Status status = matrix_bytes("y", args.m, layer.n, ldy, y_size, &y_bytes); !status.ok()) return status;
  if (Status status = check_buffer("x", args.x, args.x_bytes, x_bytes); !status.ok()) return status;
  if (Status status = check_buffer("y", args.y, args.y_bytes, y_bytes); !status.ok()) return status;
  if (args.workspace != nullptr && args.workspace_bytes < *workspace) {
    return {ZENWOQ_ERROR_BUFFER_TOO_SMALL,
            fmt::format("workspace_bytes is {}, {} are needed (or NULL)", args.workspace_bytes, *workspace)};
  }
  const std::size_t used = args.workspace == nullptr ? 0 : *workspace;
  if (overlap(args.x, x_bytes, args.y, y_bytes) || overlap(args.y, y_bytes, args.workspace, used) ||
      overlap(args.x, x_bytes, args.workspace, used)) {
    return invalid("x at {}, y at {} and workspace at {} overlap", fmt::ptr(args.x), fmt::ptr(args.y),
                   fmt::ptr(args.workspace));
  }
  // The context's threads are no limit to a run that brings its own.
  const unsigned most = args.parallel_for == nullptr ? context.threads() : args.threads;
  run->x = {args.m, args.x_type, args.x, ldx * x_size};
  run->y = args.y;
  run->ldy_bytes = ldy * y_size;
  run->threads = args.threads == 0 ? context.threads() : std::min(args.threads, most);
  run->loop = {args.parallel_for, args.parallel_for_user};
  const Output y{args.y, ldy, y_bytes, args.m, layer};
  const zenwoq_matrix* const residual = args.residual;
  if (Status status = check_operand("factor", args.factor, layer.factor, y, &run->factor); !status.ok()) return status;
  if (Status status = check_operand("residual[0]", residual[0], layer.residuals > 0, y, &run->residual[0]);
      !status.ok())
    return status;
  return check_operand("residual[1]", residual[1], layer.residuals > 1, y, &run->residual[1]);
}

// Calls body(workspace) with `bytes` bytes: the caller's, or from the stack for a few and from the context for more.
template <typename Body>
void with_workspace(Context& context, std::size_t bytes, void* callers, Body&& body) {
  if (bytes <= kStackWorkspace) {
    alignas(64) std::uint8_t on_stack[kStackWorkspace];
    body(on_stack);
  } else if (callers != nullptr) {
    body(static_cast<std::uint8_t*>(callers));
  } else {
    const Scratch::Lease lease(context.scratch(), bytes);
    body(lease.data());
  }
}

Status check_shape(const zenwoq_packed& packed, const PackedView& view) {
  if (view.header.n == packed.n && view.header.k == packed.k) return {};
  return invalid("packed weight of n = {}, k = {}, the caller expects n = {}, k = {}", view.header.n, view.header.k,
                 packed.n, packed.k);
}

Status open_view(const zenwoq_packed& packed, PackedView* view) {
  if (Status status = check_pointer("packed->packed", packed.packed); !status.ok()) return status;
  return open_packed(packed.packed, packed.packed_bytes, view);
}

// The weight that desc names as up, and whether it goes with the gate. Errors: those of open_packed, INVALID_ARGUMENT.
Status open_up(const zenwoq_linear_desc& desc, const PackedView& gate, PackedView* up) {
  zenwoq_packed packed;
  if (Status status = read_struct(desc.up_packed, &packed); !status.ok()) return status;
  if (Status status = check_pointer("up_packed->packed", packed.packed); !status.ok()) return status;
  if (Status status = open_packed(packed.packed, packed.packed_bytes, up); !status.ok()) return status;
  if (Status status = check_shape(packed, *up); !status.ok()) return status;
  return check_pair(gate, *up);
}

// All of a run of packed bytes that is not in zenwoq_run_args.
struct PackedOperands {
  PackedView weight, up{};
  Layer layer;
  BiasReader bias, up_bias;
  std::size_t bias_floats = 0;  // to be loaded, of both

  explicit PackedOperands(const PackedView& view, const zenwoq_linear_desc& desc)
      : weight(view),
        layer(view, desc.output_type, nullptr, nullptr),
        bias{desc.bias, desc.bias_type, view.header.n},
        up_bias{desc.up_bias, desc.bias_type, view.header.n} {}

  bool has_bias() const { return bias.data != nullptr || up_bias.data != nullptr; }
  bool has_up_bias() const { return has_bias() && up.base != nullptr; }
  // Where biases lie in memory that takes bias_floats.
  void load_biases(float* memory) {
    const auto loaded = [&memory](const BiasReader& reader) {
      if (reader.as_it_is()) return static_cast<const float*>(reader.data);
      reader.load(memory);
      return static_cast<const float*>(std::exchange(memory, memory + reader.padded()));
    };
    if (has_bias()) layer.bias = loaded(bias);
    if (has_up_bias()) layer.up.bias = loaded(up_bias);
    if (has_bias() && up.base == nullptr && layer.gated()) layer.up.bias = layer.bias + layer.n;
  }
};

Status check_outputs_apart(const PackedOperands& operands, const zenwoq_run_args& args, const RunArguments& run) {
  const std::size_t y_bytes = (args.m - 1) * run.ldy_bytes + operands.layer.n * dtype_bytes(operands.layer.output_type);
  const auto apart = [&](const char* name, const void* data, std::size_t bytes) -> Status {
    if (data == nullptr || !overlap(run.y, y_bytes, data, bytes)) return {};
    return invalid("y at {} overlaps {} at {}", fmt::ptr(run.y), name, fmt::ptr(data));
  };
  const auto bias_bytes = [](const BiasReader& bias) { return bias.count * dtype_bytes(bias.type); };
  const BiasReader &bias = operands.bias, &up_bias = operands.up_bias;
  if (Status status = apart("packed", operands.weight.base, operands.weight.header.total_bytes); !status.ok())
    return status;
  if (Status status = apart("bias", bias.data, bias.data == nullptr ? 0 : bias_bytes(bias)); !status.ok())
    return status;
  if (operands.up.base == nullptr) return {};
  if (Status status = apart("up_packed", operands.up.base, operands.up.header.total_bytes); !status.ok()) return status;
  return apart("up_bias", up_bias.data, up_bias.data == nullptr ? 0 : bias_bytes(up_bias));
}

Status open_operands(const zenwoq_packed& packed, const zenwoq_linear_desc& desc,
                     std::optional<PackedOperands>* operands) {
  PackedView view;
  if (Status status = open_view(packed, &view); !status.ok()) return status;
  if (Status status = check_shape(packed, view); !status.ok()) return status;
  if (Status status = check_biases(desc, view.header); !status.ok()) return status;
  if (desc.up != nullptr) return invalid("up at {}: runs of packed bytes take up_packed", fmt::ptr(desc.up));
  PackedOperands& made = operands->emplace(view, desc);
  set_epilogue(desc, &made.layer);
  if (desc.halves != 0) {
    if (Status status = check_halves(view.header); !status.ok()) return status;
    add_lower_half(&made.layer);
  } else if (desc.up_packed != nullptr) {
    if (Status status = open_up(desc, view, &made.up); !status.ok()) return status;
    add_up(made.up, &made.layer);
  }
  const auto floats = [](const BiasReader& bias) { return bias.as_it_is() ? 0 : bias.padded(); };
  if (made.has_bias()) made.bias_floats += floats(made.bias);
  if (made.has_up_bias()) made.bias_floats += floats(made.up_bias);
  return {};
}

Status run_packed(Context& context, const zenwoq_packed& packed, const zenwoq_linear_desc& desc,
                  const zenwoq_run_args& args) {
  std::optional<PackedOperands> operands;
  if (Status status = open_operands(packed, desc, &operands); !status.ok()) return status;
  if (args.workspace != nullptr || args.workspace_bytes != 0) {
    return invalid("workspace at {} with {} bytes: runs of packed bytes take none", fmt::ptr(args.workspace),
                   args.workspace_bytes);
  }
  Layer& layer = operands->layer;
  std::size_t workspace = 0;
  RunArguments run_args;
  if (Status status = check_run(context, layer, args, &run_args, &workspace); !status.ok()) return status;
  if (args.m == 0) return {};
  if (Status status = check_outputs_apart(*operands, args, run_args); !status.ok()) return status;
  // Both fit: they are of buffers that exist, x and bias.
  const std::size_t bias_bytes = operands->bias_floats * sizeof(float);
  const std::size_t all_bytes =
      *activation_bytes(layer.weight.header, args.m, args.x_type, context.x_type()) + bias_bytes;
  with_workspace(context, all_bytes, nullptr, [&](std::uint8_t* memory) {
    operands->load_biases(reinterpret_cast<float*>(memory));
    run(context, layer, run_args, memory + bias_bytes);
  });
  return {};
}

// The kernel of a plan's tile. Where one of its tiles has none the reference takes the whole run, so it is named for
// all.
zenwoq_kernel_info kernel_info(Context& context, const Layer& layer, std::span<const Tile> tiles, std::size_t index) {
  zenwoq_kernel_info info;
  zenwoq_kernel_info_init(&info);
  std::string reason;
  const Kernel* kernel = nullptr;
  for (std::size_t i = 0; i < tiles.size(); ++i) {
    const Kernel* found = find_kernel(context, layer, tiles[i], &reason);
    if (found == nullptr) {
      copy_text(info.name, "reference");
      copy_text(info.reason, reason);
      info.tier = ZENWOQ_TIER_REFERENCE;
      return info;
    }
    if (i == index) kernel = found;
  }
  copy_text(info.name, kernel->key.name());
  info.tier = kernel->key.tier;
  info.address = reinterpret_cast<const void*>(kernel->run);
  info.code_bytes = kernel->code_bytes;
  info.generation_ns = kernel->generation_ns;
  return info;
}

Plan plan_of(const zenwoq_linear& linear, std::size_t m) {
  return zenwoq::plan_of(*linear.context, linear.layer, m, linear.context->threads());
}

}  // namespace

zenwoq_status zenwoq_linear_create(zenwoq_context* context, zenwoq_weight* weight, const zenwoq_linear_desc* desc,
                                   zenwoq_linear** linear) {
  return at_boundary(context_of(context), [&]() -> Status {
    if (Status status = check_pointer("linear", linear); !status.ok()) return status;
    *linear = nullptr;
    if (Status status = check_pointer("context", context); !status.ok()) return status;
    if (Status status = check_pointer("weight", weight); !status.ok()) return status;
    zenwoq_linear_desc d;
    if (Status status = read_linear_desc(desc, &d); !status.ok()) return status;
    const PackedView& view = weight->owned->view;
    if (Status status = check_biases(d, view.header); !status.ok()) return status;
    if (d.up_packed != nullptr) return invalid("up_packed at {}: linears take up", fmt::ptr(d.up_packed));
    if (d.up != nullptr) {
      if (Status status = check_pair(view, d.up->owned->view); !status.ok()) return status;
    }
    if (d.halves != 0) {
      if (Status status = check_halves(view.header); !status.ok()) return status;
    }
    auto made = std::make_unique<zenwoq_linear>(context->context, weight->owned, d.output_type);
    const auto copied = [&](const void* bias) {
      const BiasReader reader{bias, d.bias_type, view.header.n};
      std::vector<float> padded(reader.padded());
      reader.load(padded.data());
      return padded;
    };
    Layer& layer = made->layer;
    set_epilogue(d, &layer);
    if (d.halves != 0) add_lower_half(&layer);
    if (d.up != nullptr) {
      made->up = d.up->owned;
      add_up(made->up->view, &layer);
    }
    if (d.bias != nullptr || d.up_bias != nullptr) {
      made->bias = copied(d.bias);
      layer.bias = made->bias.data();
      if (d.halves != 0) layer.up.bias = layer.bias + layer.n;
      if (d.up != nullptr) {
        made->up_bias = copied(d.up_bias);
        layer.up.bias = made->up_bias.data();
      }
    }
    *linear = made.release();
    return {};
  });
}

void zenwoq_linear_destroy(zenwoq_linear* linear) { delete linear; }

zenwoq_status zenwoq_linear_prepare(zenwoq_linear* linear, size_t m) {
  return at_boundary(context_of(linear), [&]() -> Status {
    if (Status status = check_pointer("linear", linear); !status.ok()) return status;
    const Plan plan = plan_of(*linear, m);
    for (const Tile& tile : plan.tiles()) (void)find_kernel(*linear->context, linear->layer, tile);
    return {};
  });
}

zenwoq_status zenwoq_linear_workspace_bytes(const zenwoq_linear* linear, size_t m, zenwoq_dtype x_type, size_t* bytes) {
  return at_boundary(context_of(linear), [&]() -> Status {
    if (Status status = check_pointer("linear", linear); !status.ok()) return status;
    if (Status status = check_pointer("bytes", bytes); !status.ok()) return status;
    std::size_t needed;
    if (Status status = needed_workspace(*linear->context, linear->layer.weight.header, m, x_type, &needed);
        !status.ok())
      return status;
    *bytes = needed;
    return {};
  });
}

zenwoq_status zenwoq_linear_run(zenwoq_linear* linear, const zenwoq_run_args* args) {
  return at_boundary(context_of(linear), [&]() -> Status {
    if (Status status = check_pointer("linear", linear); !status.ok()) return status;
    zenwoq_run_args a;
    if (Status status = read_struct(args, &a); !status.ok()) return status;
    Context& context = *linear->context;
    RunArguments run_args;
    std::size_t workspace = 0;
    if (Status status = check_run(context, linear->layer, a, &run_args, &workspace); !status.ok()) {
      return status;
    }
    if (a.m == 0) return {};
    with_workspace(context, workspace, a.workspace,
                   [&](std::uint8_t* memory) { run(context, linear->layer, run_args, memory); });
    return {};
  });
}

zenwoq_status zenwoq_packed_describe(const zenwoq_packed* packed, zenwoq_weight_desc* desc) {
  return at_boundary([&]() -> Status {
    zenwoq_packed p;
    if (Status status = read_struct(packed, &p); !status.ok()) return status;
    PackedView view;
    if (Status status = open_view(p, &view); !status.ok()) return status;
    return write_struct(view.header.desc(), desc);
  });
}

zenwoq_status zenwoq_packed_run(zenwoq_context* context, const zenwoq_packed* packed, const zenwoq_linear_desc* desc,
                                const zenwoq_run_args* args) {
  return at_boundary(context_of(context), [&]() -> Status {
    if (Status status = check_pointer("context", context); !status.ok()) return status;
    zenwoq_packed p;
    zenwoq_linear_desc d;
    zenwoq_run_args a;
    if (Status status = read_struct(packed, &p); !status.ok()) return status;
    if (Status status = read_linear_desc(desc, &d); !status.ok()) return status;
    if (Status status = read_struct(args, &a); !status.ok()) return status;
    return run_packed(*context->context, p, d, a);
  });
}

zenwoq_status zenwoq_linear_kernel(zenwoq_linear* linear, size_t m, size_t index, size_t* count,
                                   zenwoq_kernel_info* info) {
  return at_boundary(context_of(linear), [&]() -> Status {
    if (Status status = check_pointer("linear", linear); !status.ok()) return status;
    if (Status status = check_pointer("count", count); !status.ok()) return status;
    const Plan plan = plan_of(*linear, m);
    const std::span<const Tile> tiles = plan.tiles();
    if (info == nullptr) {
      *count = tiles.size();
      return {};
    }
    if (index >= tiles.size())
      return invalid("kernel {} of {}: runs of m = {} rows use no more", index, tiles.size(), m);
    const zenwoq_kernel_info found = kernel_info(*linear->context, linear->layer, tiles, index);
    if (Status status = write_struct(found, info); !status.ok()) return status;
    *count = tiles.size();
    return {};
  });
}

zenwoq_status zenwoq_kernel_emit(const char* name, void* code, size_t code_capacity, size_t* code_bytes) {
  return at_boundary([&]() -> Status {
    if (Status status = check_pointer("name", name); !status.ok()) return status;
    if (Status status = check_pointer("code_bytes", code_bytes); !status.ok()) return status;
    const auto key = parse_kernel_name(name);
    if (!key)
      return invalid("\"{}\" is no kernel name; one is \"{}\"", name,
                     "gemm_bf16_t4_g128_k4096_sbf16_z0_m6x2_yf32_avx512bf16_p4096");
    std::vector<std::uint8_t> bytes;
    if (Status status = emit(*key, &bytes); !status.ok()) return status;
    if (code == nullptr && code_capacity != 0) return invalid("code is NULL with a capacity of {}", code_capacity);
    if (code != nullptr && code_capacity < bytes.size()) {
      return {ZENWOQ_ERROR_BUFFER_TOO_SMALL,
              fmt::format("code_capacity is {}, {} are needed", code_capacity, bytes.size())};
    }
    if (code != nullptr) std::memcpy(code, bytes.data(), bytes.size());
    *code_bytes = bytes.size();
    return {};
  });
}
