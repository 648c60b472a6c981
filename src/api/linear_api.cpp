// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// Linears at the C boundary: create, prepare, run, and their kernels.
#include "jit/jit.h"
#include "src/api/layer_biases.h"
#include "src/api/run_checks.h"

using namespace zenwoq;

namespace {

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

// The runs of a call, in memory that is borrowed for its length.
struct Runs {
  Job* jobs;
  Batch::Entry* entries;
  Reaches reaches;

  Runs(Arena& arena, std::size_t count)
      : jobs(arena.take<Job>(count)), entries(arena.take<Batch::Entry>(count)), reaches(arena, count) {}
};

// Errors: those of a run, which the text names.
Status check_runs(zenwoq_linear* const* linears, const zenwoq_run_args* const* args, std::size_t count, Runs* runs,
                  std::size_t* jobs) {
  zenwoq_run_args first;
  for (std::size_t i = 0; i < count; ++i) {
    const auto check = [&]() -> Status {
      if (Status status = check_pointer("linear", linears[i]); !status.ok()) return status;
      const zenwoq_linear& linear = *linears[i];
      if (linear.context != linears[0]->context) return invalid("the linear is of another context than that of run 0");
      zenwoq_run_args a;
      if (Status status = read_struct(args[i], &a); !status.ok()) return status;
      if (i == 0) first = a;
      if (Status status = check_alike(first, a); !status.ok()) return status;
      Job& job = *new (&runs->jobs[*jobs]) Job{&linear.layer, {}};
      std::size_t workspace;
      if (Status status = check_run(*linear.context, linear.layer, a, &job.args, &workspace); !status.ok())
        return status;
      if (a.m == 0) return {};
      runs->reaches.add(i, linear.layer, job.args);
      ++*jobs;
      return {};
    };
    if (Status status = check(); !status.ok()) return of_run(i, status);
  }
  return runs->reaches.check();
}

Status run_several(zenwoq_linear* const* linears, const zenwoq_run_args* const* args, std::size_t count) {
  if (Status status = check_pointer("linears", linears); !status.ok()) return status;
  if (Status status = check_pointer("args", args); !status.ok()) return status;
  if (Status status = check_pointer("linear", linears[0]); !status.ok()) return of_run(0, status);
  Context& context = *linears[0]->context;
  return with_arrays<Runs>(context, count, [&](Runs& runs) -> Status {
    std::size_t jobs = 0;
    if (Status status = check_runs(linears, args, count, &runs, &jobs); !status.ok()) return status;
    return run_batch(context, {runs.jobs, jobs}, runs.entries);
  });
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
    if (d.up_packed != nullptr)
      return invalid("up_packed at {}: linears take up", static_cast<const void*>(d.up_packed));
    if (d.up != nullptr) {
      if (Status status = check_pair(view, d.up->owned->view); !status.ok()) return status;
    }
    if (d.halves != 0) {
      if (Status status = check_halves(view.header); !status.ok()) return status;
    }
    auto made = std::make_unique<zenwoq_linear>(context->context, weight->owned, d.output_type);
    Layer& layer = made->layer;
    set_epilogue(d, &layer);
    if (d.halves != 0) add_lower_half(&layer);
    if (d.up != nullptr) {
      made->up = d.up->owned;
      add_up(made->up->view, &layer);
    }
    const LayerBiases biases(d, view.header.n);
    made->biases.resize(biases.floats(false));
    biases.load(false, made->biases.data(), &layer);
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

zenwoq_status zenwoq_linears_run(zenwoq_linear* const* linears, const zenwoq_run_args* const* args, size_t count) {
  const bool any = count != 0 && linears != nullptr;
  return at_boundary(context_of(any ? linears[0] : nullptr),
                     [&] { return count == 0 ? Status() : run_several(linears, args, count); });
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
              formatted("code_capacity is {}, {} are needed", code_capacity, bytes.size())};
    }
    if (code != nullptr) std::memcpy(code, bytes.data(), bytes.size());
    *code_bytes = bytes.size();
    return {};
  });
}
