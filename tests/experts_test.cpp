// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// Mixtures of experts through the C API: the bits of the header's formula, computed token by token with single rows on
// the reference, for every tier of this CPU, any routing and any threads; and every error.
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <optional>

#include "jit/mxcsr.h"
#include "tests/support/api_runs.h"
#include "tests/support/counted_memory.h"
#include "tests/support/expect_error.h"
#include "tests/support/small_stack.h"

namespace zenwoq::test {
namespace {

using tools::ContextHandle;
using tools::ExpertsHandle;
using tools::LinearHandle;
using tools::WeightHandle;

struct Shape {
  std::size_t experts, hidden, intermediate;
  bool halves = false;
  zenwoq_activation activation = ZENWOQ_ACTIVATION_RELU;
  zenwoq_dtype output_type = ZENWOQ_F32, bias_type = ZENWOQ_F32;
  bool gate_bias = false, up_bias = false, down_bias = false;
  bool alike = false;  // all experts of one quantization, so that their packed bytes have one size
  bool per_channel = false;
};

// The weights of all experts, and what they are packed in.
class Model {
 public:
  Model(Rng& rng, const Shape& shape) : shape(shape), packing_(tools::make_context({1, ZENWOQ_TIER_BEST, {}})) {
    const ParameterFormat gate_format = format(rng), down_format = format(rng);
    const std::size_t gate_group = group(rng), down_group = group(rng);
    for (std::size_t e = 0; e < shape.experts; ++e) {
      const bool again = shape.alike || rng() % 2 == 0;
      add_expert(rng, again ? gate_format : format(rng), again ? gate_group : group(rng),
                 again ? down_format : format(rng), again ? down_group : group(rng));
    }
    if (shape.gate_bias) gate_bias = random_values(rng, shape.experts * gate_rows(), shape.bias_type, false);
    if (shape.up_bias) up_bias = random_values(rng, shape.experts * shape.intermediate, shape.bias_type, false);
    if (shape.down_bias) down_bias = random_values(rng, shape.experts * shape.hidden, shape.bias_type, false);
  }

  std::size_t gate_rows() const { return shape.intermediate * (shape.halves ? 2 : 1); }

  zenwoq_experts_desc desc() {
    zenwoq_experts_desc desc;
    zenwoq_experts_desc_init(&desc);
    desc.experts = shape.experts, desc.hidden = shape.hidden, desc.intermediate = shape.intermediate;
    desc.gate = gate.data(), desc.up = shape.halves ? nullptr : up.data(), desc.down = down.data();
    fill(&desc);
    return desc;
  }

  // Three tensors; the bytes of an expert lie `gap` bytes apart.
  zenwoq_packed_experts packed(std::size_t gap = 0) {
    zenwoq_packed_experts packed;
    zenwoq_packed_experts_init(&packed);
    packed.experts = shape.experts, packed.hidden = shape.hidden, packed.intermediate = shape.intermediate;
    packed.gate = join(gate, gap, &gate_bytes_, &packed.gate_stride), packed.gate_bytes = gate_bytes_.size();
    packed.down = join(down, gap, &down_bytes_, &packed.down_stride), packed.down_bytes = down_bytes_.size();
    if (!shape.halves) packed.up = join(up, gap, &up_bytes_, &packed.up_stride), packed.up_bytes = up_bytes_.size();
    fill(&packed);
    return packed;
  }

  // h of the formula, of one row x in bf16: from two products alone where the activation is simple, else from a gated
  // one.
  std::vector<std::uint16_t> hidden_row(zenwoq_context* context, std::size_t e, const std::uint16_t* x) {
    std::vector<std::uint16_t> h(shape.intermediate);
    zenwoq_linear_desc desc;
    zenwoq_linear_desc_init(&desc);
    desc.bias_type = shape.bias_type;
    set_bias(gate_bias, e * gate_rows(), gate_rows(), &desc);
    if (shape.activation != ZENWOQ_ACTIVATION_RELU) {
      desc.activation = shape.activation, desc.output_type = ZENWOQ_BF16;
      desc.halves = shape.halves, desc.up = shape.halves ? nullptr : up[e];
      const std::size_t size = dtype_bytes(shape.bias_type);
      if (!up_bias.empty()) {
        desc.up_bias = up_bias.data() + e * shape.intermediate * size, desc.up_bias_bytes = shape.intermediate * size;
      }
      run_row(context, gate[e], desc, x, h.data(), h.size() * 2);
      return h;
    }
    std::vector<float> g(gate_rows()), u(shape.intermediate);
    run_row(context, gate[e], desc, x, g.data(), g.size() * 4);
    if (shape.halves) {
      u.assign(g.begin() + static_cast<std::ptrdiff_t>(shape.intermediate), g.end());
    } else {
      desc.bias = nullptr, desc.bias_bytes = 0;
      set_bias(up_bias, e * shape.intermediate, shape.intermediate, &desc);
      run_row(context, up[e], desc, x, u.data(), u.size() * 4);
    }
    const MxcsrScope contract(MxcsrScope::kContract);
    for (std::size_t i = 0; i < h.size(); ++i) {
      volatile float product = std::max(g[i], 0.0f) * u[i];
      h[i] = f32_to_bf16(product);
    }
    return h;
  }

  std::vector<float> down_row(zenwoq_context* context, std::size_t e, const std::vector<std::uint16_t>& h) {
    std::vector<float> d(shape.hidden);
    zenwoq_linear_desc desc;
    zenwoq_linear_desc_init(&desc);
    desc.bias_type = shape.bias_type;
    set_bias(down_bias, e * shape.hidden, shape.hidden, &desc);
    run_row(context, down[e], desc, h.data(), d.data(), d.size() * 4);
    return d;
  }

