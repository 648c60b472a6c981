// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// Checks of one run, and of what several runs read and write.
#include "src/api/run_checks.h"

namespace zenwoq {
namespace {

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

// What a run writes: y, which has been checked so far, and the caller's workspace.
struct Output {
  const void* data;
  std::size_t ld, bytes, m;
  const Layer& layer;
  const void* workspace;
  std::size_t workspace_bytes;
};

// A matrix that the epilogue reads, or none.
Status check_operand(const char* name, const zenwoq_matrix& matrix, bool wanted, const Output& y, Operand* operand) {
  if (!wanted) {
    if (matrix.data == nullptr && matrix.bytes == 0) return {};
    return invalid("{} at {} with {} bytes: the linear was made without it", name, matrix.data, matrix.bytes);
  }
  const std::size_t ld = matrix.ld == 0 ? y.layer.n : matrix.ld;
  const std::size_t element = dtype_bytes(y.layer.output_type);
  std::size_t bytes = 0;
  if (Status status = matrix_bytes(name, y.m, y.layer.n, ld, element, &bytes); !status.ok()) return status;
  if (Status status = check_buffer(name, matrix.data, matrix.bytes, bytes); !status.ok()) return status;
  const bool is_y = matrix.data == y.data && (ld == y.ld || y.m == 1);
  if (!is_y && overlap(matrix.data, bytes, y.data, y.bytes)) {
    return invalid("{} at {} overlaps y at {}: may only be y itself, with y's ld", name, matrix.data, y.data);
  }
  if (overlap(matrix.data, bytes, y.workspace, y.workspace_bytes)) {
    return invalid("{} at {} and workspace at {} overlap", name, matrix.data, y.workspace);
  }
  *operand = {static_cast<const std::uint8_t*>(matrix.data), ld * element};
  return {};
}

}  // namespace

Status check_biases(const zenwoq_linear_desc& desc, const PackedHeader& header) {
  if (Status status = check_bias("bias", desc.bias, desc.bias_bytes, desc.bias_type, header.n); !status.ok()) {
    return status;
  }
  return check_bias("up_bias", desc.up_bias, desc.up_bias_bytes, desc.bias_type, header.n);
}

void set_epilogue(const zenwoq_linear_desc& desc, Layer* layer) {
  layer->activation = desc.activation;
  layer->factor = desc.factors != 0;
  layer->residuals = static_cast<std::uint8_t>(desc.residuals);
}

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
  if (!needed) return {ZENWOQ_ERROR_OVERFLOW, formatted("workspace of m = {} rows overflows", m)};
  *bytes = *needed <= kStackWorkspace ? 0 : *needed;
  return {};
}

Status check_no_workspace(const char* what, const zenwoq_run_args& args) {
  if (args.workspace == nullptr && args.workspace_bytes == 0) return {};
  return invalid("workspace at {} with {} bytes: {} take none", args.workspace, args.workspace_bytes, what);
}

Status check_threads(std::uint32_t threads, std::uint32_t reserved, zenwoq_parallel_for_fn parallel_for) {
  if (reserved != 0) {
    return invalid("reserved is {}: must be 0, a later version may give it a meaning", reserved);
  }
  if (parallel_for != nullptr && threads == 0) {
    return invalid("parallel_for is given and threads is 0: must be how many tasks to cut, the caller's threads");
  }
  return {};
}

unsigned threads_of_run(const Context& context, std::uint32_t threads, zenwoq_parallel_for_fn parallel_for) {
  // The context's threads are no limit to a run that brings its own.
  const unsigned most = parallel_for == nullptr ? context.threads() : threads;
  return threads == 0 ? context.threads() : std::min(threads, most);
}

Status check_run(const Context& context, const Layer& layer, const zenwoq_run_args& args, RunArguments* run,
                 std::size_t* workspace) {
  const PackedHeader& weight = layer.weight.header;
  if (Status status = needed_workspace(context, weight, args.m, args.x_type, workspace); !status.ok()) return status;
  if (Status status = check_threads(args.threads, args.reserved, args.parallel_for); !status.ok()) return status;
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
            formatted("workspace_bytes is {}, {} are needed (or NULL)", args.workspace_bytes, *workspace)};
  }
  const std::size_t used = args.workspace == nullptr ? 0 : *workspace;
  if (overlap(args.x, x_bytes, args.y, y_bytes) || overlap(args.y, y_bytes, args.workspace, used) ||
      overlap(args.x, x_bytes, args.workspace, used)) {
    return invalid("x at {}, y at {} and workspace at {} overlap", args.x, args.y, args.workspace);
  }
  run->x = {args.m, args.x_type, args.x, ldx * x_size};
  run->y = args.y;
  run->ldy_bytes = ldy * y_size;
  run->threads = threads_of_run(context, args.threads, args.parallel_for);
  run->loop = {args.parallel_for, args.parallel_for_user};
  const Output y{args.y, ldy, y_bytes, args.m, layer, args.workspace, used};
  const zenwoq_matrix* const residual = args.residual;
  if (Status status = check_operand("factor", args.factor, layer.factor, y, &run->factor); !status.ok()) return status;
  if (Status status = check_operand("residual[0]", residual[0], layer.residuals > 0, y, &run->residual[0]);
      !status.ok())
    return status;
  return check_operand("residual[1]", residual[1], layer.residuals > 1, y, &run->residual[1]);
}

