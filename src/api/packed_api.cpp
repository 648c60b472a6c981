// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// Runs of packed bytes at the C boundary, without handles.
#include <optional>

#include "src/api/layer_biases.h"
#include "src/api/run_checks.h"

using namespace zenwoq;

namespace {

Status check_shape(const zenwoq_packed& packed, const PackedView& view) {
  if (view.header.n == packed.n && view.header.k == packed.k) return {};
  return invalid("packed weight of n = {}, k = {}, the caller expects n = {}, k = {}", view.header.n, view.header.k,
                 packed.n, packed.k);
}

Status open_view(const zenwoq_packed& packed, PackedView* view, const char* name = "packed->packed") {
  if (Status status = check_pointer(name, packed.packed); !status.ok()) return status;
  return open_packed(packed.packed, packed.packed_bytes, view);
}

// The weight that desc names as up, and whether it goes with the gate. Errors: those of open_packed, INVALID_ARGUMENT.
Status open_up(const zenwoq_linear_desc& desc, const PackedView& gate, PackedView* up) {
  zenwoq_packed packed;
  if (Status status = read_struct(desc.up_packed, &packed); !status.ok()) return status;
  if (Status status = open_view(packed, up, "up_packed->packed"); !status.ok()) return status;
  if (Status status = check_shape(packed, *up); !status.ok()) return status;
  return check_pair(gate, *up);
}

// All of a run of packed bytes that is not in zenwoq_run_args.
struct PackedOperands {
  PackedView weight, up{};
  Layer layer;
  LayerBiases biases;

  PackedOperands(const PackedView& view, const zenwoq_linear_desc& desc)
      : weight(view), layer(view, desc.output_type, nullptr, nullptr), biases(desc, view.header.n) {}

  std::size_t bias_bytes() const { return biases.floats(true) * sizeof(float); }
  float* load_biases(float* memory) { return biases.load(true, memory, &layer); }
};

// Calls body(name, data, bytes) for all that the layer is made of; data may be NULL.
template <typename Body>
void for_each_part(const PackedOperands& operands, Body&& body) {
  const CallersBias &bias = operands.biases.bias, &up_bias = operands.biases.up;
  body("packed", operands.weight.base, operands.weight.header.total_bytes);
  body("bias", bias.data, bias.bytes());
  if (operands.up.base == nullptr) return;
  body("up_packed", operands.up.base, operands.up.header.total_bytes);
  body("up_bias", up_bias.data, up_bias.bytes());
}

Status check_output_apart(const PackedOperands& operands, const RunArguments& run) {
  const std::size_t y_bytes =
      (run.x.m - 1) * run.ldy_bytes + operands.layer.n * dtype_bytes(operands.layer.output_type);
  Status result;
  for_each_part(operands, [&](const char* name, const void* data, std::size_t bytes) {
    if (result.ok()) result = check_y_apart(run.y, y_bytes, name, data, bytes);
  });
  return result;
}

Status open_operands(const zenwoq_packed& packed, const zenwoq_linear_desc& desc,
                     std::optional<PackedOperands>* operands) {
  PackedView view;
  if (Status status = open_view(packed, &view); !status.ok()) return status;
  if (Status status = check_shape(packed, view); !status.ok()) return status;
  if (Status status = check_biases(desc, view.header); !status.ok()) return status;
  if (desc.up != nullptr)
    return invalid("up at {}: runs of packed bytes take up_packed", static_cast<const void*>(desc.up));
  PackedOperands& made = operands->emplace(view, desc);
  set_epilogue(desc, &made.layer);
  if (desc.halves != 0) {
    if (Status status = check_halves(view.header); !status.ok()) return status;
    add_lower_half(&made.layer);
  } else if (desc.up_packed != nullptr) {
    if (Status status = open_up(desc, view, &made.up); !status.ok()) return status;
    add_up(made.up, &made.layer);
  }
  return {};
}

Status run_packed(Context& context, const zenwoq_packed& packed, const zenwoq_linear_desc& desc,
                  const zenwoq_run_args& args) {
  std::optional<PackedOperands> operands;
  if (Status status = open_operands(packed, desc, &operands); !status.ok()) return status;
  if (Status status = check_no_workspace("runs of packed bytes", args); !status.ok()) return status;
  Layer& layer = operands->layer;
  std::size_t workspace = 0;
  RunArguments run_args;
  if (Status status = check_run(context, layer, args, &run_args, &workspace); !status.ok()) return status;
  if (args.m == 0) return {};
  if (Status status = check_output_apart(*operands, run_args); !status.ok()) return status;
  // Both fit: they are of buffers that exist, x and bias.
  const std::size_t bias_bytes = operands->bias_bytes();
  const std::size_t all_bytes =
      *activation_bytes(layer.weight.header, args.m, args.x_type, context.x_type()) + bias_bytes;
  with_workspace(context, all_bytes, nullptr, [&](std::uint8_t* memory) {
    operands->load_biases(reinterpret_cast<float*>(memory));
    run(context, layer, run_args, memory + bias_bytes);
  });
  return {};
}

// The runs of a call, in memory that is borrowed for its length.
struct Runs {
  std::optional<PackedOperands>* operands;
  Job* jobs;
  Batch::Entry* entries;
  Reaches reaches;