  const Shape shape;
  std::vector<zenwoq_weight*> gate, up, down;
  std::vector<std::uint8_t> gate_bias, up_bias, down_bias;

 private:
  static ParameterFormat format(Rng& rng) {
    ParameterFormat format = random_format(rng);
    while (format.has_two_levels()) format = random_format(rng);
    return format;
  }

  std::size_t group(Rng& rng) const { return shape.per_channel ? 0 : 8 * pick(rng, 1, 8); }

  template <typename Description>
  void fill(Description* desc) {
    desc->activation = shape.activation, desc->output_type = shape.output_type, desc->bias_type = shape.bias_type;
    if (shape.gate_bias) desc->gate_bias = gate_bias.data(), desc->gate_bias_bytes = gate_bias.size();
    if (shape.up_bias) desc->up_bias = up_bias.data(), desc->up_bias_bytes = up_bias.size();
    if (shape.down_bias) desc->down_bias = down_bias.data(), desc->down_bias_bytes = down_bias.size();
  }

  void set_bias(const std::vector<std::uint8_t>& bias, std::size_t first, std::size_t count, zenwoq_linear_desc* desc) {
    const std::size_t size = dtype_bytes(shape.bias_type);
    if (!bias.empty()) desc->bias = bias.data() + first * size, desc->bias_bytes = count * size;
  }

  static void run_row(zenwoq_context* context, zenwoq_weight* weight, const zenwoq_linear_desc& desc,
                      const std::uint16_t* x, void* y, std::size_t y_bytes) {
    const LinearHandle linear = tools::make_linear(context, weight, &desc);
    zenwoq_run_args args;
    zenwoq_run_args_init(&args);
    args.m = 1, args.x = x, args.x_bytes = packed_of(weight).k * 2, args.y = y, args.y_bytes = y_bytes;
    tools::require(zenwoq_linear_run(linear.get(), &args));
  }

  // Scales that keep sums where rounding and order show.
  static RandomWeight tame_weight(Rng& rng, std::size_t n, std::size_t k, std::size_t group,
                                  const ParameterFormat& format) {
    RandomWeight weight = random_weight(rng, n, k, group, format);
    const std::size_t size = format.scale_bytes();
    for (std::size_t i = 0; i < n * weight.groups(); ++i) {
      const float scale = 0.01f + 0.001f * static_cast<float>(rng() % 64);
      if (is_dtype(format.scale_type)) {
        put_scale(format.scale_type, scale, &weight.scales[i * size]);
      } else if (format.scale_type == ZENWOQ_E8M0) {
        weight.scales[i] = static_cast<std::uint8_t>(118 + rng() % 5);
      } else {
        weight.scales[i] = static_cast<std::uint8_t>(rng() % 24);
      }
      if (format.zero_kind == ZENWOQ_ZERO_OFFSET) put_scale(format.scale_type, scale, &weight.zeros[i * size]);
    }
    return weight;
  }
  static void put_scale(zenwoq_dtype type, float value, std::uint8_t* to) {
    if (type == ZENWOQ_F32) {
      std::memcpy(to, &value, 4);
      return;
    }
    const std::uint16_t bits =
        type == ZENWOQ_F16 ? static_cast<std::uint16_t>(0x2000 + (f32_to_bf16(value) & 0x7F)) : f32_to_bf16(value);
    std::memcpy(to, &bits, 2);
  }

  void add_expert(Rng& rng, const ParameterFormat& gate_format, std::size_t gate_group,
                  const ParameterFormat& down_format, std::size_t down_group) {
    RandomWeight g = tame_weight(rng, gate_rows(), shape.hidden, gate_group, gate_format);
    RandomWeight u = tame_weight(rng, shape.intermediate, shape.hidden, gate_group, gate_format);
    RandomWeight d = tame_weight(rng, shape.hidden, shape.intermediate, down_group, down_format);
    if (shape.alike || rng() % 2) {
      permute_columns(rng, &g);
      u.permuted = g.permuted, u.permutation = g.permutation;
    }
    if (shape.alike || rng() % 2) permute_columns(rng, &d);
    if (!shape.alike && rng() % 4 == 0) scale_columns(rng, &d);
    if (shape.alike && !gate.empty()) g.table = gate_table_;
    u.table = gate_table_ = g.table;
    add(g, &gate);
    add(u, &up);
    add(d, &down);
  }

  void add(const RandomWeight& weight, std::vector<zenwoq_weight*>* to) {
    weights_.push_back(make_weight(packing_.get(), weight));
    to->push_back(weights_.back().get());
  }

  static const void* join(const std::vector<zenwoq_weight*>& weights, std::size_t gap, std::vector<std::uint8_t>* to,
                          std::size_t* stride) {
    to->clear();
    for (std::size_t e = 0; e < weights.size(); ++e) {
      const zenwoq_packed packed = packed_of(weights[e]);
      *stride = packed.packed_bytes + gap;
      to->resize(e * *stride + packed.packed_bytes, 0xAA);
      std::memcpy(to->data() + e * *stride, packed.packed, packed.packed_bytes);
    }
    return to->data();
  }

  const ContextHandle packing_;
  std::array<float, 16> gate_table_{};
  std::vector<WeightHandle> weights_;
  std::vector<std::uint8_t> gate_bytes_, up_bytes_, down_bytes_;
};

// Tokens and what they chose.
struct Tokens {
  std::size_t tokens, slots, ldx = 0, ldy = 0, id_bytes = 4;
  zenwoq_dtype x_type = ZENWOQ_BF16, router_type = ZENWOQ_F32;
  std::vector<std::int64_t> ids;
  std::vector<std::uint8_t> x, narrow_ids, router;

