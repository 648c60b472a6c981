// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// From a layer and a run of it to the calls of its kernels.
#include "src/run/product.h"

namespace zenwoq {
namespace {

// Where even an error text finds no memory, or a caller's log function throws, the reference serves.
const Kernel* find_or_null(Context& context, const Layer& layer, const Tile& tile) noexcept {
  try {
    return find_kernel(context, layer, tile);
  } catch (...) {
    return nullptr;
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

Product::Product(Context& context, const Layer& layer, const RunArguments& args, std::uint64_t tasks)
    : context_(context),
      layer_(layer),
      args_(args),
      plan_(problem_of(layer, args.x.m), context.tuning(), tasks),
      complete_(context.generates()) {
  for (std::size_t i = 0; complete_ && i < plan_.tiles().size(); ++i) {
    kernels_[i] = find_or_null(context, layer, plan_.tiles()[i]);
    complete_ = kernels_[i] != nullptr;
  }
  if (context.logs_runs()) [[unlikely]]
    log();
}

// "run m=1 n=4096 k=4096 threads=2 kernels=NAME,NAME" for who asked for a line a run.
void Product::log() const noexcept {
  try {
    std::string names = complete_ ? "" : "reference";
    for (std::size_t i = 0; complete_ && i < plan_.tiles().size(); ++i) {
      names += formatted("{}{}", i == 0 ? "" : ",", kernels_[i]->key.name());
    }
    context_.log(LogLevel::dispatch, formatted("run m={} n={} k={} threads={} kernels={}", args_.x.m, layer_.n,
                                               layer_.weight.header.k, args_.threads, names));
  } catch (...) {
    // No memory for a line, or the caller's log function throws: the run goes on.
  }
}

void Product::run(std::uint64_t task, const Activations& activations) const {
  plan_.for_each_tile(task, [&](const TileRun& tile) {
    const GemmArgs gemm = gemm_args(layer_, args_, activations, tile);
    if (complete_) return kernels_[tile.index]->run(&gemm);
    context_.reference()(kernel_key(layer_.weight.header, layer_.table.integer, layer_.output_type, layer_.epilogue(),
                                    tile.tile, context_.tuning()),
                         tile.rows, gemm);
  });
}

}  // namespace zenwoq
