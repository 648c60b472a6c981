// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
#include "tests/support/api_runs.h"

#include <cstring>

#include "jit/mxcsr.h"
#include "jit/number.h"
#include "src/reference/activation.h"

namespace zenwoq::test {

void serial_backwards(void*, std::size_t n, void (*task)(void*, std::size_t), void* arg) {
  while (n > 0) task(arg, --n);
}

std::vector<tools::ContextHandle> all_contexts() {
  std::vector<tools::ContextHandle> contexts;
  for (const zenwoq_tier tier : {ZENWOQ_TIER_REFERENCE, ZENWOQ_TIER_AVX2, ZENWOQ_TIER_AVX512BF16}) {
    for (const std::uint32_t threads : {1u, 2u, 3u}) {
      zenwoq_context_options options;
      zenwoq_context_options_init(&options);
      options.max_tier = tier, options.threads = threads;
      if (threads == 3) options.parallel_for = serial_backwards;
      tools::ContextHandle context = tools::make_context_from(options);
      if (*zenwoq_context_why_not(context.get(), tier) == '\0') contexts.push_back(std::move(context));
    }
  }
  return contexts;
}

tools::WeightHandle make_weight(zenwoq_context* context, const RandomWeight& weight) {
  return tools::make_weight(context, weight.desc(), weight.source());
}

zenwoq_packed packed_of(const zenwoq_weight* weight) {
  zenwoq_weight_desc desc;
  zenwoq_weight_desc_init(&desc);
  tools::require(zenwoq_weight_describe(weight, &desc));
  zenwoq_packed packed;
  zenwoq_packed_init(&packed);
  tools::require(zenwoq_weight_packed(weight, &packed.packed, &packed.packed_bytes));
  packed.n = desc.n, packed.k = desc.k;
  return packed;
}

void store_value(zenwoq_dtype type, float value, std::uint8_t* to, std::size_t i) {
  if (type == ZENWOQ_F32) {
    std::memcpy(to + i * 4, &value, 4);
  } else {
    const std::uint16_t bits = f32_to_bf16(value);
    std::memcpy(to + i * 2, &bits, 2);
  }
}

Bytes random_values(Rng& rng, std::size_t count, zenwoq_dtype type, bool nasty) {
  Bytes values(count * dtype_bytes(type));
  for (std::size_t i = 0; i < count; ++i) store_value(type, bf16_to_f32(random_bf16(rng, nasty)), values.data(), i);
  return values;
}

bool same_values(zenwoq_dtype type, std::span<const std::uint8_t> a, std::span<const std::uint8_t> b) {
  if (a.size() != b.size()) return false;
  for (std::size_t i = 0; i < a.size() / dtype_bytes(type); ++i) {
    if (!same_f32(load_as_f32(type, a.data(), i), load_as_f32(type, b.data(), i))) return false;
  }
  return true;
}

namespace {

// Not inlined, so that no operation is moved out of the contract's scope.
__attribute__((noinline)) float finish(const ContractEpilogue& epilogue, float product, float up, float factor,
                                       const float* residual) {
  if (epilogue.activation == ZENWOQ_ACTIVATION_SWIGLU_OAI) return swiglu_oai(product, up);
  float value = activate(epilogue.activation, product);
  if (epilogue.gated) return value * up;
  if (epilogue.factors != 0) value *= factor;
  for (unsigned i = 0; i < epilogue.residuals; ++i) value += residual[i];
  return value;
}

}  // namespace

float ContractEpilogue::finished(float product, float up, float factor, const float* residual) const {
  const MxcsrScope contract(MxcsrScope::kContract);
  return finish(*this, product, up, factor, residual);
}

}  // namespace zenwoq::test