  // choose(token, slot): an id
  template <typename Choose>
  Tokens(Rng& rng, const Shape& shape, std::size_t tokens, std::size_t slots, zenwoq_dtype x_type,
         zenwoq_dtype router_type, std::size_t x_gap, std::size_t y_gap, const Choose& choose)
      : tokens(tokens),
        slots(slots),
        ldx(shape.hidden + x_gap),
        ldy(shape.hidden + y_gap),
        id_bytes(rng() % 2 ? 4 : 8),
        x_type(x_type),
        router_type(router_type) {
    const bool nasty = rng() % 4 == 0;  // infinities, NaN, denormals, -0
    x = random_values(rng, tokens * ldx, x_type, nasty && rng() % 2);
    router = random_values(rng, tokens * slots, router_type, nasty);
    for (std::size_t i = 0; i < tokens * slots; ++i) ids.push_back(choose(i / slots, i % slots));
    narrow_ids.resize(ids.size() * id_bytes);
    for (std::size_t i = 0; i < ids.size(); ++i) std::memcpy(narrow_ids.data() + i * id_bytes, &ids[i], id_bytes);
  }

  zenwoq_experts_args args(std::size_t first, std::size_t count) const {
    zenwoq_experts_args args;
    zenwoq_experts_args_init(&args);
    args.tokens = count, args.slots = slots, args.x_type = x_type;
    const std::size_t x_at = first * ldx * dtype_bytes(x_type);
    args.x = x.data() + x_at, args.ldx = ldx, args.x_bytes = x.size() - x_at;
    args.id_bytes = id_bytes, args.router_type = router_type;
    if (slots != 0) {
      args.ids = narrow_ids.data() + first * slots * id_bytes, args.ids_bytes = count * slots * id_bytes;
      args.router = router.data() + first * slots * dtype_bytes(router_type);
      args.router_bytes = count * slots * dtype_bytes(router_type);
    }
    args.ldy = ldy;
    return args;
  }
};

constexpr std::uint8_t kUntouched = 0x5A;

// The formula of the header, one token and one slot after another.
Bytes expected_of(Model& model, const Tokens& tokens) {
  static const ContextHandle reference = tools::make_context({1, ZENWOQ_TIER_REFERENCE, {}});
  const Shape& shape = model.shape;
  const std::size_t size = dtype_bytes(shape.output_type);
  Bytes y(tokens.tokens * tokens.ldy * size, kUntouched);
  for (std::size_t t = 0; t < tokens.tokens; ++t) {
    std::vector<std::uint16_t> x(shape.hidden);
    for (std::size_t i = 0; i < x.size(); ++i) {
      x[i] = f32_to_bf16(load_as_f32(tokens.x_type, tokens.x.data(), t * tokens.ldx + i));
    }
    std::vector<float> sum(shape.hidden, 0.0f);
    for (std::size_t s = 0; s < tokens.slots; ++s) {
      const std::int64_t id = tokens.ids[t * tokens.slots + s];
      if (id < 0 || id >= static_cast<std::int64_t>(shape.experts)) continue;
      const auto e = static_cast<std::size_t>(id);
      const std::vector<float> d = model.down_row(reference.get(), e, model.hidden_row(reference.get(), e, x.data()));
      const float weight = load_as_f32(tokens.router_type, tokens.router.data(), t * tokens.slots + s);
      const MxcsrScope contract(MxcsrScope::kContract);
      for (std::size_t i = 0; i < sum.size(); ++i) {
        volatile float added = std::fma(weight, d[i], sum[i]);
        sum[i] = added;
      }
    }
    for (std::size_t i = 0; i < sum.size(); ++i) store_value(shape.output_type, sum[i], y.data(), t * tokens.ldy + i);
  }
  return y;
}

// y of a run; `run` makes the call.
template <typename Run>
Bytes run_tokens(const Shape& shape, const Tokens& tokens, std::size_t first, std::size_t count, const Run& run) {
  Bytes y(count * tokens.ldy * dtype_bytes(shape.output_type), kUntouched);
  zenwoq_experts_args args = tokens.args(first, count);
  args.y = y.data(), args.y_bytes = y.size();
  const MxcsrScope caller(0x3F80);  // rounds down: nothing may depend on it
  EXPECT_EQ(run(args), ZENWOQ_OK) << zenwoq_last_error();
  return y;
}

void expect_formula(const std::vector<ContextHandle>& contexts, Model& model, const Tokens& tokens,
                    const std::string& what) {
  const Bytes expected = expected_of(model, tokens);
  const zenwoq_experts_desc desc = model.desc();
  for (std::size_t c = 0; c < contexts.size(); ++c) {
    const ExpertsHandle experts = tools::make_experts(contexts[c].get(), desc);
    const auto run = [&](const zenwoq_experts_args& args) { return zenwoq_experts_run(experts.get(), &args); };
    const Bytes batch = run_tokens(model.shape, tokens, 0, tokens.tokens, run);
    ASSERT_TRUE(same_values(model.shape.output_type, batch, expected)) << what << ", context " << c;
    const std::size_t row = tokens.ldy * dtype_bytes(model.shape.output_type);
    const std::size_t t = c % tokens.tokens;
    const Bytes alone = run_tokens(model.shape, tokens, t, 1, run);
    const auto at = expected.begin() + static_cast<std::ptrdiff_t>(t * row);
    ASSERT_TRUE(same_values(model.shape.output_type, alone, Bytes(at, at + static_cast<std::ptrdiff_t>(row))))
        << what << ", token " << t;
  }
}

Shape random_shape(Rng& rng) {
  constexpr zenwoq_dtype kTypes[] = {ZENWOQ_F32, ZENWOQ_F16, ZENWOQ_BF16};
  Shape shape{pick(rng, 1, 6), pick(rng, 1, 150), pick(rng, 1, 150)};
  shape.halves = rng() % 3 == 0;
  if (shape.halves) shape.intermediate = 64 * pick(rng, 1, 2);
  shape.activation = static_cast<zenwoq_activation>(rng() % 2 ? 1 : pick(rng, 1, 5));
  shape.output_type = rng() % 2 ? ZENWOQ_F32 : ZENWOQ_BF16;
  shape.bias_type = kTypes[rng() % 3];
  shape.gate_bias = rng() % 2, shape.down_bias = rng() % 2;
  shape.up_bias = !shape.halves && rng() % 2;
  return shape;
}

TEST(Experts, AreTheFormulaForAnyShapeAndRouting) {
  constexpr zenwoq_dtype kTypes[] = {ZENWOQ_F32, ZENWOQ_F16, ZENWOQ_BF16};
  const std::vector<ContextHandle> contexts = all_contexts();
  Rng rng(20260301);
  for (int i = 0; i < 60; ++i) {
    Model model(rng, random_shape(rng));
    const Shape& shape = model.shape;
    const auto experts = static_cast<std::int64_t>(shape.experts);
    const std::size_t count = rng() % 3 == 0 ? 1 : pick(rng, 2, 20);
    const int routing = static_cast<int>(rng() % 4);  // all to one, duplicates, some skipped, any
    const Tokens tokens(rng, shape, count, pick(rng, 0, 4), kTypes[rng() % 3], kTypes[rng() % 3], rng() % 3, rng() % 3,
                        [&](std::size_t token, std::size_t slot) -> std::int64_t {
                          if (routing == 0) return experts - 1;
                          if (routing == 1) return static_cast<std::int64_t>(token + slot / 2) % experts;
                          if (routing == 2) return static_cast<std::int64_t>(pick(rng, 0, shape.experts + 1)) - 1;
                          return static_cast<std::int64_t>(rng() % shape.experts);
                        });
    const std::string what = "case " + std::to_string(i) + ": E " + std::to_string(shape.experts) + " H " +
                             std::to_string(shape.hidden) + " I " + std::to_string(shape.intermediate) +
                             " activation " + std::to_string(shape.activation) + " halves " +
                             std::to_string(shape.halves) + " tokens " + std::to_string(tokens.tokens) + " slots " +
                             std::to_string(tokens.slots);
    ASSERT_NO_FATAL_FAILURE(expect_formula(contexts, model, tokens, what));
  }
}

// Large enough that every phase is shared by threads.
TEST(Experts, AreTheFormulaWhereThreadsShareTheWork) {
  const std::vector<ContextHandle> contexts = all_contexts();
  Rng rng(2);
  Shape shape{4, 512, 256};
  shape.activation = ZENWOQ_ACTIVATION_SILU;
  Model model(rng, shape);
  const Tokens even(rng, shape, 140, 2, ZENWOQ_F32, ZENWOQ_F32, 0, 0,
                    [](std::size_t token, std::size_t slot) { return static_cast<std::int64_t>(token + slot) % 4; });
  ASSERT_NO_FATAL_FAILURE(expect_formula(contexts, model, even, "even"));
  const Tokens hot(rng, shape, 140, 1, ZENWOQ_BF16, ZENWOQ_BF16, 0, 0,
                   [](std::size_t, std::size_t) { return std::int64_t{2}; });
  ASSERT_NO_FATAL_FAILURE(expect_formula(contexts, model, hot, "all to one"));
}

// More tokens than are run at a time: those of each part are the ones of a run of that part.
TEST(Experts, ManyTokensArePartsOfThem) {
  const ContextHandle context = tools::make_context({2, ZENWOQ_TIER_BEST, {}});
  Rng rng(3);
  Model model(rng, {3, 16, 16});
  const Tokens tokens(rng, model.shape, 9001, 2, ZENWOQ_BF16, ZENWOQ_F32, 0, 0,
                      [&](std::size_t, std::size_t) { return static_cast<std::int64_t>(rng() % 4) - 1; });
  const ExpertsHandle experts = tools::make_experts(context.get(), model.desc());
  const auto run = [&](const zenwoq_experts_args& args) { return zenwoq_experts_run(experts.get(), &args); };
  const Bytes all = run_tokens(model.shape, tokens, 0, 9001, run);
  Bytes joined;
  for (std::size_t first = 0; first < 9001; first += 100) {
    const Bytes some = run_tokens(model.shape, tokens, first, std::min<std::size_t>(100, 9001 - first), run);
    joined.insert(joined.end(), some.begin(), some.end());
  }
  EXPECT_EQ(all, joined);
}

TEST(Experts, PackedBytesGiveTheBitsOfHandles) {
  const std::vector<ContextHandle> contexts = all_contexts();
  Rng rng(4);
  for (int i = 0; i < 12; ++i) {
    Shape shape = random_shape(rng);
    shape.alike = true;
    if (i % 2 == 0) shape.hidden = 64, shape.intermediate = 128, shape.bias_type = ZENWOQ_F32;  // biases are not copied
    Model model(rng, shape);
    const Tokens tokens(rng, shape, pick(rng, 1, 9), 2, ZENWOQ_BF16, ZENWOQ_F16, 0, 1, [&](std::size_t, std::size_t) {
      return static_cast<std::int64_t>(pick(rng, 0, shape.experts + 1)) - 1;
    });
    const zenwoq_packed_experts packed = model.packed(i % 3 == 0 ? 0 : 7);
    for (const ContextHandle& context : contexts) {
      const ExpertsHandle experts = tools::make_experts(context.get(), model.desc());
      const Bytes expected = run_tokens(shape, tokens, 0, tokens.tokens, [&](const zenwoq_experts_args& args) {
        return zenwoq_experts_run(experts.get(), &args);
      });
      const Bytes y = run_tokens(shape, tokens, 0, tokens.tokens, [&](const zenwoq_experts_args& args) {
        return zenwoq_packed_experts_run(context.get(), &packed, &args);
      });
      ASSERT_TRUE(same_values(shape.output_type, y, expected)) << i;
    }
  }
}

// Gate and up of an expert one after the other in one tensor; all of them are only read.
TEST(Experts, PackedTensorsMayOverlap) {
  const ContextHandle context = tools::make_context({1, ZENWOQ_TIER_BEST, {}});
  Rng rng(10);
  Shape shape{3, 40, 24};
  shape.alike = true;
  Model model(rng, shape);
  const Tokens tokens(rng, shape, 4, 2, ZENWOQ_BF16, ZENWOQ_F32, 0, 0,
                      [](std::size_t token, std::size_t slot) { return static_cast<std::int64_t>(token + slot) % 3; });
  zenwoq_packed_experts packed = model.packed();
  const auto run = [&](const zenwoq_experts_args& args) {
    return zenwoq_packed_experts_run(context.get(), &packed, &args);
  };
  const Bytes expected = run_tokens(shape, tokens, 0, 4, run);
  const std::size_t stride = packed.gate_stride;
  ASSERT_EQ(packed.up_stride, stride);
  Bytes both(2 * 3 * stride);
  for (std::size_t e = 0; e < 3; ++e) {
    std::memcpy(both.data() + 2 * e * stride, static_cast<const std::uint8_t*>(packed.gate) + e * stride, stride);
    std::memcpy(both.data() + (2 * e + 1) * stride, static_cast<const std::uint8_t*>(packed.up) + e * stride, stride);
  }
  packed.gate = both.data(), packed.gate_bytes = both.size();
  packed.up = both.data() + stride, packed.up_bytes = both.size() - stride;
  packed.gate_stride = packed.up_stride = 2 * stride;
  EXPECT_TRUE(same_values(shape.output_type, run_tokens(shape, tokens, 0, 4, run), expected));
}

TEST(Experts, NothingIsAllocatedOnceKernelsAndScratchAreThere) {
  const ContextHandle context = tools::make_context({2, ZENWOQ_TIER_BEST, {}});
  Rng rng(8);
  Shape shape{4, 100, 130};
  shape.alike = shape.gate_bias = shape.down_bias = true;
  Model model(rng, shape);
  const Tokens tokens(rng, shape, 30, 2, ZENWOQ_F32, ZENWOQ_F32, 0, 0, [](std::size_t token, std::size_t slot) {
    return static_cast<std::int64_t>(token + 2 * slot) % 4;
  });
  const zenwoq_packed_experts packed = model.packed();
  const ExpertsHandle experts = tools::make_experts(context.get(), model.desc());
  std::vector<float> y(30 * 100);
  zenwoq_experts_args args = tokens.args(0, 30);
  args.y = y.data(), args.y_bytes = y.size() * 4;
  const auto run_both = [&] {
    ASSERT_EQ(zenwoq_experts_run(experts.get(), &args), ZENWOQ_OK);
    ASSERT_EQ(zenwoq_packed_experts_run(context.get(), &packed, &args), ZENWOQ_OK);
  };
  for (int i = 0; i < 3; ++i) run_both();
  const std::size_t before = counted_bytes();
  start_counted_peak();
  run_both();
  EXPECT_EQ(counted_peak_bytes(), before);
}

// Kernels of many rows take the most where a group outlasts a segment.
TEST(Experts, RunOn64KiBOfStack) {
  Rng rng(9);
  Shape shape{2, 512, 576};
  shape.alike = shape.per_channel = shape.gate_bias = shape.down_bias = true;
  Model model(rng, shape);
  const Tokens tokens(rng, shape, 96, 2, ZENWOQ_F32, ZENWOQ_F32, 0, 0,
                      [](std::size_t, std::size_t slot) { return static_cast<std::int64_t>(slot); });
  const zenwoq_packed_experts packed = model.packed();
  std::vector<float> y(96 * 512);
  zenwoq_experts_args args = tokens.args(0, 96);
  args.y = y.data(), args.y_bytes = y.size() * 4;
  for (const ContextHandle& context : all_contexts()) {
    const ExpertsHandle experts = tools::make_experts(context.get(), model.desc());
    const auto run_both = [&] {
      EXPECT_EQ(zenwoq_experts_run(experts.get(), &args), ZENWOQ_OK) << zenwoq_last_error();
      EXPECT_EQ(zenwoq_packed_experts_run(context.get(), &packed, &args), ZENWOQ_OK) << zenwoq_last_error();
    };
    run_both();  // generating code is not promised so small a stack
    on_64_kib_of_stack(run_both);
  }
}

// Damaged bytes of an expert that nobody chose are not looked at.
TEST(Experts, OnlyChosenPackedExpertsAreOpened) {
  const ContextHandle context = tools::make_context({1, ZENWOQ_TIER_BEST, {}});
  Rng rng(5);
  Shape shape{3, 16, 24};
  shape.alike = true;
  Model model(rng, shape);
  zenwoq_packed_experts packed = model.packed();
  Bytes damaged(static_cast<const std::uint8_t*>(packed.down),
                static_cast<const std::uint8_t*>(packed.down) + packed.down_bytes);
  damaged[packed.down_stride + 40] ^= 1;
  packed.down = damaged.data();
  for (const std::int64_t id : {0, 1, 2}) {
    const Tokens tokens(rng, shape, 2, 1, ZENWOQ_BF16, ZENWOQ_F32, 0, 0, [&](std::size_t, std::size_t) { return id; });
    std::vector<float> y(2 * 16, 7.0f);
    zenwoq_experts_args args = tokens.args(0, 2);
    args.y = y.data(), args.y_bytes = y.size() * 4;
    if (id != 1) {
      EXPECT_EQ(zenwoq_packed_experts_run(context.get(), &packed, &args), ZENWOQ_OK) << zenwoq_last_error();
    } else {
      EXPECT_ERROR(zenwoq_packed_experts_run(context.get(), &packed, &args), ZENWOQ_ERROR_BAD_PACKED,
                   "expert 1: down: packed weight: ");
      EXPECT_EQ(y, std::vector<float>(y.size(), 7.0f));
    }
  }
}

// The caller's arrays and weights may go; kernels are there before the first run.
TEST(Experts, KeepWhatTheyNeed) {
  ContextHandle context = tools::make_context({1, ZENWOQ_TIER_BEST, {}});
  Rng rng(6);
  Shape shape{2, 40, 48};
  shape.gate_bias = shape.down_bias = true;
  auto model = std::make_unique<Model>(rng, shape);
  const Tokens tokens(rng, shape, 20, 2, ZENWOQ_BF16, ZENWOQ_F32, 0, 0,
                      [](std::size_t token, std::size_t slot) { return static_cast<std::int64_t>(token * slot) % 2; });
  const Bytes expected = expected_of(*model, tokens);
  const ExpertsHandle experts = tools::make_experts(context.get(), model->desc());
  model.reset();
  ASSERT_EQ(zenwoq_experts_prepare(experts.get(), 40), ZENWOQ_OK) << zenwoq_last_error();
  const auto kernels = [&] {
    zenwoq_registry_stats stats;
    zenwoq_registry_stats_init(&stats);
    EXPECT_EQ(zenwoq_context_registry_stats(context.get(), &stats), ZENWOQ_OK);
    return stats.kernels;
  };
  const std::uint64_t prepared = kernels();
  const Bytes y = run_tokens(shape, tokens, 0, 20,
                             [&](const zenwoq_experts_args& args) { return zenwoq_experts_run(experts.get(), &args); });
  EXPECT_TRUE(same_values(shape.output_type, y, expected));
  EXPECT_EQ(kernels(), prepared);
  context.reset();
}

class ExpertErrors : public testing::Test {
 protected:
  ExpertErrors() {
    args_ = tokens_.args(0, 2);
    args_.y = y_.data(), args_.y_bytes = y_.size() * 4;
    good_args_ = args_;
  }
  void expect_create(const zenwoq_experts_desc& desc, zenwoq_status status, const char* text) {
    auto* experts = reinterpret_cast<zenwoq_experts*>(1);
    EXPECT_ERROR(zenwoq_experts_create(context_.get(), &desc, &experts), status, text);
    EXPECT_EQ(experts, nullptr);
  }
  void expect_run(zenwoq_status status, const char* text) {
    const ExpertsHandle experts = tools::make_experts(context_.get(), model_.desc());
    zenwoq_packed_experts packed = model_.packed();
    EXPECT_ERROR(zenwoq_experts_run(experts.get(), &args_), status, text);
    EXPECT_ERROR(zenwoq_packed_experts_run(context_.get(), &packed, &args_), status, text);
    EXPECT_EQ(y_, std::vector<float>(y_.size(), 7.0f)) << text;
    args_ = good_args_;
  }
  void expect_packed(const zenwoq_packed_experts& packed, zenwoq_status status, const char* text) {
    EXPECT_ERROR(zenwoq_packed_experts_run(context_.get(), &packed, &args_), status, text);
    EXPECT_EQ(y_, std::vector<float>(y_.size(), 7.0f)) << text;
    args_ = good_args_;
  }

