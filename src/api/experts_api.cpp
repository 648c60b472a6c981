// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// Mixtures of experts at the C boundary, of handles.
#include "src/api/experts_checks.h"

using namespace zenwoq;

struct zenwoq_experts {
  std::shared_ptr<Context> context;
  std::vector<std::shared_ptr<const zenwoq_weight::Owned>> weights;
  std::vector<float> biases;
  std::vector<std::unique_ptr<FoundKernels>> kernels;
  std::vector<ExpertLayers> layers;
  std::vector<const ExpertLayers*> chosen;  // all of them
  Experts experts;

  explicit zenwoq_experts(std::shared_ptr<Context> on) : context(std::move(on)) {}

  KernelSlots* slots_of(const Layer& layer) {
    const KernelKey key = expert_key(*context, layer);
    for (const auto& found : kernels) {
      if (found->key == key) return &found->slots;
    }
    return &kernels.emplace_back(std::make_unique<FoundKernels>(key))->slots;
  }
};

namespace {

constexpr std::size_t kMostRowsOfNewTiles = 1024;  // more rows are cut in blocks that fewer rows have too

Status check_weights(const zenwoq_experts_desc& desc, const ExpertsBlock& block) {
  if (Status status = check_pointer("gate", desc.gate); !status.ok()) return status;
  if (Status status = check_pointer("down", desc.down); !status.ok()) return status;
  for (std::size_t e = 0; e < desc.experts; ++e) {
    const auto check = [&]() -> Status {
      if (Status status = check_pointer("gate", desc.gate[e]); !status.ok()) return status;
      if (Status status = check_pointer("down", desc.down[e]); !status.ok()) return status;
      ExpertViews views{desc.gate[e]->owned->view, {}, desc.down[e]->owned->view};
      if (!block.halves) {
        if (Status status = check_pointer("up", desc.up[e]); !status.ok()) return status;
        views.up = desc.up[e]->owned->view;
      }
      return check_expert(block, views);
    };
    if (Status status = check(); !status.ok()) return of_expert(e, status);
  }
  return {};
}

std::unique_ptr<zenwoq_experts> make_experts(std::shared_ptr<Context> context, const zenwoq_experts_desc& desc,
                                             const ExpertsBlock& block) {
  auto made = std::make_unique<zenwoq_experts>(std::move(context));
  made->layers.reserve(block.experts);
  made->biases.resize(ExpertBiases(block, 0).floats() * block.experts);
  made->experts = {{}, block.hidden, block.intermediate, block.output_type};
  float* memory = made->biases.data();
  for (std::size_t e = 0; e < block.experts; ++e) {
    ExpertViews views{desc.gate[e]->owned->view, {}, desc.down[e]->owned->view};
    made->weights.push_back(desc.gate[e]->owned);
    made->weights.push_back(desc.down[e]->owned);
    if (!block.halves) {
      views.up = desc.up[e]->owned->view;
      made->weights.push_back(desc.up[e]->owned);
    }
    ExpertLayers& layers = made->layers.emplace_back(make_layers(block, views));
    memory = ExpertBiases(block, e).load(false, memory, &layers);
    layers.gate.slots = made->slots_of(layers.gate);
    layers.down.slots = made->slots_of(layers.down);
    made->chosen.push_back(&layers);
    made->experts.note(layers);
  }
  made->experts.layers = made->chosen;
  return made;
}

}  // namespace

zenwoq_status zenwoq_experts_create(zenwoq_context* context, const zenwoq_experts_desc* desc,
                                    zenwoq_experts** experts) {
  return at_boundary(context_of(context), [&]() -> Status {
    if (Status status = check_pointer("experts", experts); !status.ok()) return status;
    *experts = nullptr;
    if (Status status = check_pointer("context", context); !status.ok()) return status;
    zenwoq_experts_desc d;
    if (Status status = read_struct(desc, &d); !status.ok()) return status;
    const ExpertsBlock block(d);
    if (Status status = check_block(block); !status.ok()) return status;
    if (Status status = check_weights(d, block); !status.ok()) return status;
    *experts = make_experts(context->context, d, block).release();
    return {};
  });
}

void zenwoq_experts_destroy(zenwoq_experts* experts) { delete experts; }

zenwoq_status zenwoq_experts_prepare(zenwoq_experts* experts, size_t rows) {
  return at_boundary(context_of(experts), [&]() -> Status {
    if (Status status = check_pointer("experts", experts); !status.ok()) return status;
    Context& context = *experts->context;
    for (const auto& found : experts->kernels) {
      const auto has_them = [&](const Layer& layer) { return layer.slots == &found->slots; };
      const Layer* layer = nullptr;
      for (const ExpertLayers& expert : experts->layers) {
        if (has_them(expert.gate)) layer = &expert.gate;
        if (has_them(expert.down)) layer = &expert.down;
        if (layer != nullptr) break;
      }
      for (std::size_t m = 1; m <= std::min(rows, kMostRowsOfNewTiles); ++m) {
        const Plan plan = plan_of(context, *layer, m, context.threads());
        for (const Tile& tile : plan.tiles()) (void)find_kernel(context, *layer, tile);
      }
    }
    return {};
  });
}

zenwoq_status zenwoq_experts_run(zenwoq_experts* experts, const zenwoq_experts_args* args) {
  return at_boundary(context_of(experts), [&]() -> Status {
    if (Status status = check_pointer("experts", experts); !status.ok()) return status;
    zenwoq_experts_args a;
    if (Status status = read_struct(args, &a); !status.ok()) return status;
    ExpertsArguments run_args;
    if (Status status = check_experts_args(*experts->context, experts->experts, a, &run_args); !status.ok())
      return status;
    return a.tokens == 0 ? Status() : run_experts(*experts->context, experts->experts, run_args);
  });
}
