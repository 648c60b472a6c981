// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// Mixtures of experts at the C boundary: handles, and packed bytes without them.
#include <optional>

#include "src/api/run_checks.h"
#include "src/run/experts.h"

using namespace zenwoq;

namespace {

constexpr std::size_t kMaxExperts = INT32_MAX;
constexpr std::size_t kMostRowsOfNewTiles = 1024;  // more rows are cut in blocks that fewer rows have too

struct Bias {
  const void* data;
  std::size_t bytes;
};

// What descriptions of handles and of packed bytes have in common.
struct Block {
  std::size_t experts, hidden, intermediate;
  bool halves;  // gate has up too
  zenwoq_activation activation;
  zenwoq_dtype output_type, bias_type;
  Bias gate_bias, up_bias, down_bias;

  template <typename Description>
  explicit Block(const Description& d)
      : experts(d.experts),
        hidden(d.hidden),
        intermediate(d.intermediate),
        halves(d.up == nullptr),
        activation(d.activation),
        output_type(d.output_type),
        bias_type(d.bias_type),
        gate_bias{d.gate_bias, d.gate_bias_bytes},
        up_bias{d.up_bias, d.up_bias_bytes},
        down_bias{d.down_bias, d.down_bias_bytes} {}

  std::size_t gate_rows() const { return halves ? 2 * intermediate : intermediate; }
};

// The views of an expert; up is without a base where gate has both.
struct ExpertViews {
  PackedView gate, up, down;
};

// Of one expert, as layers read them.
struct ExpertBiases {
  BiasReader gate, up, down;
  bool has_gate, has_up, has_down;

  ExpertBiases(const Block& block, std::size_t expert)
      : gate(reader(block, block.gate_bias, expert, block.gate_rows())),
        up(reader(block, block.up_bias, expert, block.intermediate)),
        down(reader(block, block.down_bias, expert, block.hidden)),
        has_gate(gate.data != nullptr || up.data != nullptr),
        has_up(has_gate && !block.halves),
        has_down(down.data != nullptr) {}

  // At least what load() takes.
  std::size_t floats() const {
    return (has_gate ? gate.padded() : 0) + (has_up ? up.padded() : 0) + (has_down ? down.padded() : 0);
  }

  // Gives the layers their biases, those that are not borrowed from memory on; returns what follows them there.
  float* load(bool borrow, float* memory, ExpertLayers* layers) const {
    const auto loaded = [&](const BiasReader& reader) {
      if (borrow && reader.as_it_is()) return static_cast<const float*>(reader.data);
      reader.load(memory);
      return static_cast<const float*>(std::exchange(memory, memory + reader.padded()));
    };
    if (has_gate) layers->gate.bias = loaded(gate);
    if (has_gate) layers->gate.up.bias = has_up ? loaded(up) : layers->gate.bias + layers->gate.n;
    if (has_down) layers->down.bias = loaded(down);
    return memory;
  }

