// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// A run: activations are prepared, then the tiles of the plan go to their kernels on the context's threads.
#include "src/run/layer.h"

#include <new>

namespace zenwoq {
namespace {

// Calls body(i) for i in [0, n) on the threads of a run.
template <typename Body>
void parallel(Context& context, std::size_t n, const RunArguments& args, const Body& body) {
  context.parallel_for_at_most(
      n, args.threads, [](void* arg, std::size_t i) { (*static_cast<const Body*>(arg))(i); }, const_cast<Body*>(&body),
      args.loop);
}

// The kernels of a plan's tiles. Where one is missing the reference runs.
class TileKernels {
 public:
  TileKernels(Context& context, const Layer& layer, const Plan& plan) : complete_(context.generates()) {
    for (std::size_t i = 0; complete_ && i < plan.tiles().size(); ++i) {
      kernels_[i] = find(context, layer, plan.tiles()[i]);
      complete_ = kernels_[i] != nullptr;
    }
  }
  bool complete() const { return complete_; }
  const Kernel* operator[](std::size_t i) const { return kernels_[i]; }

 private:
  // Where even an error text finds no memory, or a caller's log function throws, the reference serves.
  static const Kernel* find(Context& context, const Layer& layer, const Tile& tile) noexcept {
    try {
      return find_kernel(context, layer, tile);
    } catch (...) {
      return nullptr;
    }
  }

  std::array<const Kernel*, Plan::kMaxTiles> kernels_{};
  bool complete_;
};

// "run m=1 n=4096 k=4096 threads=2 kernels=NAME,NAME" for who asked for a line a run.
void log_run(const Context& context, const Layer& layer, const RunArguments& args, const Plan& plan,
             const TileKernels& kernels) noexcept {
  try {
    std::string names = kernels.complete() ? "" : "reference";
    for (std::size_t i = 0; kernels.complete() && i < plan.tiles().size(); ++i) {
      names += fmt::format("{}{}", i == 0 ? "" : ",", kernels[i]->key.name());
    }
    context.log(LogLevel::dispatch, fmt::format("run m={} n={} k={} threads={} kernels={}", args.x.m,
                                                layer.weight.header.n, layer.weight.header.k, args.threads, names));
  } catch (...) {
    // No memory for a line, or the caller's log function throws: the run goes on.
  }
}

GemmArgs gemm_args(const Layer& layer, const RunArguments& run, const Activations& activations, const TileRun& tile) {
  const std::uint64_t column = tile.panel_begin * kPanelColumns;
  GemmArgs args{};
  args.x = activations.x + tile.row * activations.ldx_bytes;
  args.ldx_bytes = activations.ldx_bytes;
  args.panels = layer.weight.panel(tile.panel_begin);
  args.xsum = activations.xsum == nullptr ? nullptr : activations.xsum + tile.row;
  args.xsum_bytes = run.x.m * sizeof(float);
  args.bias = layer.bias == nullptr ? nullptr : layer.bias + column;
  args.y = static_cast<std::uint8_t*>(run.y) + tile.row * run.ldy_bytes + column * dtype_bytes(layer.output_type);
  args.ldy_bytes = run.ldy_bytes;
  args.columns = std::min<std::uint64_t>(layer.n, tile.panel_end * kPanelColumns) - column;
  args.table = &layer.table;
  args.tensor_scale = layer.weight.header.tensor_scale;
  if (tile.tile.scratch) {
    const std::uint64_t tiles = (tile.rows + tile.tile.rows - 1) / tile.tile.rows;
    args.low_tiles = tiles * tile.tile.rows - tile.rows;
    args.tall_tiles = tiles - args.low_tiles;
  }
  if (layer.gated()) {
    args.up_panels = layer.up.panels + tile.panel_begin * layer.weight.header.layout().bytes();
    args.up_bias = layer.up.bias == nullptr ? nullptr : layer.up.bias + column;
    args.up_tensor_scale = layer.up.tensor_scale;
  }
  const auto at_tile = [&](const Operand& operand) {
    return operand.data + tile.row * operand.ld_bytes + column * dtype_bytes(layer.output_type);
  };
  if (layer.factor) {
    args.factor = at_tile(run.factor);
    args.factor_bytes = run.factor.ld_bytes;
  }
  for (std::size_t i = 0; i < layer.residuals; ++i) {
    args.residual[i] = at_tile(run.residual[i]);
    args.residual_bytes[i] = run.residual[i].ld_bytes;
  }
  return args;
}

}  // namespace

Layer::Layer(const PackedView& packed, zenwoq_dtype output, const float* padded_bias, KernelSlots* kernels)
    : weight(packed),
      output_type(output),
      bias(padded_bias),
      slots(kernels),
      table(make_decode_table(packed.header.table)),
      n(packed.header.n) {}

Plan plan_of(const Context& context, const Layer& layer, std::uint64_t m, unsigned threads) {
  const Problem problem{m, layer.n, layer.weight.header.k, layer.gated()};
  return Plan(problem, context.tuning(), tasks_wanted(problem, threads));
}

const Kernel* find_kernel(Context& context, const Layer& layer, const Tile& tile, std::string* reason) {
  const Kernel* found = layer.slots == nullptr ? nullptr : layer.slots->at(tile).load(std::memory_order_acquire);
  if (found == nullptr) {
    const Status status =
        context.generates()
            ? context.registry().get(kernel_key(layer.weight.header, layer.table.integer, layer.output_type,
                                                layer.epilogue(), tile, context.tuning()),
                                     &found)
            : Status(ZENWOQ_ERROR_UNSUPPORTED, context.tier_reason());
    if (found == nullptr) {  // no tier, or no memory: the next run tries again
      if (reason != nullptr) *reason = status.text();
      return nullptr;
    }
    if (layer.slots != nullptr) layer.slots->at(tile).store(found, std::memory_order_release);
  }
  if (found->run != nullptr) return found;
  if (reason != nullptr) *reason = found->status.text();
  return nullptr;
}

void run(Context& context, const Layer& layer, const RunArguments& args, std::uint8_t* workspace) {
  const Plan plan = plan_of(context, layer, args.x.m, args.threads);
  const TileKernels kernels(context, layer, plan);
  if (context.logs_runs()) [[unlikely]]
    log_run(context, layer, args, plan, kernels);
  // The reference reads bf16, and takes all tiles where it takes one. Rows in bf16 need no more workspace than in f32.
  const zenwoq_dtype x_type = kernels.complete() ? context.x_type() : ZENWOQ_BF16;
  const ActivationWork work(layer.weight, args.x, x_type, workspace, args.threads);
  parallel(context, work.tasks(), args, [&](std::size_t task) { work.run(task); });

  parallel(context, plan.tasks(), args, [&](std::size_t task) {
    plan.for_each_tile(task, [&](const TileRun& tile) {
      const GemmArgs gemm = gemm_args(layer, args, work.result(), tile);
      if (kernels.complete()) return kernels[tile.index]->run(&gemm);
      context.reference()(kernel_key(layer.weight.header, layer.table.integer, layer.output_type, layer.epilogue(),
                                     tile.tile, context.tuning()),
                          tile.rows, gemm);
    });
  });
}

}  // namespace zenwoq