Status run_batch(Context& context, std::span<const Job> jobs, Batch::Entry* entries) {
  Batch batch(context, jobs, entries);
  const auto bytes = batch.workspace_bytes();
  if (!bytes) return too_much();
  with_workspace<kStackArrays>(context, *bytes, nullptr, [&](std::uint8_t* memory) { batch.run(memory); });
  return {};
}

Status of_run(std::size_t run, const Status& status) {
  return {status.code(), formatted("run {}: {}", run, status.text())};
}

Status check_alike(const zenwoq_run_args& first, const zenwoq_run_args& args) {
  if (args.threads != first.threads) return invalid("threads is {}, that of run 0 {}", args.threads, first.threads);
  if (args.parallel_for != first.parallel_for || args.parallel_for_user != first.parallel_for_user) {
    return invalid("parallel_for or parallel_for_user is not that of run 0");
  }
  return check_no_workspace("several runs", args);
}

void Reaches::add_read(std::size_t run, const char* name, const void* data, std::size_t bytes) {
  if (data == nullptr || bytes == 0) return;
  const auto begin = reinterpret_cast<std::uintptr_t>(data);
  reads_[read_count_++] = {begin, begin + bytes, name, run, 0, 0};
}

void Reaches::add(std::size_t run, const Layer& layer, const RunArguments& args) {
  const ActivationSource& x = args.x;
  const std::size_t y_row = layer.n * dtype_bytes(layer.output_type);
  add_read(run, "x", x.x, (x.m - 1) * x.ldx_bytes + layer.weight.header.k * dtype_bytes(x.x_type));
  const auto add_operand = [&](const char* name, const Operand& operand) {
    if (operand.data == args.y) return;
    add_read(run, name, operand.data, (x.m - 1) * operand.ld_bytes + y_row);
  };
  if (layer.factor) add_operand("factor", args.factor);
  if (layer.residuals > 0) add_operand("residual[0]", args.residual[0]);
  if (layer.residuals > 1) add_operand("residual[1]", args.residual[1]);
  const auto y = reinterpret_cast<std::uintptr_t>(args.y);
  outputs_[output_count_++] = {y,     y + (x.m - 1) * args.ldy_bytes + y_row, "y", run,
                               y_row, x.m == 1 ? 0 : args.ldy_bytes};
}

Status Reaches::overlapping(const Reach& output, const Reach& other) {
  return of_run(output.run,
                invalid("y at {} overlaps {} of run {} at {}", output.data(), other.name, other.run, other.data()));
}

// No y overlaps anything of its own run, so whatever one reaches into is another run's.
Status Reaches::check() {
  const auto by_begin = [](const Reach& a, const Reach& b) { return a.begin < b.begin; };
  std::sort(reads_, reads_ + read_count_, by_begin);
  std::sort(outputs_, outputs_ + output_count_, by_begin);
  const Reach *read = nullptr, *output = nullptr;  // the ones that end last of those that begin so far
  const auto ends_last = [](const Reach* last, const Reach& next) {
    return last == nullptr || next.end > last->end ? &next : last;
  };
  for (std::size_t r = 0, o = 0; r < read_count_ || o < output_count_;) {
    if (o == output_count_ || (r < read_count_ && reads_[r].begin < outputs_[o].begin)) {
      const Reach& next = reads_[r++];
      if (output != nullptr && output->end > next.begin) return overlapping(*output, next);
      read = ends_last(read, next);
    } else {
      const Reach& next = outputs_[o++];
      if (read != nullptr && read->end > next.begin) return overlapping(next, *read);
      output = ends_last(output, next);
    }
  }
  return check_outputs_apart();
}

// outputs_ are sorted by their begin.
Status Reaches::check_outputs_apart() {
  for (std::size_t begin = 0, end; begin < output_count_; begin = end) {
    std::uintptr_t reached = outputs_[begin].end;
    for (end = begin + 1; end < output_count_ && outputs_[end].begin < reached; ++end) {
      reached = std::max(reached, outputs_[end].end);
    }
    if (Status status = check_side_by_side({outputs_ + begin, end - begin}); !status.ok()) return status;
  }
  return {};
}

// Outputs that reach into each other, the first of which begins first: they must be columns of one matrix.
Status Reaches::check_side_by_side(std::span<Reach> outputs) {
  if (outputs.size() == 1) return {};
  const std::uintptr_t origin = outputs[0].begin;
  std::size_t pitch = 0;
  for (const Reach& output : outputs) {
    if (output.pitch == 0) continue;
    if (pitch != 0 && output.pitch != pitch) return overlapping(output, outputs[0]);
    pitch = output.pitch;
  }
  if (pitch == 0) return overlapping(outputs[1], outputs[0]);
  const auto column = [&](const Reach& output) { return (output.begin - origin) % pitch; };
  std::sort(outputs.begin(), outputs.end(), [&](const Reach& a, const Reach& b) { return column(a) < column(b); });
  for (std::size_t i = 0; i < outputs.size(); ++i) {
    const bool last = i + 1 == outputs.size();
    const Reach& next = outputs[last ? 0 : i + 1];
    if (column(outputs[i]) + outputs[i].row_bytes > (last ? pitch : column(next))) return overlapping(outputs[i], next);
  }
  return {};
}

}  // namespace zenwoq