  Runs(Arena& arena, std::size_t count)
      : operands(arena.take<std::optional<PackedOperands>>(count)),
        jobs(arena.take<Job>(count)),
        entries(arena.take<Batch::Entry>(count)),
        reaches(arena, count) {}
};

// The arrays of zenwoq_packed_runs.
struct PackedCalls {
  const zenwoq_packed* const* packed;
  const zenwoq_linear_desc* const* descs;
  const zenwoq_run_args* const* args;
  std::size_t count;
};

// jobs: those with rows. Errors: those of a run, which the text names.
Status check_runs(const Context& context, const PackedCalls& calls, Runs* runs, std::size_t* jobs) {
  zenwoq_run_args first;
  for (std::size_t i = 0; i < calls.count; ++i) {
    const auto check = [&]() -> Status {
      zenwoq_packed p;
      zenwoq_linear_desc d;
      zenwoq_run_args a;
      if (Status status = read_struct(calls.packed[i], &p); !status.ok()) return status;
      if (Status status = read_linear_desc(calls.descs == nullptr ? nullptr : calls.descs[i], &d); !status.ok())
        return status;
      if (Status status = read_struct(calls.args[i], &a); !status.ok()) return status;
      if (i == 0) first = a;
      if (Status status = check_alike(first, a); !status.ok()) return status;
      auto& operands = *new (&runs->operands[*jobs]) std::optional<PackedOperands>();
      if (Status status = open_operands(p, d, &operands); !status.ok()) return status;
      Job& job = *new (&runs->jobs[*jobs]) Job{&operands->layer, {}};
      std::size_t workspace;
      if (Status status = check_run(context, operands->layer, a, &job.args, &workspace); !status.ok()) return status;
      if (a.m == 0) return {};
      if (Status status = check_output_apart(*operands, job.args); !status.ok()) return status;
      runs->reaches.add(i, operands->layer, job.args);
      for_each_part(*operands, [&](const char* name, const void* data, std::size_t bytes) {
        runs->reaches.add_read(i, name, data, bytes);
      });
      ++*jobs;
      return {};
    };
    if (Status status = check(); !status.ok()) return of_run(i, status);
  }
  return runs->reaches.check();
}

Status run_several(Context& context, const PackedCalls& calls) {
  if (Status status = check_pointer("packed", calls.packed); !status.ok()) return status;
  if (Status status = check_pointer("args", calls.args); !status.ok()) return status;
  return with_arrays<Runs>(context, calls.count, [&](Runs& runs) -> Status {
    std::size_t jobs = 0;
    if (Status status = check_runs(context, calls, &runs, &jobs); !status.ok()) return status;
    const std::span operands(runs.operands, jobs);
    std::size_t bias_bytes = 0;
    for (const auto& of : operands) {
      if (__builtin_add_overflow(bias_bytes, of->bias_bytes(), &bias_bytes)) return too_much();
    }
    Status status;
    // First of all: whether there is a bias says which kernels are needed.
    with_workspace<kStackArrays>(context, bias_bytes, nullptr, [&](std::uint8_t* memory) {
      auto* floats = reinterpret_cast<float*>(memory);
      for (auto& of : operands) floats = of->load_biases(floats);
      status = run_batch(context, {runs.jobs, jobs}, runs.entries);
    });
    return status;
  });
}

}  // namespace

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

zenwoq_status zenwoq_packed_runs(zenwoq_context* context, const zenwoq_packed* const* packed,
                                 const zenwoq_linear_desc* const* descs, const zenwoq_run_args* const* args,
                                 size_t count) {
  return at_boundary(context_of(context), [&]() -> Status {
    if (Status status = check_pointer("context", context); !status.ok()) return status;
    return count == 0 ? Status() : run_several(*context->context, {packed, descs, args, count});
  });
}
