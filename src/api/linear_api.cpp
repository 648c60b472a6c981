// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// Linears at the C boundary: create, prepare, run, and their kernels.
#include "jit/jit.h"
#include "src/api/boundary.h"

using namespace zenwoq;

namespace {

constexpr std::size_t kStackWorkspace = 8192;  // runs that need no more bring it themselves

// desc may be NULL (all defaults).
Status read_linear_desc(const zenwoq_linear_desc* desc, zenwoq_linear_desc* out) {
  zenwoq_linear_desc_init(out);
  if (desc != nullptr) {
    if (Status status = read_struct(desc, out); !status.ok()) return status;
  }
  if (out->output_type != ZENWOQ_F32 && out->output_type != ZENWOQ_BF16) {
    return invalid("output_type {}: must be ZENWOQ_F32 (1) or ZENWOQ_BF16 (3)", static_cast<int>(out->output_type));
  }
  return {};
}

Status check_bias(const zenwoq_linear_desc& desc, const PackedHeader& header) {
  if (desc.bias == nullptr) return {};
  if (!is_dtype(desc.bias_type)) {
    return invalid("bias_type {}: must be ZENWOQ_F32 (1), ZENWOQ_F16 (2) or ZENWOQ_BF16 (3)",
                   static_cast<int>(desc.bias_type));
  }
  const std::size_t needed = header.n * dtype_bytes(desc.bias_type);
  if (desc.bias_bytes < needed) {
    return {ZENWOQ_ERROR_BUFFER_TOO_SMALL, fmt::format("bias_bytes is {}, {} are needed", desc.bias_bytes, needed)};
  }
  return {};
}

void load_bias(const zenwoq_linear_desc& desc, std::size_t n, float* bias) {
  // A loop apart for the most common type: with the type a constant, compilers vectorise it.
  if (desc.bias_type == ZENWOQ_BF16) {
    for (std::size_t i = 0; i < n; ++i) bias[i] = load_as_f32(ZENWOQ_BF16, desc.bias, i);
    return;
  }
  for (std::size_t i = 0; i < n; ++i) bias[i] = load_as_f32(desc.bias_type, desc.bias, i);
}

// Bytes of `rows` rows of `columns` elements, `ld` elements apart. Errors: INVALID_ARGUMENT, OVERFLOW.
Status matrix_bytes(const char* name, std::size_t rows, std::size_t columns, std::size_t ld, std::size_t element_bytes,
                    std::size_t* bytes) {
  if (ld < columns) return invalid("ld{} is {}, a row has {} elements", name, ld, columns);
  const bool overflow = __builtin_mul_overflow(rows - 1, ld, bytes) || __builtin_add_overflow(*bytes, columns, bytes) ||
                        __builtin_mul_overflow(*bytes, element_bytes, bytes) || *bytes > PTRDIFF_MAX;
  if (overflow) return {ZENWOQ_ERROR_OVERFLOW, fmt::format("{}: {} rows of ld{} = {} overflow", name, rows, name, ld)};
  return {};
}

Status check_buffer(const char* name, const void* data, std::size_t bytes, std::size_t needed) {
  if (data == nullptr) return invalid("{} is NULL, {} bytes are needed", name, needed);
  if (bytes < needed) {
    return {ZENWOQ_ERROR_BUFFER_TOO_SMALL, fmt::format("{}_bytes is {}, {} are needed", name, bytes, needed)};
  }
  return {};
}

bool overlap(const void* a, std::size_t a_bytes, const void* b, std::size_t b_bytes) {
  const auto a0 = reinterpret_cast<std::uintptr_t>(a);
  const auto b0 = reinterpret_cast<std::uintptr_t>(b);
  return a_bytes != 0 && b_bytes != 0 && a0 < b0 + b_bytes && b0 < a0 + a_bytes;
}

Status needed_workspace(const Context& context, const Quantization& weight, std::size_t m, zenwoq_dtype x_type,
                        std::size_t* bytes) {
  if (!is_dtype(x_type)) {
    return invalid("x_type {}: must be ZENWOQ_F32 (1), ZENWOQ_F16 (2) or ZENWOQ_BF16 (3)", static_cast<int>(x_type));
  }
  const auto needed = activation_bytes(weight, m, x_type, context.x_type());
  if (!needed) return {ZENWOQ_ERROR_OVERFLOW, fmt::format("workspace of m = {} rows overflows", m)};
  *bytes = *needed <= kStackWorkspace ? 0 : *needed;
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
  const std::size_t ldy = args.ldy == 0 ? weight.n : args.ldy;
  const std::size_t x_size = dtype_bytes(args.x_type);
  const std::size_t y_size = dtype_bytes(layer.output_type);
  std::size_t x_bytes = 0;
  std::size_t y_bytes = 0;
  if (Status status = matrix_bytes("x", args.m, weight.k, ldx, x_size, &x_bytes); !status.ok()) return status;
  if (Status status = matrix_bytes("y", args.m, weight.n, ldy, y_size, &y_bytes); !status.ok()) return status;
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
  *run = {{args.m, args.x_type, args.x, ldx * x_size},
          args.y,
          ldy * y_size,
          args.threads == 0 ? context.threads() : std::min(args.threads, most),
          {args.parallel_for, args.parallel_for_user}};
  return {};
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

Status open_view(const zenwoq_packed& packed, PackedView* view) {
  if (Status status = check_pointer("packed->packed", packed.packed); !status.ok()) return status;
  return open_packed(packed.packed, packed.packed_bytes, view);
}

Status run_packed(Context& context, const zenwoq_packed& packed, const zenwoq_linear_desc& desc,
                  const zenwoq_run_args& args) {
  PackedView view;
  if (Status status = open_view(packed, &view); !status.ok()) return status;
  const PackedHeader& header = view.header;
  if (header.n != packed.n || header.k != packed.k) {
    return invalid("packed weight of n = {}, k = {}, the caller expects n = {}, k = {}", header.n, header.k, packed.n,
                   packed.k);
  }
  if (Status status = check_bias(desc, header); !status.ok()) return status;
  if (args.workspace != nullptr || args.workspace_bytes != 0) {
    return invalid("workspace at {} with {} bytes: runs of packed bytes take none", fmt::ptr(args.workspace),
                   args.workspace_bytes);
  }
  const bool padded = desc.bias_type == ZENWOQ_F32 && header.n % kPanelColumns == 0 &&
                      reinterpret_cast<std::uintptr_t>(desc.bias) % alignof(float) == 0;
  const std::size_t bias_bytes =
      desc.bias == nullptr || padded ? 0 : header.panels() * kPanelColumns * sizeof(float);  // to be loaded

  Layer layer(view, desc.output_type, padded ? static_cast<const float*>(desc.bias) : nullptr, nullptr);
  std::size_t workspace = 0;
  RunArguments run_args;
  if (Status status = check_run(context, layer, args, &run_args, &workspace); !status.ok()) return status;
  if (args.m == 0) return {};
  const std::size_t y_bytes = (args.m - 1) * run_args.ldy_bytes + header.n * dtype_bytes(desc.output_type);
  const std::size_t read_bias_bytes = desc.bias == nullptr ? 0 : header.n * dtype_bytes(desc.bias_type);
  if (overlap(run_args.y, y_bytes, packed.packed, header.total_bytes) ||
      overlap(run_args.y, y_bytes, desc.bias, read_bias_bytes)) {
    return invalid("y at {} overlaps packed at {} or bias at {}", fmt::ptr(run_args.y), fmt::ptr(packed.packed),
                   fmt::ptr(desc.bias));
  }
  // Both fit: they are of buffers that exist, x and bias.
  const std::size_t all_bytes = *activation_bytes(header, args.m, args.x_type, context.x_type()) + bias_bytes;
  with_workspace(context, all_bytes, nullptr, [&](std::uint8_t* memory) {
    if (bias_bytes != 0) {
      auto* loaded = reinterpret_cast<float*>(memory);
      load_bias(desc, header.n, loaded);
      std::fill(loaded + header.n, loaded + bias_bytes / sizeof(float), 0.0f);
      layer.bias = loaded;
    }
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
    const PackedHeader& header = weight->header();
    if (Status status = check_bias(d, header); !status.ok()) return status;
    std::vector<float> bias(d.bias == nullptr ? 0 : header.panels() * kPanelColumns);
    if (d.bias != nullptr) load_bias(d, header.n, bias.data());
    *linear = new zenwoq_linear(context->context, weight->owned, d.output_type, std::move(bias));
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
