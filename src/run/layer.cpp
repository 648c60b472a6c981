// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// A run: activations are prepared, then the tiles of the plan go to their kernels on the context's threads.
#include "src/run/layer.h"

#include "src/run/product.h"

namespace zenwoq {

Layer::Layer(const PackedView& packed, zenwoq_dtype output, const float* padded_bias, KernelSlots* kernels)
    : weight(packed),
      output_type(output),
      bias(padded_bias),
      slots(kernels),
      table(make_decode_table(packed.header.table)),
      n(packed.header.n) {}

Plan plan_of(const Context& context, const Layer& layer, std::uint64_t m, unsigned threads) {
  const Problem problem = problem_of(layer, m);
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
  const Product product(context, layer, args, tasks_wanted(problem_of(layer, args.x.m), args.threads));
  const ActivationWork work(layer.weight, args.x, product.x_type(), workspace, args.threads);
  parallel(context, work.tasks(), args.threads, args.loop, [&](std::size_t task) { work.run(task); });
  parallel(context, product.tasks(), args.threads, args.loop,
           [&](std::size_t task) { product.run(task, work.result()); });
}

}  // namespace zenwoq