  Rng rng_{7};
  const Shape shape_{2, 16, 24, false, ZENWOQ_ACTIVATION_RELU, ZENWOQ_F32, ZENWOQ_F32, true, true, true, true};
  Model model_{rng_, shape_};
  const Tokens tokens_{rng_, shape_,      2,
                       3,    ZENWOQ_BF16, ZENWOQ_F32,
                       0,    0,           [](std::size_t t, std::size_t) { return static_cast<std::int64_t>(t); }};
  std::vector<float> y_ = std::vector<float>(2 * 16, 7.0f);
  const ContextHandle context_ = tools::make_context({2, ZENWOQ_TIER_BEST, {}});
  zenwoq_experts_args args_, good_args_;
};

constexpr zenwoq_status kInvalid = ZENWOQ_ERROR_INVALID_ARGUMENT;

TEST_F(ExpertErrors, OfDescriptions) {
  const zenwoq_experts_desc good = model_.desc();
  zenwoq_experts* experts = nullptr;
  EXPECT_ERROR(zenwoq_experts_create(nullptr, &good, &experts), kInvalid, "context is NULL");
  EXPECT_ERROR(zenwoq_experts_create(context_.get(), nullptr, &experts), kInvalid, "zenwoq_experts_desc is NULL");
  EXPECT_ERROR(zenwoq_experts_create(context_.get(), &good, nullptr), kInvalid, "experts is NULL");
  zenwoq_experts_destroy(nullptr);
  const auto with = [&](const auto& change, zenwoq_status status, const char* text) {
    zenwoq_experts_desc desc = good;
    change(desc);
    expect_create(desc, status, text);
  };
  with([](auto& d) { d.struct_size = 8; }, kInvalid, "struct_size is 8");
  with([](auto& d) { d.experts = 0; }, kInvalid, "experts is 0");
  with([](auto& d) { d.hidden = 0; }, kInvalid, "hidden is 0");
  with([](auto& d) { d.intermediate = 0; }, kInvalid, "intermediate is 0");
  with([](auto& d) { d.intermediate = SIZE_MAX; }, ZENWOQ_ERROR_OVERFLOW, "intermediate 18446744073709551615: rows");
  with([](auto& d) { d.gate = nullptr; }, kInvalid, "gate is NULL");
  with([](auto& d) { d.down = nullptr; }, kInvalid, "down is NULL");
  with([](auto& d) { d.up = nullptr; }, kInvalid, "intermediate is 24 and up is NULL: must be a multiple of 64");
  with([](auto& d) { d.activation = ZENWOQ_ACTIVATION_NONE; }, kInvalid, "activation 0");
  with([](auto& d) { d.activation = static_cast<zenwoq_activation>(6); }, kInvalid, "activation 6");
  with([](auto& d) { d.output_type = ZENWOQ_F16; }, kInvalid, "output_type 2");
  with([](auto& d) { d.bias_type = static_cast<zenwoq_dtype>(9); }, kInvalid, "bias_type 9");
  with([](auto& d) { d.gate_bias_bytes -= 1; }, ZENWOQ_ERROR_BUFFER_TOO_SMALL,
       "gate_bias_bytes is 191, 192 are needed");
  with([](auto& d) { d.up_bias_bytes -= 1; }, ZENWOQ_ERROR_BUFFER_TOO_SMALL, "up_bias_bytes is 191, 192 are needed");
  with([](auto& d) { d.down_bias_bytes -= 1; }, ZENWOQ_ERROR_BUFFER_TOO_SMALL,
       "down_bias_bytes is 127, 128 are needed");
  with([](auto& d) { d.experts = SIZE_MAX / 16; }, ZENWOQ_ERROR_OVERFLOW,
       "experts is 1152921504606846975: at most 2147483647 are possible");
  with([](auto& d) { d.gate_bias = d.up_bias = nullptr, d.experts = INT32_MAX, d.hidden = std::size_t{1} << 56; },
       ZENWOQ_ERROR_OVERFLOW, "down_bias of 2147483647 experts of 72057594037927936 values overflows");
  with([](auto& d) { d.up = nullptr, d.intermediate = 64; }, kInvalid, "up_bias is given and up is NULL");
  with([](auto& d) { d.hidden = 15, d.gate_bias = d.up_bias = d.down_bias = nullptr; }, kInvalid,
       "expert 0: gate is [24, 16]: must be [24, 15]");
  std::vector<zenwoq_weight*> weights = model_.gate;
  weights[1] = nullptr;
  with([&](auto& d) { d.gate = weights.data(); }, kInvalid, "expert 1: gate is NULL");
  with([&](auto& d) { d.up = weights.data(); }, kInvalid, "expert 1: up is NULL");
  with([&](auto& d) { d.down = weights.data(); }, kInvalid, "expert 0: down is [24, 16]: must be [16, 24]");
  weights = model_.down, weights[1] = nullptr;
  with([&](auto& d) { d.down = weights.data(); }, kInvalid, "expert 1: down is NULL");
  weights = model_.up, std::swap(weights[0], weights[1]);
  with([&](auto& d) { d.up = weights.data(); }, kInvalid, "expert 0: gate and up: columns must be permuted alike");
}

TEST_F(ExpertErrors, OfRuns) {
  const ExpertsHandle experts = tools::make_experts(context_.get(), model_.desc());
  EXPECT_ERROR(zenwoq_experts_run(nullptr, &args_), kInvalid, "experts is NULL");
  EXPECT_ERROR(zenwoq_experts_run(experts.get(), nullptr), kInvalid, "zenwoq_experts_args is NULL");
  EXPECT_ERROR(zenwoq_experts_prepare(nullptr, 1), kInvalid, "experts is NULL");
  args_.struct_size = 9;
  expect_run(kInvalid, "struct_size is 9");
  args_.reserved = 1;
  expect_run(kInvalid, "reserved is 1");
  args_.parallel_for = serial_backwards;
  expect_run(kInvalid, "parallel_for is given and threads is 0");
  args_.x_type = ZENWOQ_E8M0;
  expect_run(kInvalid, "x_type 4");
  args_.router_type = ZENWOQ_E8M0;
  expect_run(kInvalid, "router_type 4");
  args_.id_bytes = 2;
  expect_run(kInvalid, "id_bytes is 2: must be 4 or 8");
  args_.ldx = 15;
  expect_run(kInvalid, "ldx is 15, a row has 16 elements");
  args_.ldy = 15;
  expect_run(kInvalid, "ldy is 15, a row has 16 elements");
  args_.tokens = SIZE_MAX / 4;
  expect_run(ZENWOQ_ERROR_OVERFLOW, "overflow");
  args_.slots = SIZE_MAX / 4;
  expect_run(ZENWOQ_ERROR_OVERFLOW, "2 tokens of 4611686018427387903 slots overflow");
  args_.x = nullptr;
  expect_run(kInvalid, "x is NULL, 64 bytes are needed");
  args_.x_bytes = 63;
  expect_run(ZENWOQ_ERROR_BUFFER_TOO_SMALL, "x_bytes is 63, 64 are needed");
  args_.y = nullptr;
  expect_run(kInvalid, "y is NULL, 128 bytes are needed");
  args_.y_bytes = 127;
  expect_run(ZENWOQ_ERROR_BUFFER_TOO_SMALL, "y_bytes is 127, 128 are needed");
  args_.ids = nullptr;
  expect_run(kInvalid, "ids is NULL");
  args_.ids_bytes = 6 * tokens_.id_bytes - 1;
  expect_run(ZENWOQ_ERROR_BUFFER_TOO_SMALL, "ids_bytes is ");
  args_.router = nullptr;
  expect_run(kInvalid, "router is NULL, 24 bytes are needed");
  args_.router_bytes = 23;
  expect_run(ZENWOQ_ERROR_BUFFER_TOO_SMALL, "router_bytes is 23, 24 are needed");
  args_.x = y_.data() + 31, args_.x_bytes = 64;
  expect_run(kInvalid, "overlaps x at");
  args_.ids = y_.data() + 31;
  expect_run(kInvalid, "overlaps ids at");
  args_.router = y_.data() + 31;
  expect_run(kInvalid, "overlaps router at");
  args_.tokens = 0, args_.x = args_.ids = args_.router = nullptr, args_.y = nullptr;
  EXPECT_EQ(zenwoq_experts_run(experts.get(), &args_), ZENWOQ_OK) << zenwoq_last_error();
}

TEST_F(ExpertErrors, OfPackedExperts) {
  const zenwoq_packed_experts good = model_.packed();
  const std::size_t good_slots = args_.slots;
  EXPECT_ERROR(zenwoq_packed_experts_run(nullptr, &good, &args_), kInvalid, "context is NULL");
  EXPECT_ERROR(zenwoq_packed_experts_run(context_.get(), nullptr, &args_), kInvalid, "zenwoq_packed_experts is NULL");
  const auto with = [&](const auto& change, zenwoq_status status, const char* text) {
    zenwoq_packed_experts packed = good;
    change(packed);
    expect_packed(packed, status, text);
  };
  with([](auto& p) { p.struct_size = 8; }, kInvalid, "struct_size is 8");
  with([](auto& p) { p.experts = 0; }, kInvalid, "experts is 0");
  with([](auto& p) { p.gate = nullptr; }, kInvalid, "gate is NULL");
  with([](auto& p) { p.down = nullptr; }, kInvalid, "down is NULL");
  with([](auto& p) { p.gate_bytes = p.gate_stride; }, ZENWOQ_ERROR_BUFFER_TOO_SMALL, "gate_bytes is ");
  with([](auto& p) { p.up_stride = SIZE_MAX - 1, p.experts = 2; }, ZENWOQ_ERROR_BUFFER_TOO_SMALL, "up_bytes is ");
  with([](auto& p) { p.gate_bias = p.up_bias = p.down_bias = nullptr, p.experts = 4, p.gate_stride = SIZE_MAX / 2; },
       ZENWOQ_ERROR_OVERFLOW, "gate: 4 experts of 9223372036854775807 bytes overflow");
  with([](auto& p) { p.down_bytes -= 1; }, ZENWOQ_ERROR_BAD_PACKED, "expert 1: down: packed weight: ");
  with([](auto& p) { p.down_stride -= 1; }, ZENWOQ_ERROR_BAD_PACKED, "expert 0: down: packed weight: ");
  // Sizes that no weight contradicts, as no slot counts, and whose bytes of a row add up to 0 modulo 2^64.
  args_.slots = 0;
  with([](auto& p) { p.hidden = 64, p.intermediate = 0x7FFFFFFFFFFFFF80, p.up = nullptr; }, ZENWOQ_ERROR_OVERFLOW,
       "rows of them overflow");
  args_.slots = good_slots;
  with([](auto& p) { p.hidden = 8; }, kInvalid, "expert 0: gate is [24, 16]: must be [24, 8]");
  with(
      [](auto& p) {
        std::swap(p.gate, p.down), std::swap(p.gate_stride, p.down_stride), std::swap(p.gate_bytes, p.down_bytes);
      },
      kInvalid, "expert 0: gate is [16, 24]: must be [24, 16]");
  Bytes swapped(static_cast<const std::uint8_t*>(good.up), static_cast<const std::uint8_t*>(good.up) + good.up_bytes);
  std::rotate(swapped.begin(), swapped.begin() + static_cast<std::ptrdiff_t>(good.up_stride), swapped.end());
  with([&](auto& p) { p.up = swapped.data(); }, kInvalid, "expert 0: gate and up: columns must be permuted alike");
  const auto overlapping = [&](const char* name, const void* data) {
    args_.y = const_cast<void*>(data);
    expect_packed(good, kInvalid, name);
  };
  overlapping("overlaps gate at", good.gate);
  overlapping("overlaps up at", good.up);
  overlapping("overlaps down at", good.down);
  overlapping("overlaps gate_bias at", good.gate_bias);
  overlapping("overlaps up_bias at", good.up_bias);
  overlapping("overlaps down_bias at", good.down_bias);
  EXPECT_EQ(zenwoq_packed_experts_run(context_.get(), &good, &args_), ZENWOQ_OK) << zenwoq_last_error();
}

}  // namespace
}  // namespace zenwoq::test