 private:
  static BiasReader reader(const Block& block, const Bias& bias, std::size_t expert, std::size_t count) {
    const auto* data = static_cast<const std::uint8_t*>(bias.data);
    if (data != nullptr) data += expert * count * dtype_bytes(block.bias_type);
    return {data, block.bias_type, count};
  }
};

Status check_size(const char* name, std::size_t value) {
  return value == 0 ? invalid("{} is 0: must be at least 1", name) : Status();
}

Status check_biases(const Block& block) {
  const auto check = [&](const char* name, const Bias& bias, std::size_t columns) -> Status {
    std::size_t count = 0;
    if (bias.data != nullptr && __builtin_mul_overflow(block.experts, columns, &count)) {
      return {ZENWOQ_ERROR_OVERFLOW,
              fmt::format("{} of {} experts of {} values overflows", name, block.experts, columns)};
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

Status check_block(const Block& block) {
  if (Status status = check_size("experts", block.experts); !status.ok()) return status;
  if (block.experts > kMaxExperts) {
    return {ZENWOQ_ERROR_OVERFLOW, fmt::format("experts is {}: at most {} are possible", block.experts, kMaxExperts)};
  }
  if (Status status = check_size("hidden", block.hidden); !status.ok()) return status;
  if (Status status = check_size("intermediate", block.intermediate); !status.ok()) return status;
  // So that bytes of a row, of which a few are added up, are far from an overflow, also where no weight is looked at.
  constexpr std::size_t kMost = std::size_t{PTRDIFF_MAX} / 64;
  if (block.hidden > kMost || block.intermediate > kMost) {
    return {ZENWOQ_ERROR_OVERFLOW,
            fmt::format("hidden is {}, intermediate {}: rows of them overflow", block.hidden, block.intermediate)};
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
  return {status.code(), fmt::format("expert {}: {}", expert, status.text())};
}

Status check_shape(const char* name, const PackedView& view, std::size_t n, std::size_t k) {
  if (view.header.n == n && view.header.k == k) return {};
  return invalid("{} is [{}, {}]: must be [{}, {}]", name, view.header.n, view.header.k, n, k);
}

Status check_expert(const Block& block, const ExpertViews& views) {
  if (Status status = check_shape("gate", views.gate, block.gate_rows(), block.hidden); !status.ok()) return status;
  if (Status status = check_shape("down", views.down, block.hidden, block.intermediate); !status.ok()) return status;
  return block.halves ? check_halves(views.gate.header) : check_pair(views.gate, views.up);
}

ExpertLayers make_layers(const Block& block, const ExpertViews& views) {
  ExpertLayers made{Layer(views.gate, ZENWOQ_BF16, nullptr, nullptr), Layer(views.down, ZENWOQ_F32, nullptr, nullptr)};
  made.gate.activation = block.activation;
  block.halves ? add_lower_half(&made.gate) : add_up(views.up, &made.gate);
  return made;
}

// All that tells a layer's kernels from those of another one, of the same tile.
KernelKey key_of(const Context& context, const Layer& layer) {
  Tile tile;
  tile.gated = layer.gated();
  return kernel_key(layer.weight.header, layer.table.integer, layer.output_type, layer.epilogue(), tile,
                    context.tuning());
}

// The kernels that layers of one key have found.
struct FoundKernels {
  KernelKey key;
  KernelSlots slots;

  explicit FoundKernels(const KernelKey& of) : key(of) {}
};

// Checks a run whole before any byte is written.
Status check_args(const Context& context, const Experts& experts, const zenwoq_experts_args& args,
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
    return {ZENWOQ_ERROR_OVERFLOW, fmt::format("{} tokens of {} slots overflow", args.tokens, args.slots)};
  }
  const std::size_t router_bytes = entries * dtype_bytes(args.router_type);
  if (Status status = check_buffer("x", args.x, args.x_bytes, x_bytes); !status.ok()) return status;
  if (Status status = check_buffer("y", args.y, args.y_bytes, y_bytes); !status.ok()) return status;
  if (entries != 0) {
    if (Status status = check_buffer("ids", args.ids, args.ids_bytes, ids_bytes); !status.ok()) return status;
    if (Status status = check_buffer("router", args.router, args.router_bytes, router_bytes); !status.ok())
      return status;
  }
  const auto apart = [&](const char* name, const void* data, std::size_t bytes) -> Status {
    if (!overlap(args.y, y_bytes, data, bytes)) return {};
    return invalid("y at {} overlaps {} at {}", fmt::ptr(args.y), name, fmt::ptr(data));
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

Status run_checked(Context& context, const Experts& experts, const ExpertsArguments& args) {
  const auto bytes = scratch_bytes(context, experts, args);
  if (!bytes) {
    return {ZENWOQ_ERROR_OVERFLOW, fmt::format("scratch of {} tokens of {} slots overflows", args.tokens, args.slots)};
  }
  with_workspace<kStackArrays>(context, *bytes, nullptr,
                               [&](std::uint8_t* memory) { run(context, experts, args, memory); });
  return {};
}

}  // namespace

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
    const KernelKey key = key_of(*context, layer);
    for (const auto& found : kernels) {
      if (found->key == key) return &found->slots;
    }
    return &kernels.emplace_back(std::make_unique<FoundKernels>(key))->slots;
  }
};

namespace {

Status check_weights(const zenwoq_experts_desc& desc, const Block& block) {
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
                                             const Block& block) {
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

// One of the three tensors of packed experts.
struct Tensor {
  const char* name;
  const void* data;
  std::size_t stride, bytes;

  Status check(std::size_t experts) const {
    if (Status status = check_pointer(name, data); !status.ok()) return status;
    std::size_t last = 0;
    if (__builtin_mul_overflow(experts - 1, stride, &last)) {
      return {ZENWOQ_ERROR_OVERFLOW, fmt::format("{}: {} experts of {} bytes overflow", name, experts, stride)};
    }
    if (last < bytes) return {};
    return {ZENWOQ_ERROR_BUFFER_TOO_SMALL,
            fmt::format("{0}_bytes is {1}, the last of {2} experts begins at {3} bytes", name, bytes, experts, last)};
  }
  Status open(std::size_t expert, std::size_t experts, PackedView* view) const {
    const std::size_t left = bytes - expert * stride;
    const Status status = open_packed(static_cast<const std::uint8_t*>(data) + expert * stride,
                                      expert + 1 == experts ? left : std::min(left, stride), view);
    if (status.ok()) return {};
    return {status.code(), fmt::format("{}: {}", name, status.text())};
  }
};

// Packed experts of one call: those that a token chose are opened.
class OpenedExperts {
 public:
  OpenedExperts(Arena& arena, const Block& block, std::size_t most)
      : pointers_(arena.take<const ExpertLayers*>(block.experts)), layers_(arena.take<ExpertLayers>(most)) {
    std::size_t floats = 0;
    biases_ =
        arena.take<float>(__builtin_mul_overflow(ExpertBiases(block, 0).floats(), most, &floats) ? SIZE_MAX : floats);
  }

  // Errors: those of an expert, which the text names.
  Status open(const Context& context, const zenwoq_packed_experts& packed, const Block& block,
              const ExpertsArguments& args, Experts* experts) {
    std::fill_n(pointers_, block.experts, nullptr);
    experts->layers = {pointers_, block.experts};
    for (std::size_t i = 0; i < args.tokens * args.slots; ++i) {
      const auto expert = expert_at(args, i, block.experts);
      if (!expert || pointers_[*expert] != nullptr) continue;
      if (Status status = open_one(context, packed, block, *expert, experts); !status.ok()) {
        return of_expert(*expert, status);
      }
    }
    return {};
  }

 private:
  Status open_one(const Context& context, const zenwoq_packed_experts& packed, const Block& block, std::size_t expert,
                  Experts* experts) {
    ExpertViews views{};
    const Tensor gate{"gate", packed.gate, packed.gate_stride, packed.gate_bytes};
    const Tensor up{"up", packed.up, packed.up_stride, packed.up_bytes};
    const Tensor down{"down", packed.down, packed.down_stride, packed.down_bytes};
    if (Status status = gate.open(expert, block.experts, &views.gate); !status.ok()) return status;
    if (Status status = down.open(expert, block.experts, &views.down); !status.ok()) return status;
    if (!block.halves) {
      if (Status status = up.open(expert, block.experts, &views.up); !status.ok()) return status;
    }
    if (Status status = check_expert(block, views); !status.ok()) return status;
    ExpertLayers& layers = *new (&layers_[count_++]) ExpertLayers(make_layers(block, views));
    biases_ = ExpertBiases(block, expert).load(true, biases_, &layers);
    layers.gate.slots = slots_of(&gate_kernels_, context, layers.gate);
    layers.down.slots = slots_of(&down_kernels_, context, layers.down);
    pointers_[expert] = &layers;
    experts->note(layers);
    return {};
  }

  // Experts are nearly always alike: those that are as the first one ask the registry once.
  static KernelSlots* slots_of(std::optional<FoundKernels>* first, const Context& context, const Layer& layer) {
    const KernelKey key = key_of(context, layer);
    if (!*first) first->emplace(key);
    return (*first)->key == key ? &(*first)->slots : nullptr;
  }

  const ExpertLayers** pointers_;
  ExpertLayers* layers_;
  float* biases_;
  std::size_t count_ = 0;
  std::optional<FoundKernels> gate_kernels_, down_kernels_;
};

// y against all that is borrowed of the experts.
Status check_apart(const zenwoq_packed_experts& packed, const Block& block, const ExpertsArguments& args) {
  const std::size_t y_bytes = (args.tokens - 1) * args.ldy_bytes + block.hidden * dtype_bytes(block.output_type);
  const auto apart = [&](const char* name, const void* data, std::size_t bytes) -> Status {
    if (data == nullptr || !overlap(args.y, y_bytes, data, bytes)) return {};
    return invalid("y at {} overlaps {} at {}", fmt::ptr(args.y), name, fmt::ptr(data));
  };
  if (Status status = apart("gate", packed.gate, packed.gate_bytes); !status.ok()) return status;
  if (Status status = apart("up", packed.up, packed.up_bytes); !status.ok()) return status;
  if (Status status = apart("down", packed.down, packed.down_bytes); !status.ok()) return status;
  if (Status status = apart("gate_bias", packed.gate_bias, packed.gate_bias_bytes); !status.ok()) return status;
  if (Status status = apart("up_bias", packed.up_bias, packed.up_bias_bytes); !status.ok()) return status;
  return apart("down_bias", packed.down_bias, packed.down_bias_bytes);
}

Status run_packed(Context& context, const zenwoq_packed_experts& packed, const zenwoq_experts_args& args) {
  const Block block(packed);
  if (Status status = check_block(block); !status.ok()) return status;
  for (const Tensor& tensor : {Tensor{"gate", packed.gate, packed.gate_stride, packed.gate_bytes},
                               Tensor{"down", packed.down, packed.down_stride, packed.down_bytes}}) {
    if (Status status = tensor.check(block.experts); !status.ok()) return status;
  }
  if (!block.halves) {
    const Tensor up{"up", packed.up, packed.up_stride, packed.up_bytes};
    if (Status status = up.check(block.experts); !status.ok()) return status;
  }
  Experts experts;
  experts.hidden = block.hidden, experts.intermediate = block.intermediate, experts.output_type = block.output_type;
  ExpertsArguments run_args;
  if (Status status = check_args(context, experts, args, &run_args); !status.ok()) return status;
  if (args.tokens == 0) return {};
  if (Status status = check_apart(packed, block, run_args); !status.ok()) return status;
  const std::size_t most = std::min(block.experts, args.tokens * args.slots);
  Arena measured;
  (void)OpenedExperts(measured, block, most);
  if (!measured.bytes()) return too_much();
  Status status;
  with_workspace<kStackArrays>(context, *measured.bytes(), nullptr, [&](std::uint8_t* memory) {
    Arena arena(memory);
    OpenedExperts opened(arena, block, most);
    status = opened.open(context, packed, block, run_args, &experts);
    if (status.ok()) status = run_checked(context, experts, run_args);
  });
  return status;
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
    const Block block(d);
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
    if (Status status = check_args(*experts->context, experts->experts, a, &run_args); !status.ok()) return status;
    return a.tokens == 0 ? Status() : run_checked(*experts->context, experts->experts, run_args);
  });
}

zenwoq_status zenwoq_packed_experts_run(zenwoq_context* context, const zenwoq_packed_experts* experts,
                                        const zenwoq_experts_args* args) {
  return at_boundary(context_of(context), [&]() -> Status {
    if (Status status = check_pointer("context", context); !status.ok()) return status;
    zenwoq_packed_experts p;
    zenwoq_experts_args a;
    if (Status status = read_struct(experts, &p); !status.ok()) return status;
    if (Status status = read_struct(args, &a); !status.ok()) return status;
    return run_packed(*context->context, p, a);
  });
}
